//! The neighbour table of both families as a state machine: events and time in, actions out (RFC 826, RFC 4861 §7.3).
//!
//! No clock, no I/O: whoever owns it carries out the actions, in order.

use std::collections::HashMap;

use raddle_plugin_api::InterfaceIndex;
use raddle_plugin_api::wire::MacAddress;

use super::entry::{Entry, NeighborKey, NeighborState};
use super::order::Orders;
use super::settings::Settings;

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action<Q> {
    /// Ask for the neighbour: everyone on the link, or the one at `mac` whether it is still there.
    Solicit {
        /// Whom.
        key: NeighborKey,
        /// Where it was last.
        mac: Option<MacAddress>,
    },
    /// Packets to the neighbour go to this MAC address from now on. With `watch`, tell the table of the next one
    /// ([`Table::used`]).
    Link {
        /// Whose.
        key: NeighborKey,
        /// Where it is.
        mac: MacAddress,
        /// Whether the next use is of interest.
        watch: bool,
    },
    /// The neighbour is not known any more: packets to it must come here.
    Unlink {
        /// Whose.
        key: NeighborKey,
    },
    /// The packet can be sent.
    Send {
        /// Towards whom.
        key: NeighborKey,
        /// The packet.
        packet: Q,
    },
    /// Nobody answers: tell the packet's sender.
    Unreachable {
        /// Towards whom.
        key: NeighborKey,
        /// The packet.
        packet: Q,
    },
    /// The packet found no room, or its neighbour was forgotten.
    Drop {
        /// The packet.
        packet: Q,
        /// Why.
        reason: DropReason,
    },
}

/// Why a waiting packet is dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DropReason {
    /// Too many packets wait for the neighbour, or on the interface.
    QueueFull,
    /// Too many neighbours are being resolved.
    TooMany,
    /// The neighbour was removed: its interface went down, or the operator cleared it.
    Removed,
}

/// What a neighbour said of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Heard {
    /// It asked for us: an ARP request, a solicitation (RFC 4861 §7.2.3).
    Request {
        /// Where it is.
        mac: MacAddress,
    },
    /// It told where it is: an ARP reply, an advertisement (RFC 4861 §7.2.5).
    Answer {
        /// Where it is; `None` if it did not say.
        mac: Option<MacAddress>,
        /// We asked.
        solicited: bool,
        /// What was known is to be replaced.
        overrides: bool,
        /// It is a router; `None` where the protocol does not say.
        router: Option<bool>,
    },
}

/// The table of neighbours; `Q` is a packet that waits.
#[derive(Debug)]
pub struct Table<Q> {
    settings: Settings,
    entries: HashMap<NeighborKey, Entry<Q>>,
    orders: Orders,
    next_order: u64,
}

impl<Q> Table<Q> {
    /// An empty table.
    pub fn new(settings: Settings) -> Self {
        Self { settings, entries: HashMap::new(), orders: Orders::default(), next_order: 0 }
    }

    /// The entry of a neighbour.
    pub fn get(&self, key: &NeighborKey) -> Option<&Entry<Q>> {
        self.entries.get(key)
    }

    /// All entries, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&NeighborKey, &Entry<Q>)> + Clone {
        self.entries.iter()
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// When [`Table::expire`] has something to do next, in ns.
    pub fn next_deadline_ns(&self) -> Option<u64> {
        self.orders.next_deadline()
    }

    /// A packet for a neighbour that the packet's way does not know: it waits, and the neighbour is asked for
    /// (RFC 4861 §7.2.2, RFC 1122 §2.3.2.2).
    pub fn packet(&mut self, now_ns: u64, key: NeighborKey, packet: Q, out: &mut Vec<Action<Q>>) {
        match self.entries.get(&key).map(Entry::state) {
            Some(NeighborState::Incomplete) => {}
            Some(_) => {
                out.push(Action::Send { key, packet });
                self.used(now_ns, key, out);
                return;
            }
            None => {
                if !self.make_room(key.interface, out) {
                    out.push(Action::Drop { packet, reason: DropReason::TooMany });
                    return;
                }
                let mut entry = Entry::new(NeighborState::Incomplete, MacAddress::ZERO, now_ns);
                entry.solicitations = 1;
                entry.deadline_ns = Some(now_ns.saturating_add(self.settings.retransmit_ns));
                self.insert(key, entry);
                out.push(Action::Solicit { key, mac: None });
            }
        }
        self.enqueue(key, packet, out);
    }

    /// A packet went to a neighbour of whose use word was asked.
    pub fn used(&mut self, now_ns: u64, key: NeighborKey, out: &mut Vec<Action<Q>>) {
        let until = now_ns.saturating_add(self.settings.delay_ns);
        if self.entries.get(&key).is_some_and(|entry| entry.state == NeighborState::Stale) {
            self.change(key, |entry| {
                entry.state = NeighborState::Delay;
                entry.deadline_ns = Some(until);
                out.push(Action::Link { key, mac: entry.mac, watch: false });
            });
        }
    }

    /// A neighbour said something of itself. `create`: it may be new to us.
    pub fn heard(&mut self, now_ns: u64, key: NeighborKey, heard: Heard, out: &mut Vec<Action<Q>>) {
        match (heard, self.entries.get(&key)) {
            (_, Some(Entry { state: NeighborState::Static, .. })) => {}
            (Heard::Request { mac }, None) => {
                if self.make_room_for_any(out) {
                    let mut entry = Entry::new(NeighborState::Stale, mac, now_ns);
                    entry.deadline_ns = Some(now_ns.saturating_add(self.settings.stale_ns));
                    self.insert(key, entry);
                    out.push(Action::Link { key, mac, watch: true });
                }
            }
            (Heard::Request { mac }, Some(entry)) => {
                if entry.state == NeighborState::Incomplete || entry.mac != mac {
                    self.resolve(now_ns, key, mac, NeighborState::Stale, out);
                }
            }
            (Heard::Answer { .. }, None) => {}
            (Heard::Answer { mac, solicited, overrides, router }, Some(entry)) => {
                let (state, known) = (entry.state, entry.mac);
                let confirmed = if solicited { NeighborState::Reachable } else { NeighborState::Stale };
                match (state, mac) {
                    (NeighborState::Incomplete, None) => return,
                    (NeighborState::Incomplete, Some(mac)) => self.resolve(now_ns, key, mac, confirmed, out),
                    // RFC 4861 §7.2.5: another address without the override flag only casts doubt.
                    (state, Some(mac)) if mac != known && !overrides => {
                        if state == NeighborState::Reachable {
                            self.resolve(now_ns, key, known, NeighborState::Stale, out);
                        }
                        return;
                    }
                    (_, mac) => {
                        let mac = mac.unwrap_or(known);
                        if solicited || mac != known {
                            self.resolve(now_ns, key, mac, confirmed, out);
                        }
                    }
                }
                if let (Some(router), Some(entry)) = (router, self.entries.get_mut(&key)) {
                    entry.router = router;
                }
            }
        }
    }

    /// Sets an entry that nothing but the operator changes. `false` if the table is full.
    pub fn set_static(
        &mut self,
        now_ns: u64,
        key: NeighborKey,
        mac: MacAddress,
        out: &mut Vec<Action<Q>>,
    ) -> bool {
        if !self.entries.contains_key(&key) {
            if !self.make_room_for_any(out) {
                return false;
            }
            self.insert(key, Entry::new(NeighborState::Static, mac, now_ns));
            out.push(Action::Link { key, mac, watch: false });
        } else {
            self.resolve(now_ns, key, mac, NeighborState::Static, out);
        }
        true
    }

    /// Forgets a neighbour. `false` if there is none.
    pub fn remove(&mut self, key: NeighborKey, out: &mut Vec<Action<Q>>) -> bool {
        self.take_out(key, DropReason::Removed, out)
    }

    /// Forgets the neighbours for which `which` is true; returns how many.
    pub fn remove_where(
        &mut self,
        which: impl Fn(&NeighborKey, NeighborState) -> bool,
        out: &mut Vec<Action<Q>>,
    ) -> usize {
        let keys: Vec<_> =
            self.entries.iter().filter(|(key, entry)| which(key, entry.state)).map(|(key, _)| *key).collect();
        keys.iter().filter(|key| self.remove(**key, out)).count()
    }

    /// Does what is due by now: repeats solicitations, ages entries, gives up.
    pub fn expire(&mut self, now_ns: u64, out: &mut Vec<Action<Q>>) {
        while let Some(key) = self.orders.due(now_ns) {
            self.expire_one(now_ns, key, out);
        }
    }

    fn expire_one(&mut self, now_ns: u64, key: NeighborKey, out: &mut Vec<Action<Q>>) {
        let Settings { solicitations, retransmit_ns, stale_ns, .. } = self.settings;
        // An entry that the orders name is in the table.
        let Some(entry) = self.entries.get(&key) else { return };
        let asked = entry.solicitations;
        match entry.state {
            NeighborState::Incomplete | NeighborState::Probe if asked >= solicitations => {
                self.give_up(key, out);
            }
            NeighborState::Incomplete | NeighborState::Probe => self.change(key, |entry| {
                entry.solicitations += 1;
                entry.deadline_ns = Some(now_ns.saturating_add(retransmit_ns));
                out.push(Action::Solicit { key, mac: entry.mac() });
            }),
            NeighborState::Delay => self.change(key, |entry| {
                entry.state = NeighborState::Probe;
                entry.solicitations = 1;
                entry.deadline_ns = Some(now_ns.saturating_add(retransmit_ns));
                out.push(Action::Solicit { key, mac: Some(entry.mac) });
            }),
            NeighborState::Reachable => {
                let order = self.take_order();
                self.change(key, |entry| {
                    entry.state = NeighborState::Stale;
                    entry.order = order;
                    entry.deadline_ns = Some(now_ns.saturating_add(stale_ns));
                    out.push(Action::Link { key, mac: entry.mac, watch: true });
                });
            }
            NeighborState::Stale => {
                self.take_out(key, DropReason::Removed, out);
            }
            NeighborState::Static => self.change(key, |entry| entry.deadline_ns = None),
        }
    }

    /// Notes that the neighbour is at `mac`, and lets go what waits for it.
    fn resolve(
        &mut self,
        now_ns: u64,
        key: NeighborKey,
        mac: MacAddress,
        state: NeighborState,
        out: &mut Vec<Action<Q>>,
    ) {
        let Settings { reachable_ns, delay_ns, stale_ns, .. } = self.settings;
        let order = self.take_order();
        self.change(key, |entry| {
            // RFC 4861 §7.3.3: a packet to a stale neighbour begins the delay.
            let in_use = !entry.queue.is_empty();
            entry.state = match state {
                NeighborState::Stale if in_use => NeighborState::Delay,
                other => other,
            };
            let lasts = match entry.state {
                NeighborState::Reachable => Some(reachable_ns),
                NeighborState::Delay => Some(delay_ns),
                NeighborState::Stale => Some(stale_ns),
                _ => None,
            };
            (entry.mac, entry.order, entry.solicitations, entry.since_ns) = (mac, order, 0, now_ns);
            entry.deadline_ns = lasts.map(|lasts| now_ns.saturating_add(lasts));
            out.push(Action::Link { key, mac, watch: entry.state == NeighborState::Stale });
            out.extend(entry.queue.drain(..).map(|packet| Action::Send { key, packet }));
        });
    }

    fn enqueue(&mut self, key: NeighborKey, packet: Q, out: &mut Vec<Action<Q>>) {
        let Settings { max_queued, max_queued_interface, .. } = self.settings;
        let crowded = self.orders.waiting(key.interface).1 >= max_queued_interface;
        self.change(key, |entry| {
            entry.queue.push_back(packet);
            if entry.queue.len() > max_queued || crowded {
                let oldest = entry.queue.pop_front();
                out.extend(oldest.map(|packet| Action::Drop { packet, reason: DropReason::QueueFull }));
            }
        });
    }

    /// Room for one more unresolved neighbour of the interface, at the cost of the oldest.
    fn make_room(&mut self, interface: InterfaceIndex, out: &mut Vec<Action<Q>>) -> bool {
        while self.orders.waiting(interface).0 >= self.settings.max_incomplete {
            match self.orders.oldest_incomplete(interface) {
                Some(oldest) => self.take_out(oldest, DropReason::TooMany, out),
                None => return false,
            };
        }
        self.make_room_for_any(out)
    }

    fn make_room_for_any(&mut self, out: &mut Vec<Action<Q>>) -> bool {
        while self.entries.len() >= self.settings.max_entries {
            match self.orders.most_dispensable() {
                Some(key) => self.take_out(key, DropReason::TooMany, out),
                None => return false,
            };
        }
        true
    }

    fn give_up(&mut self, key: NeighborKey, out: &mut Vec<Action<Q>>) {
        let Some(entry) = self.entries.remove(&key) else { return };
        self.orders.remove(key, &entry);
        if entry.state.is_resolved() {
            out.push(Action::Unlink { key });
        }
        out.extend(entry.queue.into_iter().map(|packet| Action::Unreachable { key, packet }));
    }

    fn take_out(&mut self, key: NeighborKey, reason: DropReason, out: &mut Vec<Action<Q>>) -> bool {
        let Some(entry) = self.entries.remove(&key) else { return false };
        self.orders.remove(key, &entry);
        if entry.state.is_resolved() {
            out.push(Action::Unlink { key });
        }
        out.extend(entry.queue.into_iter().map(|packet| Action::Drop { packet, reason }));
        true
    }

    fn insert(&mut self, key: NeighborKey, mut entry: Entry<Q>) {
        entry.order = self.take_order();
        self.orders.insert(key, &entry);
        self.entries.insert(key, entry);
    }

    fn change(&mut self, key: NeighborKey, change: impl FnOnce(&mut Entry<Q>)) {
        if let Some(entry) = self.entries.get_mut(&key) {
            self.orders.remove(key, entry);
            change(entry);
            self.orders.insert(key, entry);
        }
    }

    fn take_order(&mut self) -> u64 {
        self.next_order += 1;
        self.next_order
    }
}
