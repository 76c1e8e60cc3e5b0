//! Trials and defence at work: what is heard comes in, what the machine decides is carried out.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use raddle_plugin_api::abi::LogLevel;
use raddle_plugin_api::wire::{Ip6Address, MacAddress};
use raddle_plugin_api::{Control, Failure, InterfaceIndex, task};

use super::machine::{Detection, Effect, Word};
use crate::net::addresses::{AddressCheck, AddressEvent, Addresses};
use crate::net::local::OwnTable;
use crate::net::mac_filter::{Holder, MacFilters};
use crate::net::neighbor::{NeighborKey, Neighbors, Random, Sender};

/// Addresses that are tried before they are used. A resource of the core; the main thread does the work.
pub struct DuplicateDetection {
    own: Arc<OwnTable>,
    neighbors: Arc<Neighbors>,
    filters: Arc<MacFilters>,
    sender: Sender,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    detection: Detection,
    random: Random,
    /// When the timer runs that runs first.
    planned_ns: Option<u64>,
}

impl DuplicateDetection {
    /// Nothing is tried yet.
    ///
    /// # Errors
    /// What it stands on is not there.
    pub fn new(control: &Control<'_>) -> Result<Self, Failure> {
        Ok(Self {
            own: control.resource()?,
            neighbors: control.resource()?,
            filters: control.resource()?,
            sender: Sender::new(control)?,
            state: Mutex::default(),
        })
    }

    /// Somebody else said something of an own address, in use or tried.
    pub fn heard(&self, control: &Control<'_>, key: NeighborKey, word: Word, holder: Option<MacAddress>) {
        self.change(control, |detection, now_ns, _, out| {
            if self.own.get(control).is_tentative_on(key.interface, key.address) {
                detection.heard_of_tried(now_ns, key, word, holder, out);
            } else if word == Word::Claim && self.is_own(control, &key) {
                detection.heard_of_used(now_ns, key, holder, out);
            }
        });
    }

    /// An address came into use, or is not in use any more.
    pub(super) fn address_event(&self, control: &Control<'_>, event: &AddressEvent) {
        let key = NeighborKey { interface: event.interface, address: event.address.address() };
        if event.in_force {
            self.change(control, |detection, now_ns, _, _| detection.announced(now_ns, key));
        }
    }

    fn is_own(&self, control: &Control<'_>, key: &NeighborKey) -> bool {
        let own = self.own.get(control);
        match key.address {
            IpAddr::V4(ip) => own.is_own_on4(key.interface, ip.into()),
            IpAddr::V6(ip) => own.is_own_on6(key.interface, ip.into()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the machine, publishes what is tried, and carries out what it decides.
    fn change(
        &self,
        control: &Control<'_>,
        body: impl FnOnce(&mut Detection, u64, &mut Random, &mut Vec<Effect>),
    ) {
        let (mut state, mut out) = (self.state(), Vec::new());
        let State { detection, random, .. } = &mut *state;
        let before: Vec<_> = detection.tried().collect();
        body(detection, control.now_ns(), random, &mut out);
        let after: Vec<_> = detection.tried().collect();
        drop(state);
        if before != after {
            self.listen(control, &before, &after);
            let tried = after.into_iter().map(|key| (key.interface, key.address)).collect();
            self.own.set_tentative(control, tried);
        }
        for effect in out {
            self.carry_out(control, effect);
        }
        self.plan(control);
    }

    /// Takes frames for the groups by which others speak of what is tried (RFC 4862 §5.4.2): nobody has joined them yet.
    fn listen(&self, control: &Control<'_>, before: &[NeighborKey], after: &[NeighborKey]) {
        let interfaces: BTreeSet<_> = before.iter().chain(after).map(|key| key.interface).collect();
        for interface in interfaces {
            let tried = after.iter().filter(|key| key.interface == interface);
            let groups = tried.filter_map(|key| match key.address {
                IpAddr::V4(_) => None,
                IpAddr::V6(address) => {
                    Some([Ip6Address::ALL_NODES, Ip6Address::from(address).solicited_node()])
                }
            });
            let macs = groups.flatten().map(|group| MacAddress::from_ip6_multicast(group.to_std())).collect();
            if let Err(failure) = self.filters.set(control, interface, Holder::Tentative, macs) {
                control.log(LogLevel::WARN, format_args!("groups of interface {interface}: {failure}"));
            }
        }
    }

    fn carry_out(&self, control: &Control<'_>, effect: Effect) {
        let Ok(addresses) = control.resource::<Addresses>() else { return };
        let by = |holder: Option<MacAddress>| {
            holder.map_or_else(|| "another node".to_owned(), |mac| format!("the station at {mac}"))
        };
        match effect {
            Effect::Probe { key, nonce } => self.sender.probe(key.interface, key.address, nonce),
            Effect::Unique { key } => addresses.decide(control, key.interface, key.address, true),
            Effect::Announce { key } if self.is_own(control, &key) => {
                self.sender.announce(key.interface, key.address);
            }
            Effect::Announce { .. } => {}
            Effect::Duplicate { key, holder, first } => {
                if first {
                    let (address, name, by) = (key.address, addresses.name(key.interface), by(holder));
                    control.log(
                        LogLevel::ERROR,
                        format_args!(
                            "address {address} of {name} is not used: {by} has it; it is tried again every minute"
                        ),
                    );
                }
                addresses.decide(control, key.interface, key.address, false);
            }
            Effect::Defend { key, holder } => {
                self.sender.announce(key.interface, key.address);
                let (address, name, by) = (key.address, addresses.name(key.interface), by(holder));
                control.log(
                    LogLevel::WARN,
                    format_args!("{by} uses address {address} of {name} too; it is defended"),
                );
            }
            Effect::Looped { key } => {
                let (address, name) = (key.address, addresses.name(key.interface));
                control.log(
                    LogLevel::WARN,
                    format_args!(
                        "{name} gives back what is sent to it: whether {address} is in use elsewhere cannot be told yet"
                    ),
                );
            }
        }
    }

    /// Has a timer run when something is due next, if none does that early.
    fn plan(&self, control: &Control<'_>) {
        let mut state = self.state();
        let planned = state.planned_ns;
        let Some(next) =
            state.detection.next_ns().filter(|next| planned.is_none_or(|planned| *next < planned))
        else {
            return;
        };
        state.planned_ns = Some(next);
        drop(state);
        let wait = Duration::from_nanos(next.saturating_sub(control.now_ns()));
        control.spawn("duplicate-detection", move |task| async move {
            task::sleep(wait).await;
            task.with(|control| {
                // It was provided before.
                if let Ok(detection) = control.resource::<Self>() {
                    detection.timer_ran(control, next);
                }
            });
        });
    }

    fn timer_ran(&self, control: &Control<'_>, planned: u64) {
        self.state().planned_ns.take_if(|first| *first == planned);
        self.change(control, |detection, now_ns, random, out| detection.expire(now_ns, random, out));
    }
}

impl AddressCheck for DuplicateDetection {
    fn begin(&self, control: &Control<'_>, interface: InterfaceIndex, address: IpAddr) -> bool {
        let options = self.neighbors.options(interface);
        let transmits = options.transmits();
        if transmits == 0 {
            return false;
        }
        let (key, interval_ns) = (NeighborKey { interface, address }, options.settings().retransmit_ns);
        self.change(control, |detection, now_ns, random, _| {
            detection.begin(now_ns, key, transmits, interval_ns, random);
        });
        true
    }

    fn end(&self, control: &Control<'_>, interface: InterfaceIndex, address: IpAddr) {
        self.change(control, |detection, _, _, _| detection.end(&NeighborKey { interface, address }));
    }
}
