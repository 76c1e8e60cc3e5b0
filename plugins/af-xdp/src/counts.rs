//! What the queues of a device met, for `show af-xdp`.

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

/// Counters of a device.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Counts {
    /// Frames of which the kernel named a piece that it did not have.
    pub rx_malformed: Count,
    /// Frames that were too short for an Ethernet header, or had too many pieces.
    pub rx_unusable: Count,
    /// Checksums that a sender on this host had left to its device.
    pub rx_checksums_left: Count,
    /// Packets that found no room in the ring.
    pub tx_ring_full: Count,
    /// Packets that are too large for a frame, or for which there was no buffer.
    pub tx_unusable: Count,
    /// Packets that were copied, since they shared buffers or had too many.
    pub tx_copied: Count,
    /// Times that an index of the kernel's in a ring was impossible.
    pub broken_rings: Count,
}
