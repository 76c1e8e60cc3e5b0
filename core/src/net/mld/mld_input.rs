//! `mld-input`: MLD messages for a host, from `ip6-local`, which has checked their checksums.

use std::fmt;
use std::sync::Arc;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::punt::PuntReason;
use raddle_plugin_api::wire::{Ip6Header, Ip6Upper};
use serde::Serialize;

use super::message::{Unheeded, parse};
use crate::net::multicast::Groups;
use crate::net::punt::PuntOffer;
use crate::net::rate_limit::TokenBucket;

next! {
    /// Where copies go that the host may have a use for.
    pub enum MldInputNext { Punt => "punt" }
}

error! {
    /// Why messages are dropped.
    pub enum MldInputError {
        Length => "bad-length": "too short, or of no version's length",
        Kind => "not-for-hosts": "for routers",
        Group => "bad-group": "about what is no group, or sent to where it should not be",
        NotFromLink => "not-from-link": "no link-local source, hop limit other than 1, or no router alert (RFC 3810 section 6.2)",
        RateLimited => "rate-limited": "more messages than the main thread is told",
    }
}

/// Messages a second that each worker tells the main thread of, and at once.
const REPORTS: TokenBucket = TokenBucket::new(512, 128);

/// The node.
pub struct MldInput {
    groups: Arc<Groups>,
    limit: TokenBucket,
    punt: PuntOffer,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Record {
    source: String,
    heard: String,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, heard } = self;
        write!(f, "{source}: {heard}")
    }
}

impl Node for MldInput {
    const NAME: &'static str = "mld-input";
    type Next = MldInputNext;
    type Error = MldInputError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self { groups: init.resource()?, limit: REPORTS, punt: PuntOffer::new(init)? })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        vector.each(|env, packet| {
            let Ok(upper) = Ip6Upper::find_as_destination(packet.bytes()) else {
                return Verdict::Drop(MldInputError::Length);
            };
            let heard = parse(packet.bytes(), upper.offset);
            // Reports are for routers, and one may run on the host.
            if matches!(heard, Ok(_) | Err(Unheeded::Kind)) {
                self.punt.copy(env, packet, PuntReason::GROUPS, MldInputNext::Punt);
            }
            let heard = match heard {
                Ok(heard) => heard,
                Err(unheeded) => return Verdict::Drop(reason(unheeded)),
            };
            env.trace(packet, || Record {
                source: Ip6Header::parse(packet.bytes())
                    .map_or_else(String::new, |(ip, _)| ip.source().to_string()),
                heard: heard.to_string(),
            });
            if !self.limit.take(env.now_ns()) {
                return Verdict::Drop(MldInputError::RateLimited);
            }
            self.groups.report_heard(packet.rx_interface(), heard);
            // It has served its purpose, and is not counted as a drop.
            drop(packet.take());
            Verdict::Drop(MldInputError::Kind)
        });
    }
}

node!(MldInput);

fn reason(unheeded: Unheeded) -> MldInputError {
    match unheeded {
        Unheeded::Length => MldInputError::Length,
        Unheeded::Kind => MldInputError::Kind,
        Unheeded::Group => MldInputError::Group,
        Unheeded::NotFromLink => MldInputError::NotFromLink,
    }
}
