//! What the queues of a device met, for `show interface … verbose`.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

/// A counter that several threads add to, away from the packet's usual way.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds `amount`.
    #[inline]
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// The sum so far.
    pub fn sum(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Serialize for Count {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.sum())
    }
}

/// Counters of a device that receives and sends frames with a virtio-net header.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct QueueCounts {
    /// Frames that were lost in the kernel for want of room in a queue.
    pub rx_overruns: Count,
    /// Frames whose headers contradict them.
    pub rx_malformed: Count,
    /// Frames that were not whole.
    pub rx_truncated: Count,
    /// Packets whose offloads contradict them.
    pub tx_malformed: Count,
    /// Packets that found no room in the ring.
    pub tx_ring_full: Count,
    /// Packets that the host did not take.
    pub tx_refused: Count,
}
