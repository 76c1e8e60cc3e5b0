//! The keys of an `af-packet` interface, and what its rings are from them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ring::Geometry;
use super::slot::{RX_OVERHEAD_BYTES, TX_OVERHEAD_BYTES};

/// Slots of a ring, at most.
const MAX_SLOTS: u32 = 65_536;
/// Slots of a ring, at least: a burst of one frame of the graph and some more.
const MIN_SLOTS: u32 = 64;
/// Receive queues, at most.
const MAX_QUEUES: u32 = 64;
/// Memory of all rings of a device, at most, in bytes.
const MAX_RING_BYTES: u64 = 1 << 30;
/// Room of a slot for a frame, at least and at most, in bytes. Larger frames do not need the ring.
const FRAME_ROOM: std::ops::RangeInclusive<u32> = 2048..=9216;
/// An Ethernet header with two tags.
const ETHERNET_BYTES: u32 = 14 + 2 * 4;

/// How the kernel spreads frames over the receive queues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Fanout {
    /// By flow: packets of a flow stay in order.
    #[default]
    Hash,
    /// By the CPU on which they came in: the device's own queues, as the host spread them.
    Cpu,
}

/// The keys of an `af-packet` interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Options {
    /// Name of the host's interface.
    pub device: String,
    /// Receive queues, 1 to 64.
    #[serde(default = "one")]
    pub queues: u32,
    /// How frames are spread over the receive queues.
    #[serde(default)]
    pub fanout: Fanout,
    /// Slots of each receive queue's ring, 64 to 65536, about 2 KiB each; rounded up to whole blocks of 64 KiB.
    #[serde(default = "rx_slots")]
    pub rx_slots: u32,
    /// Slots of each thread's transmit ring, 64 to 65536, about 2 KiB each; rounded up to whole blocks of 64 KiB.
    #[serde(default = "tx_slots")]
    pub tx_slots: u32,
    /// Whether frames go to the host's device past its queueing discipline: a little faster, and frames that the
    /// device has no room for are lost instead of queued.
    #[serde(default)]
    pub qdisc_bypass: bool,
}

fn one() -> u32 {
    1
}

fn rx_slots() -> u32 {
    1024
}

fn tx_slots() -> u32 {
    512
}

/// Why the keys cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// A number is out of its range.
    #[error("{key} = {value} is out of range, it can be {min} to {max}")]
    OutOfRange {
        /// The key.
        key: &'static str,
        /// Its value.
        value: u32,
        /// The least that it can be.
        min: u32,
        /// The most that it can be.
        max: u32,
    },
    /// The rings take too much memory.
    #[error(
        "the rings would take {bytes} bytes, at most {MAX_RING_BYTES} are allowed: lower queues, rx-slots or tx-slots"
    )]
    TooLarge {
        /// What they would take.
        bytes: u64,
    },
}

impl Options {
    /// Checks the keys for a device that is sent to by `threads` threads.
    ///
    /// # Errors
    /// A number is out of its range, or the rings would be too large.
    pub fn check(&self, threads: u32) -> Result<(), OptionsError> {
        for (key, value, min, max) in [
            ("queues", self.queues, 1, MAX_QUEUES),
            ("rx-slots", self.rx_slots, MIN_SLOTS, MAX_SLOTS),
            ("tx-slots", self.tx_slots, MIN_SLOTS, MAX_SLOTS),
        ] {
            if !(min..=max).contains(&value) {
                return Err(OptionsError::OutOfRange { key, value, min, max });
            }
        }
        let bytes = self.rx_geometry(*FRAME_ROOM.start()).bytes() as u64 * u64::from(self.queues)
            + self.tx_geometry(*FRAME_ROOM.start()).bytes() as u64 * u64::from(threads);
        if bytes > MAX_RING_BYTES {
            return Err(OptionsError::TooLarge { bytes });
        }
        Ok(())
    }

    /// The ring of a receive queue on a link with this MTU.
    pub fn rx_geometry(&self, mtu: u32) -> Geometry {
        Geometry::new(frame_room(mtu) + RX_OVERHEAD_BYTES as u32, self.rx_slots)
    }

    /// The ring of a thread that sends to a link with this MTU.
    pub fn tx_geometry(&self, mtu: u32) -> Geometry {
        Geometry::new(frame_room(mtu) + TX_OVERHEAD_BYTES as u32, self.tx_slots)
    }
}

fn frame_room(mtu: u32) -> u32 {
    mtu.saturating_add(ETHERNET_BYTES).clamp(*FRAME_ROOM.start(), *FRAME_ROOM.end())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str) -> Result<Options, String> {
        toml::from_str(text).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn device_alone_is_enough() {
        let options = options("device = \"eth0\"").unwrap();
        assert_eq!((options.queues, options.fanout, options.qdisc_bypass), (1, Fanout::Hash, false));
        assert_eq!(options.check(3), Ok(()));
    }

    #[test]
    fn device_is_needed() {
        assert_eq!(options("queues = 2").unwrap_err(), "missing field `device`");
    }

    #[test]
    fn numbers_out_of_range_are_named() {
        for (text, message) in [
            ("queues = 0", "queues = 0 is out of range, it can be 1 to 64"),
            ("queues = 65", "queues = 65 is out of range, it can be 1 to 64"),
            ("rx-slots = 63", "rx-slots = 63 is out of range, it can be 64 to 65536"),
            ("tx-slots = 65537", "tx-slots = 65537 is out of range, it can be 64 to 65536"),
        ] {
            let options = options(&format!("device = \"eth0\"\n{text}")).unwrap();
            assert_eq!(options.check(1).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn memory_of_the_rings_is_bounded() {
        let options = options("device = \"eth0\"\nqueues = 64\nrx-slots = 65536").unwrap();
        assert!(matches!(options.check(1), Err(OptionsError::TooLarge { bytes }) if bytes > MAX_RING_BYTES));
    }

    #[test]
    fn slots_hold_a_frame_of_the_mtu_up_to_jumbo() {
        let options = options("device = \"eth0\"").unwrap();
        for mtu in [68, 1500, 2000, 9000] {
            assert!(options.rx_geometry(mtu).slot_bytes() as usize >= mtu as usize + 22 + RX_OVERHEAD_BYTES);
        }
        assert!(options.rx_geometry(65_535).slot_bytes() < 10_000);
    }
}
