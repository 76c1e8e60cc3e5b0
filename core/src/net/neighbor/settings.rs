//! Times and bounds of neighbour resolution.

use std::time::Duration;

/// Times (RFC 4861 §10) and bounds. The defaults are what raddle runs with; tests take smaller ones.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Entries at most, over all interfaces.
    pub max_entries: usize,
    /// Entries being resolved at most, per interface: the oldest goes first.
    pub max_incomplete: usize,
    /// Packets that wait at most, per neighbour: the oldest goes first.
    pub max_queued: usize,
    /// Packets that wait at most, per interface.
    pub max_queued_interface: usize,
    /// Solicitations of an unknown neighbour (MAX_MULTICAST_SOLICIT), and of a known one (MAX_UNICAST_SOLICIT).
    pub solicitations: u32,
    /// Between solicitations (RETRANS_TIMER), in ns.
    pub retransmit_ns: u64,
    /// How long a confirmation holds (REACHABLE_TIME), in ns.
    pub reachable_ns: u64,
    /// From the use of a stale entry to its check (DELAY_FIRST_PROBE_TIME), in ns.
    pub delay_ns: u64,
    /// How long a stale entry stays without use, in ns.
    pub stale_ns: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_entries: 65_536,
            max_incomplete: 512,
            max_queued: 16,
            max_queued_interface: 1024,
            solicitations: 3,
            retransmit_ns: nanoseconds(Duration::from_secs(1)),
            reachable_ns: nanoseconds(Duration::from_secs(30)),
            delay_ns: nanoseconds(Duration::from_secs(5)),
            stale_ns: nanoseconds(Duration::from_secs(600)),
        }
    }
}

const fn nanoseconds(duration: Duration) -> u64 {
    duration.as_secs() * 1_000_000_000 + duration.subsec_nanos() as u64
}
