//! What came of a run: who got which packets, and which were dropped why.

use super::Sample;
use crate::{Errors, Next};

/// Names a node: one of a node's nexts, or the name itself.
pub trait Target {
    /// The node's name.
    fn node_name(&self) -> &str;
}

impl<N: Next> Target for N {
    fn node_name(&self) -> &str {
        // SAFETY: the names of `next!` are literals.
        N::NAMES.get(self.slot()).and_then(|name| unsafe { name.as_str() }).unwrap_or("")
    }
}

impl Target for &str {
    fn node_name(&self) -> &str {
        self
    }
}

/// Names a reason of drops: one of a node's errors, or the name itself.
pub trait Reason {
    /// The reason's name.
    fn reason_name(&self) -> &str;
}

impl<E: Errors> Reason for E {
    fn reason_name(&self) -> &str {
        // SAFETY: the names of `error!` are literals.
        E::NAMES.get(self.slot()).and_then(|name| unsafe { name.as_str() }).unwrap_or("")
    }
}

impl Reason for &str {
    fn reason_name(&self) -> &str {
        self
    }
}

/// A packet that left the nodes under test.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The node that it went to.
    pub node: String,
    /// The node that it came from.
    pub from: String,
    /// The thread on which it was to go on.
    pub thread: usize,
    /// The packet, as the sender left it.
    pub packet: Sample,
}

/// A packet that was dropped.
#[derive(Clone, Debug)]
pub struct Dropped {
    /// The node that dropped it; empty if it gave no reason.
    pub node: String,
    /// Name of the reason.
    pub reason: String,
    /// The packet, as the node left it.
    pub packet: Sample,
}

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub struct Run {
    pub(super) sent: Vec<Sent>,
    pub(super) dropped: Vec<Dropped>,
    pub(super) lost: usize,
}

impl Run {
    /// All packets that left the nodes under test, in order.
    pub fn sent(&self) -> &[Sent] {
        &self.sent
    }

    /// The packets that went to a node, in order.
    pub fn to(&self, target: impl Target) -> Vec<&Sample> {
        let name = target.node_name();
        self.sent.iter().filter(|sent| sent.node == name).map(|sent| &sent.packet).collect()
    }

    /// All packets that were dropped, in order.
    pub fn drops(&self) -> &[Dropped] {
        &self.dropped
    }

    /// How many packets were dropped for this reason.
    pub fn dropped(&self, reason: impl Reason) -> usize {
        let name = reason.reason_name();
        self.dropped.iter().filter(|dropped| dropped.reason == name).count()
    }

    /// Packets that were in the frame of a node when it panicked.
    pub fn lost(&self) -> usize {
        self.lost
    }

    /// The only packet that came out, wherever it went.
    ///
    /// # Panics
    /// There is another number of them, or some were dropped.
    #[track_caller]
    pub fn one(&self) -> &Sent {
        assert!(self.sent.len() == 1 && self.dropped.is_empty(), "one packet, and not: {}", self.summary());
        &self.sent[0]
    }

    /// Asserts that all packets went to this node, and that there are some.
    ///
    /// # Panics
    /// Not so.
    #[track_caller]
    pub fn assert_all(&self, target: impl Target) {
        let name = target.node_name();
        let all = self.sent.iter().all(|sent| sent.node == name);
        assert!(
            all && !self.sent.is_empty() && self.dropped.is_empty(),
            "all to {name}, and not: {}",
            self.summary()
        );
    }

    /// Asserts that all packets were dropped for this reason, and that there are some.
    ///
    /// # Panics
    /// Not so.
    #[track_caller]
    pub fn assert_all_dropped(&self, reason: impl Reason) {
        let name = reason.reason_name();
        let all = self.dropped.iter().all(|dropped| dropped.reason == name);
        assert!(
            all && !self.dropped.is_empty() && self.sent.is_empty(),
            "all dropped for {name}, and not: {}",
            self.summary()
        );
    }

    /// Asserts that no packet came out at all: they were kept, or there were none.
    ///
    /// # Panics
    /// Not so.
    #[track_caller]
    pub fn assert_nothing(&self) {
        assert!(self.sent.is_empty() && self.dropped.is_empty(), "nothing, and not: {}", self.summary());
    }

    /// Where the packets went, in a line: for messages.
    pub fn summary(&self) -> String {
        let mut counts: Vec<(String, usize)> = Vec::new();
        let sent = self.sent.iter().map(|sent| format!("to {}", sent.node));
        let dropped = self.dropped.iter().map(|drop| format!("dropped by {} for {}", drop.node, drop.reason));
        for what in sent.chain(dropped) {
            match counts.iter_mut().find(|(known, _)| *known == what) {
                Some((_, count)) => *count += 1,
                None => counts.push((what, 1)),
            }
        }
        if counts.is_empty() {
            return "no packets".to_owned();
        }
        let parts: Vec<String> = counts.iter().map(|(what, count)| format!("{count} {what}")).collect();
        parts.join(", ")
    }
}

/// A node panicked, or did not consume its frame.
#[derive(Debug, thiserror::Error)]
#[error("node {node} panicked, or did not consume its frame of {packets} packets")]
pub struct Panicked {
    /// The node.
    pub node: String,
    /// Packets that it was handed.
    pub packets: usize,
    /// What came of the packets that were not in its frame any more.
    pub run: Run,
}

/// A note of a node about a traced packet, or the passage of a packet through a node.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// Number of the packet, as [`Sample::trace_number`] says.
    pub packet: u32,
    /// The node.
    pub node: String,
    /// Where the packet went, if this is a passage.
    pub target: Option<String>,
    /// The record as data; null if this is a passage.
    pub json: serde_json::Value,
    /// The record as text; empty if this is a passage.
    pub text: String,
}
