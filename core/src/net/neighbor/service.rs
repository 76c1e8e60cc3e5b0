//! The neighbour table at work: what workers report comes in, what the table decides is carried out.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use raddle_plugin_api::abi::LogLevel;
use raddle_plugin_api::task::Remote;
use raddle_plugin_api::wire::{InterfaceAddress, MacAddress};
use raddle_plugin_api::{
    Control, Failure, Field, HeldPacket, InterfaceIndex, InterfaceInfo, Packet, failure,
};

use super::action::{Action, Heard};
use super::dad::{DuplicateDetection, Word};
use super::event::{NeighborChange, NeighborEvent, NeighborListener};
use super::links::Links;
use super::nd_proxy::NdProxy;
use super::neighbor_drop::NeighborDrop;
use super::option::{NeighborOptions, NeighborTableConfig};
use super::random::Random;
use super::sender::Sender;
use super::{Entry, NeighborKey, NeighborState, Table};
use crate::net::forwarding::ForwardingTables;
use crate::net::icmp_field::{IcmpRequest, icmp_field};
use crate::net::local::{LocalNext, LocalOutput, OwnTable, Proxy};
use crate::net::mac_filter::{Holder, MacFilters, SOLICITED_NODES};
use crate::net::router_advertisement::{self, RouterAdvertisements};

/// Packets that may be on their way to the main thread at a time, over all workers.
const MAX_BACKLOG: usize = 1024;

/// The neighbours of all interfaces. A resource of the core: workers report to it, the main thread does the work.
pub struct Neighbors {
    remote: Remote,
    backlog: AtomicUsize,
    /// The most packets that may wait for one neighbour, on any interface.
    most_queued: AtomicU32,
    output: Arc<LocalOutput>,
    own: Arc<OwnTable>,
    sender: Sender,
    icmp: Field<IcmpRequest>,
    state: Mutex<State>,
    listeners: Mutex<Vec<Arc<NeighborListener>>>,
}

struct State {
    table: Table<HeldPacket>,
    links: Links,
    interfaces: HashMap<InterfaceIndex, InterfaceInfo>,
    config: NeighborTableConfig,
    random: Random,
    /// Interfaces on which the feature `nd-proxy` is on.
    nd_proxies: HashSet<InterfaceIndex>,
    /// What was said of single interfaces.
    options: HashMap<InterfaceIndex, NeighborOptions>,
}

impl Neighbors {
    /// No neighbours yet; the interfaces are those that there are.
    ///
    /// # Errors
    /// What it stands on is not there.
    pub fn new(control: &Control<'_>) -> Result<Self, Failure> {
        let interfaces = control.interfaces()?.into_iter().map(|info| (info.index, info)).collect();
        let links = Links::new(control.resource::<ForwardingTables>()?, control.resource()?);
        let config: NeighborTableConfig = control.config("neighbor-table")?;
        // No more than the bound of the configuration.
        let most_queued = u32::try_from(config.defaults.settings().max_queued).unwrap_or(u32::MAX);
        let table = Table::new(config.max_entries.get() as usize, config.defaults.settings());
        Ok(Self {
            remote: control.remote(),
            backlog: AtomicUsize::new(0),
            most_queued: AtomicU32::new(most_queued),
            output: control.resource()?,
            own: control.resource()?,
            sender: Sender::new(control)?,
            icmp: icmp_field(control)?,
            state: Mutex::new(State {
                table,
                links,
                interfaces,
                config,
                random: Random::default(),
                nd_proxies: HashSet::new(),
                options: HashMap::new(),
            }),
            listeners: Mutex::default(),
        })
    }

    /// Has `listener` called from now on when a neighbour is resolved, does not answer, or is forgotten.
    pub fn subscribe(&self, listener: impl Fn(&Control<'_>, &NeighborEvent) + Send + Sync + 'static) {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::new(listener));
    }

    /// Asks for a neighbour without a packet for it; what comes of it is told to the listeners. Nothing happens if it is known or
    /// asked for already.
    pub fn resolve(&self, control: &Control<'_>, key: NeighborKey) {
        self.change(control, |state, now_ns, out| {
            if state.interfaces.get(&key.interface).is_some_and(|info| info.mac.is_some()) {
                state.table.resolve(now_ns, key, out);
            }
        });
    }

    /// Word from a protocol above that packets to the neighbour arrive (RFC 4861 §7.3.1): it need not be asked for some time.
    pub fn confirm(&self, control: &Control<'_>, key: NeighborKey) {
        self.change(control, |state, now_ns, out| state.table.confirm(now_ns, key, out));
    }

    /// What is known of one neighbour: its state, and its MAC address if that is known.
    pub fn get(&self, key: &NeighborKey) -> Option<(NeighborState, Option<MacAddress>)> {
        self.state().table.get(key).map(|entry| (entry.state(), entry.mac()))
    }

    /// The configuration for all interfaces from now on.
    pub fn set_config(&self, control: &Control<'_>, config: NeighborTableConfig) {
        let mut state = self.state();
        state.table.set_max_entries(config.max_entries.get() as usize);
        state.config = config;
        let interfaces: Vec<_> = state.interfaces.keys().copied().collect();
        drop(state);
        interfaces.into_iter().for_each(|interface| self.apply_options(control, interface));
    }

    /// What holds on an interface from now on, besides what holds for all.
    pub fn set_options(&self, control: &Control<'_>, interface: InterfaceIndex, options: NeighborOptions) {
        self.state().options.insert(interface, options);
        self.apply_options(control, interface);
    }

    /// What was said of an interface.
    pub fn own_options(&self, interface: InterfaceIndex) -> NeighborOptions {
        self.state().options.get(&interface).cloned().unwrap_or_default()
    }

    /// What holds on an interface: what was said of it, or of all.
    pub fn options(&self, interface: InterfaceIndex) -> NeighborOptions {
        let state = self.state();
        let all = &state.config.defaults;
        state.options.get(&interface).map_or_else(|| all.clone(), |own| own.or(all))
    }

    /// The configuration for all interfaces.
    pub fn config(&self) -> NeighborTableConfig {
        self.state().config.clone()
    }

    /// An interface was there before the table: what holds for all holds on it.
    pub(super) fn interface_there(&self, control: &Control<'_>, interface: InterfaceIndex) {
        self.apply_options(control, interface);
    }

    fn apply_options(&self, control: &Control<'_>, interface: InterfaceIndex) {
        let options = self.options(interface);
        let mut state = self.state();
        let mut settings = options.settings();
        // RFC 4861 §6.3.2: between half and one and a half of it, so that not all neighbours of a link are checked at once.
        settings.reachable_ns = settings.reachable_ns / 2 + state.random.up_to(settings.reachable_ns);
        // More than one interface needs is refused by the table itself.
        let most_queued = u32::try_from(settings.max_queued).unwrap_or(u32::MAX);
        self.most_queued.fetch_max(most_queued, Ordering::Relaxed);
        state.table.set_settings(interface, settings);
        drop(state);
        let NeighborOptions { proxy: prefixes, proxy_routed: routed, local_proxy: local, .. } = options;
        let proxy = Proxy { prefixes, routed, local };
        let wants_node = proxy.has_ip6();
        let had_node = self.state().nd_proxies.contains(&interface);
        self.own.set_proxy(control, interface, proxy);
        if wants_node != had_node {
            self.listen_for_others(control, interface, wants_node);
            match control.set_feature(interface, NdProxy::FEATURE, wants_node) {
                Ok(()) if wants_node => self.state().nd_proxies.insert(interface),
                Ok(()) => self.state().nd_proxies.remove(&interface),
                Err(failure) => {
                    control.log(LogLevel::ERROR, format_args!("proxy neighbour discovery: {failure}"));
                    false
                }
            };
        }
    }

    /// Has the interface take, or take no longer, what is asked of others by multicast: of whom, only their answers show.
    fn listen_for_others(&self, control: &Control<'_>, interface: InterfaceIndex, on: bool) {
        let Ok(filters) = control.resource::<MacFilters>() else { return };
        let wanted = on.then_some(SOLICITED_NODES).into_iter().collect();
        if let Err(failure) = filters.set(control, interface, Holder::Proxy, wanted) {
            control.log(LogLevel::WARN, format_args!("groups of interface {interface}: {failure}"));
        }
    }

    /// Whether one more packet may be handed over; it counts as handed over then.
    pub(super) fn admit(&self) -> bool {
        if self.backlog.load(Ordering::Relaxed) >= MAX_BACKLOG {
            return false;
        }
        self.backlog.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// Packets a second for one neighbour that one worker hands to the main thread: as many as may wait there.
    pub(super) fn most_queued(&self) -> u32 {
        self.most_queued.load(Ordering::Relaxed)
    }

    /// Packets, each admitted before, whose neighbours are not known. Any thread.
    pub(super) fn hand_over(&self, packets: Vec<(NeighborKey, HeldPacket)>) {
        self.on_main(move |neighbors, control| {
            neighbors.backlog.fetch_sub(packets.len(), Ordering::Relaxed);
            neighbors.change(control, |state, now_ns, out| {
                for (key, packet) in packets {
                    state.packet(now_ns, key, packet, out);
                }
            });
        });
    }

    /// A packet went to a neighbour of whose use word was asked. Any thread.
    pub(super) fn report_use(&self, key: NeighborKey) {
        self.on_main(move |neighbors, control| {
            neighbors.change(control, |state, now_ns, out| state.table.used(now_ns, key, out));
        });
    }

    /// A neighbour said something of itself. Any thread.
    pub(super) fn report_heard(&self, key: NeighborKey, heard: Heard) {
        self.on_main(move |neighbors, control| {
            neighbors.change(control, |state, now_ns, out| {
                let heard = state.judge(&key, heard);
                state.table.heard(now_ns, key, heard, out);
            });
        });
    }

    /// Somebody else said something of an own address, in use or tried. Any thread.
    pub(super) fn report_claim(&self, key: NeighborKey, word: Word, holder: Option<MacAddress>) {
        self.remote.run(move |control| {
            if let Ok(detection) = control.resource::<DuplicateDetection>() {
                detection.heard(control, key, word, holder);
            }
        });
    }

    /// A host wants to hear from routers. Any thread.
    pub(super) fn report_router_solicitation(&self, interface: InterfaceIndex) {
        self.remote.run(move |control| {
            if let Ok(advertisements) = control.resource::<RouterAdvertisements>() {
                advertisements.solicited(control, interface);
            }
        });
    }

    /// Another router told of itself. Any thread.
    pub(super) fn report_router(&self, interface: InterfaceIndex, heard: router_advertisement::Heard) {
        self.remote.run(move |control| {
            if let Ok(advertisements) = control.resource::<RouterAdvertisements>() {
                advertisements.heard(control, interface, heard);
            }
        });
    }

    /// Sets an entry that stays.
    ///
    /// # Errors
    /// The table is full, or the interface has no link-layer addresses.
    pub fn set_static(
        &self,
        control: &Control<'_>,
        key: NeighborKey,
        mac: MacAddress,
    ) -> Result<(), Failure> {
        let done = self.change(control, |state, now_ns, out| {
            let has_mac = state.interfaces.get(&key.interface).is_some_and(|info| info.mac.is_some());
            has_mac.then(|| state.table.set_static(now_ns, key, mac, out))
        });
        match done {
            Some(true) => Ok(()),
            Some(false) => Err(failure!("the neighbour table is full")),
            None => Err(failure!("interface {} has no link-layer addresses", key.interface)),
        }
    }

    /// Forgets one neighbour. `false` if there is none.
    pub fn remove(&self, control: &Control<'_>, key: NeighborKey) -> bool {
        self.change(control, |state, _, out| state.table.remove(key, out))
    }

    /// Forgets what was learned, on one interface or all; returns how many neighbours that were.
    pub fn clear(&self, control: &Control<'_>, interface: Option<InterfaceIndex>) -> usize {
        self.change(control, |state, _, out| {
            state.table.remove_where(
                |key, kind| {
                    kind != NeighborState::Static && interface.is_none_or(|only| only == key.interface)
                },
                out,
            )
        })
    }

    /// Calls `visit` with state and number of waiting packets of each neighbour of an interface.
    pub fn count(&self, interface: InterfaceIndex, mut visit: impl FnMut(NeighborState, usize)) {
        let state = self.state();
        let here = state.table.iter().filter(|(key, _)| key.interface == interface);
        here.for_each(|(_, entry)| visit(entry.state(), entry.queued()));
    }

    /// Calls `visit` with each neighbour and its interface, in the order of interface and address.
    pub fn for_each(
        &self,
        interface: Option<InterfaceIndex>,
        mut visit: impl FnMut(&NeighborKey, &Entry<HeldPacket>, Option<&InterfaceInfo>),
    ) {
        let state = self.state();
        let mut list: Vec<_> = state
            .table
            .iter()
            .filter(|(key, _)| interface.is_none_or(|only| only == key.interface))
            .collect();
        list.sort_unstable_by_key(|(key, _)| **key);
        for (key, entry) in list {
            visit(key, entry, state.interfaces.get(&key.interface));
        }
    }

    /// Does what is due; returns how long to wait until the next time, in ns, if there is anything to wait for.
    pub(super) fn expire(&self, control: &Control<'_>) -> Option<u64> {
        self.change(control, |state, now_ns, out| {
            state.table.expire(now_ns, out);
            state.table.next_deadline_ns().map(|deadline| deadline.saturating_sub(now_ns))
        })
    }

    /// The interface is there, or has changed. Neighbours are linked that could not be before. If its
    /// MAC address has changed, rewrites are made anew, and the answer is `true`.
    pub(super) fn interface_changed(&self, control: &Control<'_>, info: InterfaceInfo) -> bool {
        let mut state = self.state();
        let index = info.index;
        let mac = info.mac;
        let before = state.interfaces.insert(index, info);
        let is_new = before.is_none();
        let moved = before.is_some_and(|before| before.mac != mac);
        let State { table, links, interfaces, .. } = &mut *state;
        if let Some(info) = interfaces.get(&index) {
            // A static neighbour may have been set before the routes knew of its interface.
            let on_interface = table.iter().filter(|(key, _)| key.interface == index);
            for (key, entry) in on_interface {
                let wanted = moved || !links.holds(key);
                if let Some(mac) = entry.mac().filter(|_| wanted) {
                    links.link(control, *key, mac, entry.state() == NeighborState::Stale, info);
                }
            }
        }
        drop(state);
        if is_new {
            self.apply_options(control, index);
        }
        moved
    }

    /// The interface went down, or is going: what was learned there is forgotten; `gone`: static entries too.
    pub(super) fn interface_down(&self, control: &Control<'_>, interface: InterfaceIndex, gone: bool) {
        self.change(control, |state, _, out| {
            state.table.remove_where(
                |key, kind| key.interface == interface && (gone || kind != NeighborState::Static),
                out,
            );
        });
        if gone {
            let mut state = self.state();
            state.interfaces.remove(&interface);
            state.options.remove(&interface);
            state.nd_proxies.remove(&interface);
            state.table.forget_interface(interface);
            drop(state);
            self.own.set_proxy(control, interface, Proxy::default());
        }
    }

    /// Tells the link of own addresses.
    pub fn announce(&self, interface: InterfaceIndex, addresses: &[InterfaceAddress]) {
        for address in addresses {
            self.sender.announce(interface, address.address());
        }
    }

    fn on_main(&self, call: impl FnOnce(&Self, &Control<'_>) + Send + 'static) {
        self.remote.run(move |control| {
            // It was provided before any worker ran.
            if let Ok(neighbors) = control.resource::<Self>() {
                call(&neighbors, control);
            }
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the table and carries out what it decides.
    fn change<R>(
        &self,
        control: &Control<'_>,
        body: impl FnOnce(&mut State, u64, &mut Vec<Action<HeldPacket>>) -> R,
    ) -> R {
        let (mut state, mut out, mut events) = (self.state(), Vec::new(), Vec::new());
        let result = body(&mut state, control.now_ns(), &mut out);
        for action in out {
            self.carry_out(control, &mut state, action, &mut events);
        }
        drop(state);
        self.tell(control, &events);
        result
    }

    fn tell(&self, control: &Control<'_>, events: &[NeighborEvent]) {
        if events.is_empty() {
            return;
        }
        let listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for event in events {
            listeners.iter().for_each(|listener| listener(control, event));
        }
    }

    fn carry_out(
        &self,
        control: &Control<'_>,
        state: &mut State,
        action: Action<HeldPacket>,
        events: &mut Vec<NeighborEvent>,
    ) {
        let mut tell = |key, change| events.push(NeighborEvent { key, change });
        match action {
            Action::Solicit { key, mac } => self.sender.solicit(control, key, mac),
            Action::Link { key, mac, watch } => {
                if !state.links.holds(&key) {
                    tell(key, NeighborChange::Resolved);
                }
                if let Some(info) = state.interfaces.get(&key.interface) {
                    state.links.link(control, key, mac, watch, info);
                }
            }
            Action::Unlink { key } => {
                state.links.unlink(control, key);
                tell(key, NeighborChange::Forgotten);
            }
            Action::Failed { key } => tell(key, NeighborChange::Unreachable),
            Action::Send { key, packet } => {
                let lookup = if key.address.is_ipv4() { LocalNext::Ip4Lookup } else { LocalNext::Ip6Lookup };
                self.output.send(packet, lookup, |_| {});
            }
            Action::Unreachable { key, packet } => {
                let (next, request) = match key.address {
                    IpAddr::V4(_) => (LocalNext::Ip4IcmpError, IcmpRequest::IP4_HOST_UNREACHABLE),
                    IpAddr::V6(_) => (LocalNext::Ip6IcmpError, IcmpRequest::IP6_ADDRESS_UNREACHABLE),
                };
                let field = self.icmp;
                self.output.send(packet, next, move |packet| packet.set_field(&field, request));
            }
            Action::Drop { packet, reason } => {
                let mark = move |packet: &mut Packet<'_>| NeighborDrop::mark(packet, reason);
                self.output.send(packet, LocalNext::NeighborDrop, mark);
            }
        }
    }
}

impl State {
    fn packet(
        &mut self,
        now_ns: u64,
        key: NeighborKey,
        packet: HeldPacket,
        out: &mut Vec<Action<HeldPacket>>,
    ) {
        // Without link-layer addresses there is nothing to resolve.
        let bare = self.interfaces.get(&key.interface).is_some_and(|info| info.mac.is_none());
        if bare && self.table.get(&key).is_none() {
            self.table.set_static(now_ns, key, MacAddress::ZERO, out);
        }
        self.table.packet(now_ns, key, packet, out);
    }

    /// An ARP reply does not say whether we asked: we know (`router` is `None` of ARP only).
    fn judge(&self, key: &NeighborKey, heard: Heard) -> Heard {
        let asked = self.table.get(key).map(Entry::state);
        match heard {
            Heard::Answer { mac, solicited: true, overrides, router: None } => Heard::Answer {
                mac,
                solicited: matches!(asked, Some(NeighborState::Incomplete | NeighborState::Probe)),
                overrides,
                router: None,
            },
            other => other,
        }
    }
}
