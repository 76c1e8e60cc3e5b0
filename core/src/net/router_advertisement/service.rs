//! The advertisements of all interfaces: what is told where, and what other routers tell.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use raddle_plugin_api::abi::LogLevel;
use raddle_plugin_api::wire::{Ip6Address, Ip6Prefix, IpPrefix, MacAddress};
use raddle_plugin_api::{Control, Failure, InterfaceIndex, InterfaceInfo, task};

use super::config::{PrefixConfig, RouterAdvertisementConfig};
use super::consistency::Heard;
use super::message::{frame, prefixes};
use super::schedule::{Due, Schedule};
use crate::net::local::OwnTable;
use crate::net::neighbor::{Random, Sender};

/// Other routers on a link that are kept in mind; what further ones say is looked at and forgotten.
const MAX_OTHERS: usize = 16;

/// The advertisements of all interfaces. A resource of the core; the main thread does the work.
pub struct RouterAdvertisements {
    own: Arc<OwnTable>,
    sender: Sender,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    ports: BTreeMap<InterfaceIndex, Port>,
    random: Random,
    /// When the timer runs that runs first.
    planned_ns: Option<u64>,
}

/// An interface.
#[derive(Default)]
pub(super) struct Port {
    pub(super) info: Option<InterfaceInfo>,
    pub(super) config: Option<RouterAdvertisementConfig>,
    /// What was told last: the farewell says it once more, also when the section is gone.
    told: Option<RouterAdvertisementConfig>,
    pub(super) schedule: Option<Schedule>,
    pub(super) sent: u64,
    pub(super) solicitations: u64,
    pub(super) others: BTreeMap<Ip6Address, Other>,
}

/// Another router on the link.
pub(super) struct Other {
    pub(super) heard: Heard,
    pub(super) at_ns: u64,
    pub(super) contradictions: Vec<String>,
}

impl Port {
    pub(super) fn name(&self) -> &str {
        self.info.as_ref().map_or("?", |info| &info.name)
    }

    fn mtu(&self) -> u32 {
        self.info.as_ref().map_or(0, |info| info.mtu)
    }

    fn wants(&self) -> Option<&RouterAdvertisementConfig> {
        let up = self.info.as_ref().is_some_and(|info| info.admin_up && info.link_up && info.mac.is_some());
        self.config.as_ref().filter(|config| config.enabled && up)
    }
}

impl RouterAdvertisements {
    /// Nothing is told yet.
    ///
    /// # Errors
    /// What it stands on is not there.
    pub fn new(control: &Control<'_>) -> Result<Self, Failure> {
        Ok(Self { own: control.resource()?, sender: Sender::new(control)?, state: Mutex::default() })
    }

    /// What is told on an interface from now on; `None`: nothing.
    pub fn set_config(
        &self,
        control: &Control<'_>,
        interface: InterfaceIndex,
        config: Option<RouterAdvertisementConfig>,
    ) {
        self.state().ports.entry(interface).or_default().config = config;
        self.refresh(control, interface);
    }

    /// What is told on an interface.
    pub fn config(&self, interface: InterfaceIndex) -> Option<RouterAdvertisementConfig> {
        self.state().ports.get(&interface)?.config.clone()
    }

    /// Tells all links that this is no default router any more: raddle ends. Whether there was anybody to tell.
    pub fn farewell(&self, control: &Control<'_>) -> bool {
        self.end(control, |_| true)
    }

    /// As [`Self::farewell`], on the link of one interface, which is about to go down. [`Self::refresh`] takes it back.
    pub(super) fn farewell_on(&self, control: &Control<'_>, interface: InterfaceIndex) -> bool {
        self.end(control, |index| index == interface)
    }

    fn end(&self, control: &Control<'_>, is_meant: impl Fn(InterfaceIndex) -> bool) -> bool {
        let mut state = self.state();
        let now_ns = control.now_ns();
        for (_, port) in state.ports.iter_mut().filter(|(index, _)| is_meant(**index)) {
            port.schedule.iter_mut().for_each(|schedule| schedule.end(now_ns));
        }
        drop(state);
        self.send_due(control)
    }

    /// A host asks (RFC 4861 §6.2.6).
    pub fn solicited(&self, control: &Control<'_>, interface: InterfaceIndex) {
        let mut state = self.state();
        let State { ports, random, .. } = &mut *state;
        let Some(port) = ports.get_mut(&interface) else { return };
        port.solicitations += 1;
        if let Some(schedule) = &mut port.schedule {
            schedule.solicited(control.now_ns(), |most| random.up_to(most));
        }
        drop(state);
        self.plan(control);
    }

    /// Another router tells of itself (RFC 4861 §6.2.7). It is said once in what it contradicts us.
    pub fn heard(&self, control: &Control<'_>, interface: InterfaceIndex, heard: Heard) {
        let own = self.own_prefixes(control, interface);
        let mut state = self.state();
        let Some(port) = state.ports.get_mut(&interface) else { return };
        let contradictions = match (&port.config, port.schedule) {
            (Some(config), Some(schedule)) if schedule.is_active() => {
                heard.contradictions(config, &prefixes(config, &own), port.mtu())
            }
            _ => Vec::new(),
        };
        let known = port.others.get(&heard.source);
        let is_news = known.is_none_or(|known| known.contradictions != contradictions);
        if is_news && !contradictions.is_empty() && (known.is_some() || port.others.len() < MAX_OTHERS) {
            let (source, name, what) = (heard.source, port.name(), contradictions.join("; "));
            control.log(
                LogLevel::WARN,
                format_args!(
                    "router {source} on {name} advertises otherwise than we (RFC 4861 section 6.2.7): {what}"
                ),
            );
        }
        if known.is_some() || port.others.len() < MAX_OTHERS {
            let other = Other { heard, at_ns: control.now_ns(), contradictions };
            port.others.insert(other.heard.source, other);
        }
    }

    /// The interface is there, or has changed.
    pub(super) fn interface_changed(&self, control: &Control<'_>, info: InterfaceInfo) {
        let index = info.index;
        let mut state = self.state();
        let port = state.ports.entry(index).or_default();
        if !(info.admin_up && info.link_up) {
            port.others.clear();
        }
        port.info = Some(info);
        drop(state);
        self.refresh(control, index);
    }

    /// The interface is gone.
    pub(super) fn interface_gone(&self, interface: InterfaceIndex) {
        self.state().ports.remove(&interface);
    }

    /// Something has changed of what is told on the interface, or whether anything is: hosts hear of it soon.
    pub(super) fn refresh(&self, control: &Control<'_>, interface: InterfaceIndex) {
        let has_source = self.source(control, interface).is_some();
        let now_ns = control.now_ns();
        let mut state = self.state();
        let Some(port) = state.ports.get_mut(&interface) else { return };
        let up = port.info.as_ref().is_some_and(|info| info.admin_up && info.link_up);
        let intervals = port.wants().map(|config| (config.min_interval(), config.max_interval()));
        if intervals.is_some() {
            port.told.clone_from(&port.config);
        }
        match (intervals.filter(|_| has_source), &mut port.schedule) {
            (Some((min, max)), Some(schedule)) => schedule.restart(now_ns, min, max),
            (Some((min, max)), schedule) => *schedule = Some(Schedule::start(now_ns, min, max)),
            (None, Some(schedule)) if up && has_source => schedule.end(now_ns),
            (None, schedule) => *schedule = None,
        }
        drop(state);
        self.plan(control);
    }

    /// Sends what is due; whether anything was.
    fn send_due(&self, control: &Control<'_>) -> bool {
        let (now_ns, mut any) = (control.now_ns(), false);
        let mut state = self.state();
        let State { ports, random, .. } = &mut *state;
        for (&interface, port) in ports {
            let Some(schedule) = &mut port.schedule else { continue };
            let Some(due) = schedule.due(now_ns, |most| random.up_to(most)) else { continue };
            // A schedule runs only while both are there.
            let Some((source, config)) = self.source(control, interface).zip(port.told.clone()) else {
                continue;
            };
            let (own, mtu) = (self.own_prefixes(control, interface), port.mtu());
            port.sent += 1;
            any = true;
            self.sender.send(interface, move |mac: MacAddress| {
                frame(&config, &own, mtu, source, mac, due == Due::Final)
            });
        }
        any
    }

    /// Has a timer run when the next advertisement is due, if none does that early.
    fn plan(&self, control: &Control<'_>) {
        let mut state = self.state();
        let next = state.ports.values().filter_map(|port| port.schedule?.next_ns()).min();
        let Some(next) = next.filter(|next| state.planned_ns.is_none_or(|planned| *next < planned)) else {
            return;
        };
        state.planned_ns = Some(next);
        drop(state);
        let wait = Duration::from_nanos(next.saturating_sub(control.now_ns()));
        control.spawn("router-advertisement", move |task| async move {
            task::sleep(wait).await;
            task.with(|control| {
                // It was provided before.
                if let Ok(advertisements) = control.resource::<Self>() {
                    advertisements.timer_ran(control, next);
                }
            });
        });
    }

    fn timer_ran(&self, control: &Control<'_>, planned: u64) {
        self.state().planned_ns.take_if(|first| *first == planned);
        self.send_due(control);
        self.plan(control);
    }

    /// Calls `visit` with each interface on which something is told, or was heard, and the prefixes that are told.
    pub(super) fn for_each(
        &self,
        control: &Control<'_>,
        mut visit: impl FnMut(InterfaceIndex, &Port, Vec<PrefixConfig>),
    ) {
        let state = self.state();
        for (&interface, port) in &state.ports {
            let own = self.own_prefixes(control, interface);
            let told = port.config.as_ref().map(|config| prefixes(config, &own)).unwrap_or_default();
            visit(interface, port, told);
        }
    }

    /// The link-local address in use (RFC 4861 §4.2).
    fn source(&self, control: &Control<'_>, interface: InterfaceIndex) -> Option<Ip6Address> {
        self.own.get(control).of_interface(interface).into_iter().find_map(|own| match own.address() {
            IpAddr::V6(ip) if ip.is_unicast_link_local() => Some(ip.into()),
            _ => None,
        })
    }

    fn own_prefixes(&self, control: &Control<'_>, interface: InterfaceIndex) -> Vec<Ip6Prefix> {
        let own = self.own.get(control).of_interface(interface).into_iter();
        own.filter_map(|own| match own.prefix() {
            IpPrefix::V6(prefix) => Some(prefix),
            IpPrefix::V4(_) => None,
        })
        .collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
