//! The keys of an `af-xdp` interface.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::filter::{MOST_RULES, Rule};

/// Entries of a ring, at most and at least.
const MAX_SLOTS: u32 = 32_768;
const MIN_SLOTS: u32 = 64;
/// Entries of a receive ring where there are buffers enough.
const DEFAULT_SLOTS: u32 = 1024;
/// Queues, at most.
pub const MAX_QUEUES: u32 = 256;
/// µs of busy polling, at most.
const MAX_BUSY_POLL_US: u32 = 1000;
/// A receive ring of so many entries has so many buffers in the kernel's hands: those of the fill ring.
const BUFFERS_PER_SLOT: u64 = 2;

/// How buffers are shared with the link's driver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Without a copy where the link's driver and the buffers' memory allow it.
    #[default]
    Auto,
    /// Without a copy, or not at all.
    ZeroCopy,
    /// The kernel copies frames into and out of the buffers.
    Copy,
}

/// Where the program sits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Attach {
    /// In the link's driver, else in the kernel.
    #[default]
    Auto,
    /// In the link's driver.
    Native,
    /// In the kernel, for any driver: slow, and for tests.
    Generic,
}

/// What holds the program on the link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AttachBy {
    /// This process, else the link itself.
    #[default]
    Auto,
    /// This process: the program goes with it, however it ends.
    Process,
    /// The link itself: what a crash leaves is replaced at the next start. For kernels before 5.9.
    Link,
}

/// Whether checksums are completed that a sender on this host has left to its device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FillChecksums {
    /// On virtual links (`veth`), where there are such.
    #[default]
    Auto,
    /// On this one.
    Always,
    /// On none.
    Never,
}

/// The keys of an `af-xdp` interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Options {
    /// Name of the host's interface.
    pub device: String,
    /// Queues, 1 to 256, from the device's first on; by default all that it has. Frames of other queues stay with the host.
    pub queues: Option<u32>,
    /// Frames that can wait in each queue's receive ring, a power of two, 64 to 32768; each takes two buffers. By default 1024,
    /// or as many as a quarter of all buffers allows.
    pub rx_slots: Option<u32>,
    /// Frames that can wait in each queue's transmit ring, a power of two, 64 to 32768.
    #[serde(default = "default_slots")]
    pub tx_slots: u32,
    /// How the buffers are shared with the link's driver.
    #[serde(default)]
    pub mode: Mode,
    /// Where the XDP program sits.
    #[serde(default)]
    pub attach: Attach,
    /// What holds the XDP program on the link.
    #[serde(default)]
    pub attach_by: AttachBy,
    /// Time in µs for which the kernel looks for frames in each call, up to 1000; 0: no busy polling.
    #[serde(default)]
    pub busy_poll_us: u32,
    /// Frames that the kernel takes in one call of busy polling, 1 to 1024.
    #[serde(default = "busy_poll_budget")]
    pub busy_poll_budget: u32,
    /// Traffic that stays with the host.
    #[serde(default)]
    pub leave_to_host: Vec<Rule>,
    /// Whether checksums are completed that a sender on this host has left to its device.
    #[serde(default)]
    pub fill_checksums: FillChecksums,
}

fn default_slots() -> u32 {
    DEFAULT_SLOTS
}

fn busy_poll_budget() -> u32 {
    64
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
    /// A ring has another number of entries than the kernel can count by.
    #[error("{key} = {value} is not a power of two, {below} and {above} are", below = below(*value), above = below(*value) * 2)]
    NoPowerOfTwo {
        /// The key.
        key: &'static str,
        /// Its value.
        value: u32,
    },
    /// The kernel would have too many of the buffers.
    #[error(
        "the receive rings would take {wanted} packet buffers, and half of all buffers is {most}: lower queues or rx-slots, or \
         raise buffers.count"
    )]
    Buffers {
        /// What they would take.
        wanted: u64,
        /// What they may.
        most: u64,
    },
    /// More rules than a program is made of.
    #[error("leave-to-host has {0} rules, at most {MOST_RULES} can be told apart")]
    Rules(usize),
}

fn below(value: u32) -> u32 {
    1 << value.ilog2()
}

impl Options {
    /// Checks what can be checked without a device.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), OptionsError> {
        let slots = self.rx_slots.map(|value| ("rx-slots", value, MIN_SLOTS, MAX_SLOTS));
        let queues = self.queues.map(|value| ("queues", value, 1, MAX_QUEUES));
        let ranges = [
            queues,
            slots,
            Some(("tx-slots", self.tx_slots, MIN_SLOTS, MAX_SLOTS)),
            Some(("busy-poll-us", self.busy_poll_us, 0, MAX_BUSY_POLL_US)),
            Some(("busy-poll-budget", self.busy_poll_budget, 1, 1024)),
        ];
        for (key, value, min, max) in ranges.into_iter().flatten() {
            if !(min..=max).contains(&value) {
                return Err(OptionsError::OutOfRange { key, value, min, max });
            }
        }
        for (key, value) in [("rx-slots", self.rx_slots.unwrap_or(MIN_SLOTS)), ("tx-slots", self.tx_slots)] {
            if !value.is_power_of_two() {
                return Err(OptionsError::NoPowerOfTwo { key, value });
            }
        }
        if self.leave_to_host.len() > MOST_RULES {
            return Err(OptionsError::Rules(self.leave_to_host.len()));
        }
        Ok(())
    }

    /// Entries of the receive ring of each of `queues` queues, of a host with `buffers` packet buffers.
    ///
    /// # Errors
    /// The kernel would have too many of them.
    pub fn rx_slots(&self, queues: u32, buffers: usize) -> Result<u32, OptionsError> {
        let buffers = buffers as u64;
        let taken = |slots: u32| u64::from(slots) * BUFFERS_PER_SLOT * u64::from(queues);
        let slots = self.rx_slots.unwrap_or_else(|| {
            let mut slots = DEFAULT_SLOTS;
            while slots > MIN_SLOTS && taken(slots) > buffers / 4 {
                slots /= 2;
            }
            slots
        });
        let (wanted, most) = (taken(slots), buffers / 2);
        if wanted > most {
            return Err(OptionsError::Buffers { wanted, most });
        }
        Ok(slots)
    }
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
        assert_eq!((options.queues, options.mode, options.attach), (None, Mode::Auto, Attach::Auto));
        assert_eq!(options.check(), Ok(()));
        assert_eq!(self::options("queues = 2").unwrap_err(), "missing field `device`");
    }

    #[test]
    fn what_is_wrong_with_a_number_is_said() {
        for (text, message) in [
            ("queues = 0", "queues = 0 is out of range, it can be 1 to 256"),
            ("rx-slots = 32", "rx-slots = 32 is out of range, it can be 64 to 32768"),
            ("rx-slots = 1000", "rx-slots = 1000 is not a power of two, 512 and 1024 are"),
            ("tx-slots = 65", "tx-slots = 65 is not a power of two, 64 and 128 are"),
            ("busy-poll-us = 1001", "busy-poll-us = 1001 is out of range, it can be 0 to 1000"),
            ("busy-poll-budget = 0", "busy-poll-budget = 0 is out of range, it can be 1 to 1024"),
        ] {
            let options = options(&format!("device = \"eth0\"\n{text}")).unwrap();
            assert_eq!(options.check().unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn rings_leave_half_of_the_buffers_to_others() {
        let plain = options("device = \"eth0\"").unwrap();
        for (queues, buffers, slots) in
            [(1, 16_384, 1024), (4, 16_384, 512), (16, 16_384, 128), (1, 1024, 128)]
        {
            assert_eq!(plain.rx_slots(queues, buffers), Ok(slots), "{queues} of {buffers}");
        }
        let error = plain.rx_slots(256, 16_384).unwrap_err().to_string();
        assert!(error.starts_with("the receive rings would take 32768 packet buffers"), "{error}");
        let large = options("device = \"eth0\"\nrx-slots = 4096").unwrap();
        assert_eq!((large.rx_slots(1, 16_384), large.rx_slots(2, 16_384).is_err()), (Ok(4096), true));
    }

    #[test]
    fn rules_are_bounded_and_checked() {
        let many = vec!["\"arp\""; MOST_RULES + 1].join(",");
        let options = options(&format!("device = \"e\"\nleave-to-host = [{many}]")).unwrap();
        assert_eq!(options.check(), Err(OptionsError::Rules(MOST_RULES + 1)));
        let error = self::options("device = \"e\"\nleave-to-host = [\"ssh\"]").unwrap_err();
        assert!(error.contains("\"ssh\" names no traffic"), "{error}");
    }
}
