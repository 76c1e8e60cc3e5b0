//! One neighbour: what is known of it and since when.

use std::collections::VecDeque;
use std::net::IpAddr;

use raddle_plugin_api::InterfaceIndex;
use raddle_plugin_api::wire::MacAddress;
use serde::Serialize;

/// Which neighbour: an address on an interface's link.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct NeighborKey {
    /// The interface.
    pub interface: InterfaceIndex,
    /// The neighbour's address on that link.
    pub address: IpAddr,
}

/// How sure we are of a neighbour's MAC address (RFC 4861 §7.3.2, for both families).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NeighborState {
    /// It was asked for and is not known yet.
    Incomplete,
    /// It was confirmed lately: within 30 seconds, unless configured otherwise.
    Reachable,
    /// It was known once; it is used as it is, and checked when it is used.
    Stale,
    /// A stale one is in use: it is about to be checked.
    Delay,
    /// It is being checked.
    Probe,
    /// The operator set it.
    Static,
}

impl NeighborState {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Incomplete, Self::Reachable, Self::Stale, Self::Delay, Self::Probe, Self::Static];

    /// The state in one word, as commands show it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Incomplete => "incomplete",
            Self::Reachable => "reachable",
            Self::Stale => "stale",
            Self::Delay => "delay",
            Self::Probe => "probe",
            Self::Static => "static",
        }
    }

    /// Whether packets can be sent.
    pub const fn is_resolved(self) -> bool {
        !matches!(self, Self::Incomplete)
    }
}

/// What is known of a neighbour; `Q` is a packet that waits for it.
#[derive(Debug)]
pub struct Entry<Q> {
    pub(super) state: NeighborState,
    pub(super) mac: MacAddress,
    pub(super) router: bool,
    /// It was confirmed once.
    pub(super) proven: bool,
    pub(super) since_ns: u64,
    pub(super) deadline_ns: Option<u64>,
    pub(super) solicitations: u32,
    pub(super) order: u64,
    pub(super) queue: VecDeque<Q>,
}

impl<Q> Entry<Q> {
    pub(super) fn new(state: NeighborState, mac: MacAddress, now_ns: u64) -> Self {
        Self {
            state,
            mac,
            router: false,
            proven: false,
            since_ns: now_ns,
            deadline_ns: None,
            solicitations: 0,
            order: 0,
            queue: VecDeque::new(),
        }
    }

    /// Its state.
    pub fn state(&self) -> NeighborState {
        self.state
    }

    /// Its MAC address, if it is known.
    pub fn mac(&self) -> Option<MacAddress> {
        self.state.is_resolved().then_some(self.mac)
    }

    /// Whether it says that it is a router (IPv6).
    pub fn is_router(&self) -> bool {
        self.router
    }

    /// When it was last confirmed, or first asked for, in ns of the monotonic clock.
    pub fn since_ns(&self) -> u64 {
        self.since_ns
    }

    /// Packets that wait for it.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }
}
