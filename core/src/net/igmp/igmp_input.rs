//! `igmp-input`: IGMP messages for a host, from `ip4-local`.

use std::fmt;
use std::sync::Arc;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::punt::PuntReason;
use raddle_plugin_api::wire::{Ip4Address, Ip4Header};
use serde::Serialize;

use super::message::{Unheeded, parse};
use crate::net::multicast::{Groups, Heard};
use crate::net::punt::PuntOffer;
use crate::net::rate_limit::TokenBucket;

next! {
    /// Where copies go that the host may have a use for.
    pub enum IgmpInputNext { Punt => "punt" }
}

error! {
    /// Why messages are dropped.
    pub enum IgmpInputError {
        Length => "bad-length": "too short, or of no version's length",
        Checksum => "bad-checksum": "the checksum is wrong",
        Kind => "not-for-hosts": "for routers, or of an unknown type",
        Group => "bad-group": "about what is no group, or sent to where it should not be",
        RateLimited => "rate-limited": "more messages than the main thread is told",
    }
}

/// Messages a second that each worker tells the main thread of, and at once.
const REPORTS: TokenBucket = TokenBucket::new(512, 128);

/// The node.
pub struct IgmpInput {
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

impl Node for IgmpInput {
    const NAME: &'static str = "igmp-input";
    type Next = IgmpInputNext;
    type Error = IgmpInputError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self { groups: init.resource()?, limit: REPORTS, punt: PuntOffer::new(init)? })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        vector.each(|env, packet| {
            let heard = hear(packet.bytes());
            // Reports are for routers, and one may run on the host.
            if matches!(heard, Ok(_) | Err(IgmpInputError::Kind)) {
                self.punt.copy(env, packet, PuntReason::GROUPS, IgmpInputNext::Punt);
            }
            let (source, heard) = match heard {
                Ok(heard) => heard,
                Err(error) => return Verdict::Drop(error),
            };
            env.trace(packet, || Record { source: source.to_string(), heard: heard.to_string() });
            if !self.limit.take(env.now_ns()) {
                return Verdict::Drop(IgmpInputError::RateLimited);
            }
            self.groups.report_heard(packet.rx_interface(), heard);
            // It has served its purpose, and is not counted as a drop.
            drop(packet.take());
            Verdict::Drop(IgmpInputError::Kind)
        });
    }
}

node!(IgmpInput);

/// What the packet that begins with its IPv4 header says, and who.
fn hear(bytes: &[u8]) -> Result<(Ip4Address, Heard), IgmpInputError> {
    let (ip, _) = Ip4Header::parse(bytes).ok_or(IgmpInputError::Length)?;
    let end = usize::from(ip.total_length());
    let message = bytes.get(ip.header_length()..end).ok_or(IgmpInputError::Length)?;
    if !checksum::is_valid(message) {
        return Err(IgmpInputError::Checksum);
    }
    let heard = parse(ip.destination(), message).map_err(|unheeded| match unheeded {
        Unheeded::Length => IgmpInputError::Length,
        Unheeded::Kind => IgmpInputError::Kind,
        Unheeded::Group => IgmpInputError::Group,
    })?;
    Ok((ip.source(), heard))
}
