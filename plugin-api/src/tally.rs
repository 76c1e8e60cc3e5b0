//! Counters of interfaces that have no queues of their own.

use crate::abi::{Counted, NO_INTERFACE};
use crate::{InterfaceIndex, Worker};

/// Counts packets of interfaces that are kept by nodes, not by queues: sub-interfaces, tunnels. What comes in a row for
/// one interface is summed up and handed to the host at once; call [`Tally::flush`] at the end of each frame.
///
/// Since ABI 1.1.
#[derive(Debug)]
pub struct Tally {
    what: Counted,
    interface: InterfaceIndex,
    packets: u64,
    bytes: u64,
}

impl Tally {
    /// For packets that came in.
    pub const fn received() -> Self {
        Self::of(Counted::RECEIVED)
    }

    /// For packets that leave.
    pub const fn sent() -> Self {
        Self::of(Counted::SENT)
    }

    const fn of(what: Counted) -> Self {
        Self { what, interface: InterfaceIndex(NO_INTERFACE), packets: 0, bytes: 0 }
    }

    /// Counts one packet of `bytes` bytes.
    #[inline(always)]
    pub fn add(&mut self, worker: &Worker<'_>, interface: InterfaceIndex, bytes: usize) {
        self.add_many(worker, interface, 1, bytes as u64);
    }

    /// Counts `packets` packets of `bytes` bytes together.
    #[inline(always)]
    pub fn add_many(&mut self, worker: &Worker<'_>, interface: InterfaceIndex, packets: u64, bytes: u64) {
        if interface != self.interface {
            self.flush(worker);
            self.interface = interface;
        }
        self.packets += packets;
        self.bytes += bytes;
    }

    /// Hands over what was counted.
    #[inline]
    pub fn flush(&mut self, worker: &Worker<'_>) {
        if self.packets > 0 {
            worker.count(self.interface, self.what, self.packets, self.bytes);
            (self.packets, self.bytes) = (0, 0);
        }
    }
}
