//! What first fragments have said, for the others, where frames are switched and nothing is put together.
//!
//! Fragments that come before their first one are judged by what they carry. What would overwrite a transport header that
//! was judged is dropped by the node, so that no more need be kept of a datagram.

use raddle_plugin_api::L4Ports;
use raddle_plugin_api::table::HashSeed;

/// Datagrams that are remembered.
const SLOTS: usize = 4096;
/// For how long, in ns (RFC 791 §3.2, RFC 8200 §4.5 say 15 s to 60 s).
const LIFE_NS: u64 = 30_000_000_000;

#[derive(Clone, Copy)]
struct Slot {
    /// A hash of the key by another seed than the one that chooses the slot.
    tag: u64,
    until_ns: u64,
    ports: L4Ports,
}

/// What first fragments have said, on one thread.
pub struct FragmentMemory {
    seeds: [HashSeed; 2],
    slots: Box<[Option<Slot>]>,
}

/// By what the fragments of a datagram are known: source, destination, identification and protocol, interface and direction.
pub type DatagramKey = [u64; 6];

impl FragmentMemory {
    /// Nothing yet.
    pub fn new() -> Self {
        Self { seeds: [HashSeed::random(), HashSeed::random()], slots: vec![None; SLOTS].into() }
    }

    fn place(&self, key: &DatagramKey) -> (usize, u64) {
        (self.seeds[0].hash(*key) as usize % SLOTS, self.seeds[1].hash(*key))
    }

    /// Remembers what a first fragment says; what was in its place is forgotten.
    pub fn note(&mut self, key: &DatagramKey, ports: L4Ports, now_ns: u64) {
        let (slot, tag) = self.place(key);
        self.slots[slot] = Some(Slot { tag, until_ns: now_ns + LIFE_NS, ports });
    }

    /// What the first fragment has said.
    pub fn find(&self, key: &DatagramKey, now_ns: u64) -> Option<L4Ports> {
        let (slot, tag) = self.place(key);
        let slot = self.slots[slot].as_ref()?;
        (slot.tag == tag && now_ns < slot.until_ns).then(|| slot.ports.of_later())
    }
}

#[cfg(test)]
mod tests {
    use raddle_plugin_api::wire::IpProtocol;

    use super::*;

    #[test]
    fn a_datagram_is_remembered_for_a_while() {
        let mut memory = FragmentMemory::new();
        let ports = L4Ports::of_first(IpProtocol::UDP, &[0, 1, 0, 2, 0, 8, 0, 0]);
        memory.note(&[1, 2, 3, 4, 5, 6], ports, 100);
        assert_eq!(memory.find(&[1, 2, 3, 4, 5, 6], 200), Some(ports.of_later()));
        assert_eq!(memory.find(&[1, 2, 3, 4, 5, 7], 200), None);
        assert_eq!(memory.find(&[1, 2, 3, 4, 5, 6], 100 + LIFE_NS), None);
    }
}
