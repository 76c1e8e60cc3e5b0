//! `nat64`: stateful NAT64 (RFC 6146, RFC 7915), on all workers.
//!
//! The files: this one registers; `config/` is the section of the configuration, `translate/` knows headers and addresses,
//! `state/` bindings and sessions, `pcp.rs` the messages by which hosts ask for ports; `flow.rs` and `seen.rs` tell a packet's flow,
//! `rewrite.rs` changes packets; `node_*.rs` stand in the packets' way, `icmp_*.rs` are their ICMP errors, `hand_off.rs` has another
//! thread take a packet; `service.rs` is what nodes and commands share; `around.rs` looks after features and routes; `errand.rs` has
//! threads do what commands ask, as `pool_use.rs` does; `watch.rs` tells how full it gets; `held.rs` has SYNs that wait; `log/`,
//! `trace.rs`, `command/` and `reason.rs` are what they say.
//!
//! Each thread has the sessions of its own hosts: the hash of a host's address says which thread, and the ports that a thread gives out
//! are its own, so either side's packets find the thread without a table. What comes in on another one is handed off.
#![forbid(unsafe_code)]

mod around;
mod command;
mod config;
mod errand;
mod flow;
mod hand_off;
mod held;
mod icmp_four_to_six;
mod icmp_six_to_four;
mod log;
mod node_age;
mod node_four_to_six;
mod node_pcp;
mod node_six_to_four;
mod numbers;
pub mod pcp;
mod pool_use;
mod reason;
mod rewrite;
mod seen;
mod service;
pub mod state;
mod trace;
pub mod translate;
mod watch;

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};

use raddle_plugin_api::address::{ADDRESSES_CHANGED, AddressesChanged};
use raddle_plugin_api::metric::Metric;
use raddle_plugin_api::prelude::*;
use raddle_plugin_api::sync::{PerThread, Published};
use raddle_plugin_api::table::HashSeed;
use raddle_plugin_api::{InterfaceChange, InterfaceEvent};

use crate::around::Route;
use crate::config::{LogConfig, Nat64Config, Surroundings};
use crate::errand::Errands;
use crate::log::{Event, LogWhat, Logger, SessionLog};
use crate::node_four_to_six::FourToSix;
use crate::node_pcp::Pcp;
use crate::node_six_to_four::{Feature, SixToFour};
use crate::service::{Count, Level, Nat64, Own, ShardPlans};
use crate::state::{Protocol, Rules, ShardPlan, ShardSize, Share};

/// Name of the plugin, its feature, its counters and its section of the configuration.
const NAME: &str = "nat64";
/// What is kept means what it meant as long as this number stays; its low bits say how ports are shared out.
const KEPT_LAYOUT: u32 = 2 << 8;

plugin! { "nat64", "translates between IPv6 hosts and the IPv4 Internet, with state (RFC 6146)" }

config! { "nat64", Nat64Config }
init! { "nat64-init", init }
exit! { "nat64-exit", exit }
on_event! { "interface", interface_changed }
on_event! { "config", config_changed }
on_event! { "metrics", command::report_metrics }
state! { "numbers", version: 1, oldest: 1, export: numbers::export, import: numbers::import }

feature! {
    "nat64", node: SixToFour<Feature>, arc: "ip6-unicast",
    runs_after: ["acl", "gro", "ip6-hop-by-hop", "ip6-urpf", "ip6-virtual-reassembly"], fail_closed
}
feature! {
    "nat64", node: FourToSix<Feature>, arc: "ip4-unicast",
    runs_after: ["acl", "gro", "ip4-urpf", "ip4-virtual-reassembly"], fail_closed
}

feature! { "nat64-pcp", node: Pcp, arc: "punt", runs_before: ["tuntap", "tuntap-punt"] }

/// What the main thread alone knows.
struct Main {
    config: Mutex<Nat64Config>,
    /// Routes that are in the tables.
    routes: Mutex<BTreeSet<Route>>,
    /// Interfaces on which it holds features.
    held: Mutex<BTreeSet<InterfaceIndex>>,
    /// Those on which hosts may ask for bindings.
    asked: Mutex<BTreeSet<InterfaceIndex>>,
    logger: Logger,
    /// Its own end of the log, if there is one.
    log: Mutex<Option<SyncSender<Event>>>,
}

impl Main {
    fn config(&self) -> Nat64Config {
        self.config.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Makes what nodes and commands share, and switches the feature on.
fn init(control: &mut Control<'_>) -> Result<(), Failure> {
    let config: Nat64Config = control.config(NAME)?;
    // Tables and interfaces may come later than this.
    let rules = config.rules(&Rules::nothing(), &Surroundings::default())?;
    let share_bits = config.share_bits()?;
    let main = Main {
        config: Mutex::new(config.clone()),
        routes: Mutex::default(),
        held: Mutex::default(),
        asked: Mutex::default(),
        logger: Logger::default(),
        log: Mutex::default(),
    };
    let log = match &config.log {
        Some(log) => Some(
            main.logger
                .start(log.targets())
                .map_err(|error| failure!("nat64: the session log cannot be sent: {error}"))?,
        ),
        None => None,
    };
    main.log.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&log);
    let subscriber_mark = config.log.as_ref().map_or(0, LogConfig::subscriber_mark);
    let logs_sessions = config.log.as_ref().is_some_and(|log| log.what == LogWhat::Sessions);
    // The main thread has packets only where there are no workers.
    let workers = control.thread_count().saturating_sub(1).max(1);
    let most = (config.max_sessions.get() as u32).div_ceil(workers);
    // The next version of the plugin finds what this one has put into the tables by the same hashes.
    let seed = HashSeed::kept(control, "seed")?;
    let first = ShardPlan {
        size: ShardSize { sessions: most, bindings: most },
        share: Share { index: 0, count: workers, size_bits: share_bits },
        seed,
        filtering: config.filtering,
    };
    let shards = control.kept_per_thread("sessions", KEPT_LAYOUT | share_bits, ShardPlans { first })?;
    let protocols = Protocol::ALL.map(Protocol::name);
    let by_protocol = |name, help| Metric::new(name, help).label("protocol", protocols);
    let level = Level {
        sessions: control.gauges(&by_protocol("sessions", "Sessions that are there"))?,
        bindings: control.gauges(&by_protocol("bindings", "Bindings that are there"))?,
        subscribers: control.gauges(&Metric::new("subscribers", "Subscribers with sessions"))?,
    };
    let counters = control.counters(NAME, Count::COUNT)?;
    let owns = PerThread::new(control, |_| Own {
        held: Default::default(),
        log: SessionLog::new(log.clone(), logs_sessions, subscriber_mark),
        identification: 0,
        is_told: false,
    });
    let most_sessions = most.saturating_mul(workers);
    let rules = Published::new(control, rules);
    let is_used = AtomicBool::new(config.is_used());
    let began_ns = control.now_ns();
    let nat =
        Nat64 { rules, shards, owns, counters, level, seed, share_bits, most_sessions, began_ns, is_used };
    let nat = Arc::new(nat);
    control.provide(Arc::new(Errands::new(control, &nat)?))?;
    control.provide(nat)?;
    control.provide(Arc::new(main))?;
    for interface in control.interfaces()? {
        around::set_interface(control, &interface.name, interface.index)?;
    }
    if let Some(log) = &config.log {
        watch::start(control, &log.thresholds);
    }
    control.spawn("nat64-follow", |task| {
        let events = task.subscribe(ADDRESSES_CHANGED);
        async move {
            // Nodes, to which routes lead, are there only when the init functions are through.
            task.with(|control| {
                around::settle_or_log(control);
                around::say_what_is_missing(control);
            });
            let Ok(mut events) = events else { return };
            while events.next::<AddressesChanged>().await.is_ok() {
                task.with(|control| around::settle_or_log(control));
            }
        }
    });
    Ok(())
}

/// Takes the routes away, and waits for the log.
fn exit(control: &mut Control<'_>) -> Result<(), Failure> {
    // Those of a version that takes this one's place are the same.
    if !control.is_being_replaced() {
        around::remove_routes(control)?;
    }
    let main = control.resource::<Main>()?;
    let nat = control.resource::<Nat64>()?;
    nat.owns.each(&mut control.barrier("nat64 ends"), |_, own| own.log.close());
    *main.log.lock().unwrap_or_else(PoisonError::into_inner) = None;
    main.logger.join();
    Ok(())
}

/// Switches the feature on for interfaces that come later.
fn interface_changed(control: &mut Control<'_>, event: InterfaceEvent) -> Result<(), Failure> {
    let main = control.resource::<Main>()?;
    match event.change {
        InterfaceChange::Created => {
            around::set_interface(control, &event.interface.name, event.interface.index)
        }
        InterfaceChange::Deleted => {
            // What was held on it goes with it.
            for held in [&main.held, &main.asked] {
                held.lock().unwrap_or_else(PoisonError::into_inner).remove(&event.interface.index);
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// The configuration was read again: sessions stay, and what is new holds for what comes from now on.
fn config_changed(control: &mut Control<'_>, _: serde::de::IgnoredAny) -> Result<(), Failure> {
    let new: Nat64Config = control.config(NAME)?;
    let (main, nat) = (control.resource::<Main>()?, control.resource::<Nat64>()?);
    let old = main.config();
    if new == old {
        // Tables and addresses may be others.
        return around::settle(control);
    }
    // What contradicts itself is refused as a whole.
    new.rules(nat.rules.get(control), &around::look(control, &new)?)?;
    if new.share_bits()? != nat.share_bits {
        bail!("nat64: a change of port-block-size takes effect at the next start; nothing was changed");
    }
    let fixed = |config: &Nat64Config| (config.max_sessions, config.filtering, config.log.clone());
    if fixed(&new) != fixed(&old) {
        control.log(
            LogLevel::WARN,
            "nat64: changes of max-sessions, filtering and log take effect at the next start",
        );
    }
    *main.config.lock().unwrap_or_else(PoisonError::into_inner) = new;
    for interface in control.interfaces()? {
        around::set_interface(control, &interface.name, interface.index)?;
    }
    around::say_what_is_missing(control);
    around::settle(control)
}
