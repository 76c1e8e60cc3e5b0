//! `punt`: packets that raddle has no use for itself, to the plugin that has: the features of the arc `punt`, each enabled
//! for the interfaces whose packets it wants. What nobody takes ends in `punt-unclaimed`.
//!
//! Each reason has a token bucket for each interface, so that no stream of punted packets takes the time of the others, of
//! forwarding or of the host.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::punt::PuntReasonField;
use serde::Serialize;

use super::reasons::{Fate, PuntBuckets, PuntReasons};

next! {
    /// Where packets go that nobody takes.
    pub enum PuntNext { Unclaimed => "punt-unclaimed" }
}

error! {
    /// Why packets are dropped.
    pub enum PuntError {
        RateLimited => "rate-limited": "more packets of one reason and interface than the host is to get (`show punt`)",
    }
}

arc! { "punt", end: "punt-unclaimed" }

/// The node.
pub struct Punt {
    arc: ArcIndex,
    field: PuntReasonField,
    reasons: Arc<PuntReasons>,
    buckets: PuntBuckets,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Record {
    interface: InterfaceIndex,
    reason: String,
    outcome: &'static str,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from interface {}: {}", self.reason, self.interface, self.outcome)
    }
}

impl Node for Punt {
    const NAME: &'static str = "punt";
    type Next = PuntNext;
    type Error = PuntError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        let reasons: Arc<PuntReasons> = init.resource()?;
        let buckets = PuntBuckets::new(Arc::clone(&reasons));
        Ok(Self { arc: init.arc("punt")?, field: PuntReasonField::new(init)?, reasons, buckets })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        vector.each(|env, packet| {
            let (interface, reason) = (packet.rx_interface(), self.field.of(packet));
            // What was made here came by no interface.
            let mask = if interface == InterfaceIndex::NONE { 0 } else { env.arc_mask(self.arc, interface) };
            let fate = match mask {
                0 => Fate::Unclaimed,
                _ if self.buckets.take(reason, interface, env.now_ns()) => Fate::Taken,
                _ => Fate::Limited,
            };
            self.reasons.count(env.worker(), reason, fate);
            env.trace(packet, || {
                let outcome = match fate {
                    Fate::Taken => "to a plugin",
                    Fate::Limited => "too many",
                    Fate::Unclaimed => "no plugin takes it",
                };
                Record { interface, reason: self.reasons.name(reason), outcome }
            });
            match fate {
                Fate::Taken => env.enter_features(self.arc, mask, packet),
                Fate::Limited => Verdict::Drop(PuntError::RateLimited),
                Fate::Unclaimed => Verdict::Next(PuntNext::Unclaimed),
            }
        });
    }
}

node!(Punt);
