//! The neighbour table at work: what workers report comes in, what the table decides is carried out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use raddle_plugin_api::task::Remote;
use raddle_plugin_api::wire::{ArpPacket, InterfaceAddress, Ip4Address, Ip6Address, MacAddress};
use raddle_plugin_api::{
    Control, Failure, Field, HeldPacket, InterfaceIndex, InterfaceInfo, Packet, Worker, failure,
};

use super::links::Links;
use super::message::{announcement4, announcement6, arp_frame, solicitation_frame};
use super::neighbor_drop::NeighborDrop;
use super::{Action, Entry, Heard, NeighborKey, NeighborState, Settings, Table};
use crate::net::forwarding::ForwardingTables;
use crate::net::icmp_field::{IcmpRequest, icmp_field};
use crate::net::local::{LocalNext, LocalOutput, OwnTable};

/// Packets that may be on their way to the main thread at a time, over all workers.
const MAX_BACKLOG: usize = 1024;

/// The neighbours of all interfaces. A resource of the core: workers report to it, the main thread does the work.
pub struct Neighbors {
    remote: Remote,
    backlog: AtomicUsize,
    output: Arc<LocalOutput>,
    own: Arc<OwnTable>,
    icmp: Field<IcmpRequest>,
    state: Mutex<State>,
}

struct State {
    table: Table<HeldPacket>,
    links: Links,
    interfaces: HashMap<InterfaceIndex, InterfaceInfo>,
}

impl Neighbors {
    /// No neighbours yet; the interfaces are those that there are.
    ///
    /// # Errors
    /// What it stands on is not there.
    pub fn new(control: &Control<'_>) -> Result<Self, Failure> {
        let interfaces = control.interfaces()?.into_iter().map(|info| (info.index, info)).collect();
        let links = Links::new(control.resource::<ForwardingTables>()?, control.resource()?);
        let table = Table::new(Settings::default());
        Ok(Self {
            remote: control.remote(),
            backlog: AtomicUsize::new(0),
            output: control.resource()?,
            own: control.resource()?,
            icmp: icmp_field(control)?,
            state: Mutex::new(State { table, links, interfaces }),
        })
    }

    /// Whether one more packet may be handed over; it counts as handed over then.
    pub(super) fn admit(&self) -> bool {
        if self.backlog.load(Ordering::Relaxed) >= MAX_BACKLOG {
            return false;
        }
        self.backlog.fetch_add(1, Ordering::Relaxed);
        true
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
        let moved = before.is_some_and(|before| before.mac != mac);
        let State { table, links, interfaces } = &mut *state;
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
            self.state().interfaces.remove(&interface);
        }
    }

    /// Tells the link of own addresses: gratuitous ARP (RFC 5227 §2.3) and unsolicited advertisements (RFC 4861 §7.2.6).
    pub fn announce(&self, interface: InterfaceIndex, addresses: &[InterfaceAddress]) {
        for address in addresses {
            match address.address() {
                IpAddr::V4(ip) => self.send_frame(interface, move |mac| Some(announcement4(mac, ip.into()))),
                IpAddr::V6(ip) => self.send_frame(interface, move |mac| announcement6(mac, ip.into())),
            }
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
        let (mut state, mut out) = (self.state(), Vec::new());
        let result = body(&mut state, control.now_ns(), &mut out);
        for action in out {
            self.carry_out(control, &mut state, action);
        }
        result
    }

    fn carry_out(&self, control: &Control<'_>, state: &mut State, action: Action<HeldPacket>) {
        match action {
            Action::Solicit { key, mac } => self.solicit(control, key, mac),
            Action::Link { key, mac, watch } => {
                if let Some(info) = state.interfaces.get(&key.interface) {
                    state.links.link(control, key, mac, watch, info);
                }
            }
            Action::Unlink { key } => state.links.unlink(control, key),
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

    /// Asks for the neighbour; without an own address of the family there is nothing to ask with.
    fn solicit(&self, control: &Control<'_>, key: NeighborKey, to: Option<MacAddress>) {
        let own = self.own.get(control);
        match key.address {
            IpAddr::V4(target) => {
                let target = Ip4Address::from(target);
                let Some(source) = own.source4(key.interface, target) else { return };
                self.send_frame(key.interface, move |mac| {
                    Some(arp_frame(&ArpPacket::request(mac, source, target), to))
                });
            }
            IpAddr::V6(target) => {
                let target = Ip6Address::from(target);
                let Some(source) = own.source6(key.interface, target) else { return };
                self.send_frame(key.interface, move |mac| solicitation_frame(mac, source, target, to));
            }
        }
    }

    /// Sends the frame that `make` gives for the interface's MAC address.
    fn send_frame(
        &self,
        interface: InterfaceIndex,
        make: impl FnOnce(MacAddress) -> Option<Vec<u8>> + Send + 'static,
    ) {
        self.output.make(LocalNext::Interface, move |worker: &Worker<'_>, packet| {
            let Some(row) = worker.interface(interface).filter(|row| row.has_ethernet()) else {
                return false;
            };
            packet.set_tx_interface(interface);
            make(row.mac()).is_some_and(|frame| packet.append(&frame))
        });
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
