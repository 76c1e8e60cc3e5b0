//! Times and bounds of neighbour resolution.

use std::time::Duration;

/// Times (RFC 4861 §10) and bounds on one interface. The defaults are those of the configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Entries at most.
    pub max_entries: usize,
    /// Entries being resolved at most: the oldest goes first.
    pub max_incomplete: usize,
    /// Packets that wait at most, per neighbour: the oldest goes first.
    pub max_queued: usize,
    /// Packets that wait at most, over all neighbours.
    pub max_queued_interface: usize,
    /// Solicitations a second to everyone on the link. A quarter of them may go at once.
    pub solicitations_per_second: u32,
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
            max_entries: 32_768,
            max_incomplete: 512,
            max_queued: 16,
            max_queued_interface: 1024,
            solicitations_per_second: 1000,
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
