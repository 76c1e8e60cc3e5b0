//! SYNs from outside that nobody asked for: they wait for a SYN from inside, which makes the two a simultaneous open, and are
//! answered if none comes (RFC 6146 §3.5.2.2, RFC 5382 REQ-4).

use std::collections::{HashMap, VecDeque};

use raddle_plugin_api::HeldPacket;

use crate::state::{Flow4, Ticks};

/// SYNs that a thread keeps at a time.
const MOST: usize = 256;

type Key = (u32, u16, u32, u16);

/// SYNs that wait.
#[derive(Default)]
pub struct HeldSyns {
    packets: HashMap<Key, (Ticks, HeldPacket)>,
    order: VecDeque<(Ticks, Key)>,
}

fn key(flow: &Flow4) -> Key {
    (flow.outside.to_bits(), flow.outside_port, flow.remote.to_bits(), flow.remote_port)
}

impl HeldSyns {
    /// Whether one more may wait of this flow.
    pub fn has_room(&self, flow: &Flow4) -> bool {
        self.order.len() < MOST && !self.packets.contains_key(&key(flow))
    }

    /// Keeps a SYN until a time.
    pub fn keep(&mut self, flow: &Flow4, until: Ticks, packet: HeldPacket) {
        self.order.push_back((until, key(flow)));
        self.packets.insert(key(flow), (until, packet));
    }

    /// The SYN of a flow, if one waits.
    pub fn take(&mut self, flow: &Flow4) -> Option<HeldPacket> {
        if self.packets.is_empty() {
            return None;
        }
        self.packets.remove(&key(flow)).map(|(_, packet)| packet)
    }

    /// A SYN that has waited long enough, one a call.
    pub fn expire(&mut self, now: Ticks) -> Option<HeldPacket> {
        while let Some(&(until, key)) = self.order.front() {
            if until > now {
                return None;
            }
            self.order.pop_front();
            if self.packets.get(&key).is_some_and(|(held, _)| *held == until) {
                return self.packets.remove(&key).map(|(_, packet)| packet);
            }
        }
        None
    }

    /// When [`Self::expire`] is worth a call.
    pub fn next_expiry(&self) -> Option<Ticks> {
        self.order.front().map(|&(until, _)| until)
    }
}
