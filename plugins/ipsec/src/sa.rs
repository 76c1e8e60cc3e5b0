//! Security associations (RFC 4301 §4): what packets of one have in common, and what changes with each packet.
//!
//! Nothing here knows of clocks or threads: time comes in, and what many workers change is atomic.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::algorithm::Suite;
use crate::engine::{ESP_BYTES, PreparedKeys};
use crate::replay::ReplayWindow;

/// What is wrapped (RFC 4301 §4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Whole packets, in new ones.
    #[default]
    Tunnel,
    /// What is behind the IP header.
    Transport,
}

/// The ports of UDP encapsulation (RFC 3948).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct UdpPorts {
    /// The source port of what is sent, where it goes to of what is received.
    pub local: u16,
    /// The peer's.
    pub remote: u16,
}

/// What becomes of the "don't fragment" bit of IPv4 (RFC 4301 §8.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DontFragment {
    /// The outer packet has what the inner one has.
    #[default]
    Copy,
    /// The outer packet has it.
    Set,
    /// The outer packet has it not.
    Clear,
}

/// What the outer header's DSCP is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dscp {
    /// That of the inner one.
    #[default]
    Copy,
    /// This.
    Value(u8),
}

/// What an SA is, for as long as it lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Description {
    /// Its name.
    pub name: String,
    /// Its number in packets.
    pub spi: u32,
    /// Its algorithms.
    pub suite: Suite,
    /// What is wrapped.
    pub mode: Mode,
    /// Where its packets are sent from, or to where they come.
    pub local: IpAddr,
    /// The peer.
    pub remote: IpAddr,
    /// UDP encapsulation.
    pub udp: Option<UdpPorts>,
    /// Whether sequence numbers have 64 bits (RFC 4304).
    pub esn: bool,
}

impl Description {
    /// Bytes of the headers in front of the payload: IP of tunnels, UDP, ESP and IV.
    #[inline(always)]
    pub fn front_bytes(&self) -> usize {
        let ip = match (self.mode, self.local) {
            (Mode::Transport, _) => 0,
            (Mode::Tunnel, IpAddr::V4(_)) => 20,
            (Mode::Tunnel, IpAddr::V6(_)) => 40,
        };
        let udp = if self.udp.is_some() { 8 } else { 0 };
        ip + udp + ESP_BYTES + self.suite.encryption.iv_bytes()
    }

    /// The largest packet to be wrapped of which the ESP packet has at most `most` bytes.
    pub fn payload_within(&self, most: usize) -> usize {
        let block = self.suite.encryption.block_bytes();
        // In transport mode the IP header stays in front.
        let kept = match (self.mode, self.local) {
            (Mode::Tunnel, _) => 0,
            (Mode::Transport, IpAddr::V4(_)) => 20,
            (Mode::Transport, IpAddr::V6(_)) => 40,
        };
        let room = most.saturating_sub(kept + self.front_bytes() + self.suite.icv_bytes());
        (room / block * block).saturating_sub(2) + kept
    }
}

/// Bounds of an SA's life. Soft ones are told of; at hard ones it ends (RFC 4301 §4.4.2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Lifetime {
    /// Bytes of payload after which an event says that the SA should be replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soft_bytes: Option<u64>,
    /// Bytes of payload after which it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hard_bytes: Option<u64>,
    /// Packets after which an event says that the SA should be replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soft_packets: Option<u64>,
    /// Packets after which it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hard_packets: Option<u64>,
    /// Seconds after which an event says that the SA should be replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soft_seconds: Option<u64>,
    /// Seconds after which it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hard_seconds: Option<u64>,
}

/// What an SA has seen: written by all workers.
#[derive(Debug, Default)]
pub struct Usage {
    /// Packets sent, or taken as authentic.
    pub packets: AtomicU64,
    /// Bytes of their payloads.
    pub bytes: AtomicU64,
    /// Monotonic time of the last one, in ns.
    pub last_ns: AtomicU64,
    /// Whether a hard bound was met: nothing goes by the SA any more.
    pub ended: AtomicBool,
}

/// Why an SA sends nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// A hard bound was met.
    Ended,
    /// The sequence numbers are used up (RFC 4303 §3.3.3).
    Cycled,
    /// The next numbers have not been noted yet as used.
    NotNoted,
}

/// An SA that sends.
pub struct Outbound {
    /// What it is.
    pub description: Description,
    /// Its keys.
    pub keys: PreparedKeys,
    /// The outer header's DSCP.
    pub dscp: Dscp,
    /// Whether the outer header has the inner one's ECN (RFC 6040 §4.1, normal mode) or none (compatibility mode).
    pub copies_ecn: bool,
    /// The outer header's "don't fragment".
    pub dont_fragment: DontFragment,
    /// Payloads are padded to this length at least, in bytes (RFC 4303 §2.7); 0: not.
    pub pad_to: usize,
    /// Its bounds.
    pub lifetime: Lifetime,
    /// What it has sent.
    pub usage: Usage,
    /// The next sequence number.
    next: AtomicU64,
    /// The first sequence number that must not be used yet, as nobody has noted that it might have been.
    noted: AtomicU64,
}

/// Sequence numbers that a worker may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first.
    pub first: u64,
    /// How many.
    pub count: u64,
}

impl Outbound {
    /// An SA whose first packet has the sequence number `first`, 1 or more; `noted` is as [`Self::note`] says.
    #[allow(clippy::too_many_arguments, reason = "what an SA is made of")]
    pub fn new(
        description: Description,
        keys: PreparedKeys,
        (dscp, copies_ecn, dont_fragment): (Dscp, bool, DontFragment),
        pad_to: usize,
        lifetime: Lifetime,
        first: u64,
        noted: u64,
    ) -> Self {
        Self {
            description,
            keys,
            dscp,
            copies_ecn,
            dont_fragment,
            pad_to,
            lifetime,
            usage: Usage::default(),
            next: AtomicU64::new(first.max(1)),
            noted: AtomicU64::new(noted),
        }
    }

    /// The last sequence number that the SA has (RFC 4303 §3.3.3).
    pub fn last(&self) -> u64 {
        if self.description.esn { u64::MAX - 1 } else { u64::from(u32::MAX) }
    }

    /// The next sequence number that will be used.
    pub fn next(&self) -> u64 {
        self.next.load(Ordering::Acquire)
    }

    /// The first sequence number that must not be used yet.
    pub fn noted(&self) -> u64 {
        self.noted.load(Ordering::Acquire)
    }

    /// Sequence numbers below `noted` may be used from now on: it is on disk that they may have been.
    pub fn note(&self, noted: u64) {
        self.noted.fetch_max(noted, Ordering::AcqRel);
    }

    /// Has nobody get a sequence number any more; returns the first that nobody got.
    pub fn stop(&self) -> u64 {
        self.usage.ended.store(true, Ordering::Relaxed);
        self.next.swap(u64::MAX, Ordering::AcqRel)
    }

    /// Up to `wanted` sequence numbers, which are this caller's alone.
    ///
    /// # Errors
    /// There is none to be had.
    #[inline]
    pub fn take(&self, wanted: u64) -> Result<Run, Stopped> {
        if self.usage.ended.load(Ordering::Relaxed) {
            return Err(Stopped::Ended);
        }
        let (last, noted) = (self.last(), self.noted.load(Ordering::Acquire));
        let end = last.saturating_add(1).min(noted);
        let mut next = self.next.load(Ordering::Relaxed);
        loop {
            let count = wanted.min(end.saturating_sub(next));
            if count == 0 {
                return Err(if next > last { Stopped::Cycled } else { Stopped::NotNoted });
            }
            match self.next.compare_exchange_weak(next, next + count, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(first) => return Ok(Run { first, count }),
                Err(other) => next = other,
            }
        }
    }
}

/// An SA that receives.
pub struct Inbound {
    /// What it is.
    pub description: Description,
    /// Its keys.
    pub keys: PreparedKeys,
    /// Which packets came before; `None`: that is not looked at.
    pub replay: Option<ReplayWindow>,
    /// Whether the inner header takes up what happened to the outer one's ECN (RFC 6040 §4.2).
    pub follows_ecn: bool,
    /// Its bounds.
    pub lifetime: Lifetime,
    /// What it has taken.
    pub usage: Usage,
}

/// What a bound was, for the event that tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bound {
    /// Bytes of payload.
    Bytes,
    /// Packets.
    Packets,
    /// Seconds.
    Seconds,
}

impl Lifetime {
    /// The soft and the hard bound that was met after so much.
    pub fn met(&self, usage: &Usage, age_seconds: u64) -> (Option<Bound>, Option<Bound>) {
        let (bytes, packets) = (usage.bytes.load(Ordering::Relaxed), usage.packets.load(Ordering::Relaxed));
        let first = |bounds: [Option<u64>; 3]| {
            let reached = [bytes, packets, age_seconds];
            let kinds = [Bound::Bytes, Bound::Packets, Bound::Seconds];
            (0..3).find(|&n| bounds[n].is_some_and(|bound| reached[n] >= bound)).map(|n| kinds[n])
        };
        (
            first([self.soft_bytes, self.soft_packets, self.soft_seconds]),
            first([self.hard_bytes, self.hard_packets, self.hard_seconds]),
        )
    }
}

impl Usage {
    /// Counts packets that went by; ends the SA at its hard bounds. `false`: it has ended, and they must not go.
    #[inline]
    pub fn count(&self, packets: u64, bytes: u64, now_ns: u64, lifetime: &Lifetime) -> bool {
        let before = self.packets.fetch_add(packets, Ordering::Relaxed);
        let before_bytes = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.last_ns.store(now_ns, Ordering::Relaxed);
        let over = |bound: Option<u64>, reached: u64| bound.is_some_and(|bound| reached >= bound);
        if over(lifetime.hard_packets, before) || over(lifetime.hard_bytes, before_bytes) {
            self.ended.store(true, Ordering::Relaxed);
            return false;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algorithm::{Encryption, Suite};
    use crate::engine::{AwsLc, Engine as _};
    use crate::key::{Keys, Secret};

    fn sa(esn: bool, first: u64, noted: u64) -> Outbound {
        let suite = Suite::new(Encryption::AesGcm128, None).unwrap();
        let keys = Keys::new(suite, &Secret::new(vec![1; 20]), &Secret::new(vec![])).unwrap();
        let description = Description {
            name: "sa".into(),
            spi: 256,
            suite,
            mode: Mode::Tunnel,
            local: "192.0.2.1".parse().unwrap(),
            remote: "192.0.2.2".parse().unwrap(),
            udp: None,
            esn,
        };
        let keys = AwsLc.prepare(suite, &keys).unwrap();
        Outbound::new(
            description,
            keys,
            (Dscp::Copy, true, DontFragment::Copy),
            0,
            Lifetime::default(),
            first,
            noted,
        )
    }

    // RFC 4303 §3.3.3: a sequence number never cycles.
    #[test]
    fn sequence_numbers_end() {
        let last = u64::from(u32::MAX);
        let sa = sa(false, last - 2, u64::MAX);
        assert_eq!(sa.take(2), Ok(Run { first: last - 2, count: 2 }));
        assert_eq!(sa.take(5), Ok(Run { first: last, count: 1 }));
        assert_eq!(sa.take(1), Err(Stopped::Cycled));
    }

    #[test]
    fn numbers_are_used_only_once_they_are_noted() {
        let sa = sa(true, 1, 4);
        assert_eq!(sa.take(10), Ok(Run { first: 1, count: 3 }));
        assert_eq!(sa.take(1), Err(Stopped::NotNoted));
        sa.note(6);
        assert_eq!(sa.take(10), Ok(Run { first: 4, count: 2 }));
    }

    #[test]
    fn no_number_is_given_to_two_workers() {
        let sa = sa(true, 1, u64::MAX);
        let mut runs: Vec<Run> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..1000).map(|n| sa.take(n % 7 + 1).unwrap()).collect::<Vec<_>>()))
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        runs.sort_by_key(|run| run.first);
        let mut next = 1;
        for run in runs {
            assert_eq!(run.first, next);
            next += run.count;
        }
    }

    #[test]
    fn bounds_are_met_softly_and_then_hard() {
        let lifetime = Lifetime {
            soft_packets: Some(2),
            hard_packets: Some(3),
            soft_seconds: Some(9),
            ..Lifetime::default()
        };
        let usage = Usage::default();
        assert_eq!(lifetime.met(&usage, 0), (None, None));
        assert!(usage.count(2, 100, 5, &lifetime));
        assert_eq!(lifetime.met(&usage, 0), (Some(Bound::Packets), None));
        assert!(usage.count(1, 100, 5, &lifetime));
        assert!(!usage.count(1, 100, 5, &lifetime));
        assert!(usage.ended.load(Ordering::Relaxed));
        assert_eq!(lifetime.met(&usage, 9).1, Some(Bound::Packets));
        assert_eq!(
            Lifetime { soft_seconds: Some(9), ..Lifetime::default() }.met(&usage, 9).0,
            Some(Bound::Seconds)
        );
    }

    #[test]
    fn the_largest_payload_fits_and_one_byte_more_does_not() {
        for suite in Suite::all() {
            let mut description = sa(false, 1, 2).description;
            description.suite = suite;
            let block = suite.encryption.block_bytes();
            let length = |payload: usize| {
                description.front_bytes() + (payload + 2).next_multiple_of(block) + suite.icv_bytes()
            };
            for most in 120..200 {
                let payload = description.payload_within(most);
                assert!(length(payload) <= most && length(payload + 1) > most, "{suite} {most}");
            }
        }
    }
}
