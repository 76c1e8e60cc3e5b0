//! Methods on the ways of packets from thread to thread.

use raddle_plugin_api::Failure;
use serde::{Deserialize, Serialize};

use super::runtime::thread_name;
use crate::host::Engine;
use crate::runtime::HandoffFigures;

/// The way from one thread to another, for `show handoff`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct HandoffReport {
    /// The giving thread.
    pub from: String,
    /// The taking thread.
    pub to: String,
    /// Packets that went over.
    pub packets: u64,
    /// Packets that did not, since the way was full.
    pub congested: u64,
    /// Packets under way at present.
    pub waiting: u32,
    /// Packets that can be under way.
    pub capacity: u32,
}

impl HandoffReport {
    fn of(figures: HandoffFigures) -> Self {
        let HandoffFigures { from, to, ring } = figures;
        Self {
            from: thread_name(from),
            to: thread_name(to),
            packets: ring.sent,
            congested: ring.refused,
            waiting: ring.waiting,
            capacity: ring.capacity,
        }
    }

    fn was_used(&self) -> bool {
        self.packets > 0 || self.congested > 0
    }
}

impl Engine {
    pub(super) fn add_handoff_methods(&self) {
        self.add_method("handoff.list", |engine, _| {
            serde_json::to_value(engine.handoff_reports()).map_err(Failure::from)
        });
    }

    /// The ways from thread to thread that were used.
    pub(in crate::host) fn handoff_reports(&self) -> Vec<HandoffReport> {
        let threads = self.threads.borrow();
        threads.handoffs().map(HandoffReport::of).filter(HandoffReport::was_used).collect()
    }
}
