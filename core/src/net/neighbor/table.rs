//! The neighbour table of both families as a state machine: events and time in, actions out (RFC 826, RFC 4861 §7.3).
//!
//! No clock, no I/O: whoever owns it carries out the actions, in order.

use std::collections::HashMap;

use raddle_plugin_api::InterfaceIndex;
use raddle_plugin_api::wire::MacAddress;

use super::action::{Action, DropReason, Heard};
use super::entry::{Entry, NeighborKey, NeighborState};
use super::order::{Orders, Worth};
use super::settings::Settings;
use crate::net::rate_limit::TokenBucket;

/// The table of neighbours; `Q` is a packet that waits.
#[derive(Debug)]
pub struct Table<Q> {
    max_entries: usize,
    defaults: Settings,
    interfaces: HashMap<InterfaceIndex, Settings>,
    /// For solicitations to everyone, by interface.
    buckets: HashMap<InterfaceIndex, TokenBucket>,
    entries: HashMap<NeighborKey, Entry<Q>>,
    orders: Orders,
    next_order: u64,
}

impl<Q> Table<Q> {
    /// An empty table of at most `max_entries` over all interfaces; `defaults` hold for those of which nothing else is said.
    pub fn new(max_entries: usize, defaults: Settings) -> Self {
        Self {
            max_entries,
            defaults,
            interfaces: HashMap::new(),
            buckets: HashMap::new(),
            entries: HashMap::new(),
            orders: Orders::default(),
            next_order: 0,
        }
    }

    /// Bounds the table from now on; what is in it is not touched.
    pub fn set_max_entries(&mut self, max_entries: usize) {
        self.max_entries = max_entries;
    }

    /// What holds on an interface from now on.
    pub fn set_settings(&mut self, interface: InterfaceIndex, settings: Settings) {
        self.interfaces.insert(interface, settings);
        self.buckets.remove(&interface);
    }

    /// Forgets what was set for an interface that is gone.
    pub fn forget_interface(&mut self, interface: InterfaceIndex) {
        self.interfaces.remove(&interface);
        self.buckets.remove(&interface);
    }

    /// What holds on an interface.
    pub fn settings(&self, interface: InterfaceIndex) -> Settings {
        self.interfaces.get(&interface).copied().unwrap_or(self.defaults)
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
                if let Err(reason) = self.ask_for(now_ns, key, out) {
                    out.push(Action::Drop { packet, reason });
                    return;
                }
            }
        }
        self.enqueue(key, packet, out);
    }

    /// Asks for a neighbour without a packet for it: its answer, or that there is none, is of interest by itself. Nothing
    /// happens if it is known, is asked for already, or may not be asked for now.
    pub fn resolve(&mut self, now_ns: u64, key: NeighborKey, out: &mut Vec<Action<Q>>) {
        if !self.entries.contains_key(&key) {
            // Who wants to know asks again.
            let _ = self.ask_for(now_ns, key, out);
        }
    }

    /// Word from a protocol above that packets to the neighbour arrive (RFC 4861 §7.3.1): it need not be asked.
    pub fn confirm(&mut self, now_ns: u64, key: NeighborKey, out: &mut Vec<Action<Q>>) {
        match self.entries.get(&key) {
            Some(Entry { state: NeighborState::Reachable, .. }) => {
                let until = now_ns.saturating_add(self.settings(key.interface).reachable_ns);
                self.change(key, |entry| (entry.deadline_ns, entry.since_ns) = (Some(until), now_ns));
            }
            Some(Entry {
                state: NeighborState::Stale | NeighborState::Delay | NeighborState::Probe,
                mac,
                ..
            }) => self.learn(now_ns, key, *mac, NeighborState::Reachable, out),
            _ => {}
        }
    }

    /// A packet went to a neighbour of whose use word was asked.
    pub fn used(&mut self, now_ns: u64, key: NeighborKey, out: &mut Vec<Action<Q>>) {
        let until = now_ns.saturating_add(self.settings(key.interface).delay_ns);
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
                if self.make_room(key.interface, Worth::Idle, out) {
                    let mut entry = Entry::new(NeighborState::Stale, mac, now_ns);
                    let stale_ns = self.settings(key.interface).stale_ns;
                    entry.deadline_ns = Some(now_ns.saturating_add(stale_ns));
                    self.insert(key, entry);
                    out.push(Action::Link { key, mac, watch: true });
                }
            }
            (Heard::Request { mac }, Some(entry)) => {
                if entry.state == NeighborState::Incomplete || entry.mac != mac {
                    self.learn(now_ns, key, mac, NeighborState::Stale, out);
                }
            }
            (Heard::Answer { .. }, None) => {}
            (Heard::Answer { mac, solicited, overrides, router }, Some(entry)) => {
                let (state, known) = (entry.state, entry.mac);
                let confirmed = if solicited { NeighborState::Reachable } else { NeighborState::Stale };
                match (state, mac) {
                    (NeighborState::Incomplete, None) => return,
                    (NeighborState::Incomplete, Some(mac)) => self.learn(now_ns, key, mac, confirmed, out),
                    // RFC 4861 §7.2.5: another address without the override flag only casts doubt.
                    (state, Some(mac)) if mac != known && !overrides => {
                        if state == NeighborState::Reachable {
                            self.learn(now_ns, key, known, NeighborState::Stale, out);
                        }
                        return;
                    }
                    (_, mac) => {
                        let mac = mac.unwrap_or(known);
                        if solicited || mac != known {
                            self.learn(now_ns, key, mac, confirmed, out);
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
            if !self.make_room(key.interface, Worth::Live, out) {
                return false;
            }
            self.insert(key, Entry::new(NeighborState::Static, mac, now_ns));
            out.push(Action::Link { key, mac, watch: false });
        } else {
            self.learn(now_ns, key, mac, NeighborState::Static, out);
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
        let Settings { solicitations, retransmit_ns, stale_ns, .. } = self.settings(key.interface);
        // An entry that the orders name is in the table.
        let Some(entry) = self.entries.get(&key) else { return };
        let asked = entry.solicitations;
        match entry.state {
            NeighborState::Incomplete | NeighborState::Probe if asked >= solicitations => {
                self.give_up(key, out);
            }
            NeighborState::Incomplete | NeighborState::Probe => {
                // One that may not be asked for now has had its turn all the same: a scan does not live longer for it.
                let mac = entry.mac();
                if mac.is_some() || self.may_ask_everyone(now_ns, key.interface) {
                    out.push(Action::Solicit { key, mac });
                }
                self.change(key, |entry| {
                    entry.solicitations += 1;
                    entry.deadline_ns = Some(now_ns.saturating_add(retransmit_ns));
                });
            }
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
    fn learn(
        &mut self,
        now_ns: u64,
        key: NeighborKey,
        mac: MacAddress,
        state: NeighborState,
        out: &mut Vec<Action<Q>>,
    ) {
        let Settings { reachable_ns, delay_ns, stale_ns, .. } = self.settings(key.interface);
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
            entry.proven |= entry.state == NeighborState::Reachable;
            out.push(Action::Link { key, mac, watch: entry.state == NeighborState::Stale });
            out.extend(entry.queue.drain(..).map(|packet| Action::Send { key, packet }));
        });
    }

    /// Begins to ask for a neighbour that is not in the table.
    fn ask_for(&mut self, now_ns: u64, key: NeighborKey, out: &mut Vec<Action<Q>>) -> Result<(), DropReason> {
        let Settings { max_incomplete, retransmit_ns, .. } = self.settings(key.interface);
        if !self.may_ask_everyone(now_ns, key.interface) {
            return Err(DropReason::RateLimited);
        }
        while self.orders.incomplete(key.interface) >= max_incomplete {
            match self.orders.oldest_incomplete(key.interface) {
                Some(oldest) => self.take_out(oldest, DropReason::TooMany, out),
                None => return Err(DropReason::TooMany),
            };
        }
        if !self.make_room(key.interface, Worth::Idle, out) {
            return Err(DropReason::TooMany);
        }
        let mut entry = Entry::new(NeighborState::Incomplete, MacAddress::ZERO, now_ns);
        entry.solicitations = 1;
        entry.deadline_ns = Some(now_ns.saturating_add(retransmit_ns));
        self.insert(key, entry);
        out.push(Action::Solicit { key, mac: None });
        Ok(())
    }

    fn may_ask_everyone(&mut self, now_ns: u64, interface: InterfaceIndex) -> bool {
        let rate = self.settings(interface).solicitations_per_second;
        let bucket = self.buckets.entry(interface);
        bucket.or_insert_with(|| TokenBucket::new(rate, rate.div_ceil(4))).take(now_ns)
    }

    fn enqueue(&mut self, key: NeighborKey, packet: Q, out: &mut Vec<Action<Q>>) {
        let Settings { max_queued, max_queued_interface, .. } = self.settings(key.interface);
        let crowded = self.orders.queued(key.interface) >= max_queued_interface;
        self.change(key, |entry| {
            entry.queue.push_back(packet);
            if entry.queue.len() > max_queued || crowded {
                let oldest = entry.queue.pop_front();
                out.extend(oldest.map(|packet| Action::Drop { packet, reason: DropReason::QueueFull }));
            }
        });
    }

    /// Room for one more neighbour of the interface, at the cost of those worth no more than `most`.
    fn make_room(&mut self, interface: InterfaceIndex, most: Worth, out: &mut Vec<Action<Q>>) -> bool {
        let max_here = self.settings(interface).max_entries;
        loop {
            let here = self.orders.entries(interface) >= max_here;
            if !here && self.entries.len() < self.max_entries {
                return true;
            }
            match self.orders.least(here.then_some(interface), most) {
                Some(key) => self.take_out(key, DropReason::TooMany, out),
                None => return false,
            };
        }
    }

    fn give_up(&mut self, key: NeighborKey, out: &mut Vec<Action<Q>>) {
        let Some(entry) = self.entries.remove(&key) else { return };
        self.orders.remove(key, &entry);
        if entry.state.is_resolved() {
            out.push(Action::Unlink { key });
        }
        out.push(Action::Failed { key });
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
