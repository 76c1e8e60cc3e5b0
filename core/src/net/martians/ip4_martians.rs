//! `ip4-martians`: drops IPv4 packets with addresses that the table of special-purpose prefixes does not let pass.

use std::sync::Arc;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::Ip4Header;

use super::rule::{MartianError, Record, judge};
use super::table::Martians;
use crate::net::local::OwnTable;

/// The node.
pub struct Ip4Martians {
    martians: Arc<Martians>,
    own: Arc<OwnTable>,
}

impl Node for Ip4Martians {
    const NAME: &'static str = "ip4-martians";
    type Next = NoNext;
    type Error = MartianError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self { martians: init.resource()?, own: init.resource()? })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        vector.each(|env, packet| {
            let Some((header, _)) = Ip4Header::parse(packet.bytes()) else {
                return Verdict::Drop(MartianError::Truncated);
            };
            let (source, destination) = (header.source(), header.destination());
            let ranges = self.martians.ip4(env.worker());
            let is_own = || self.own.read(env.worker()).is_own(destination.to_std().into());
            let judged = judge(ranges.find(source.to_bits()), ranges.find(destination.to_bits()), is_own);
            env.trace(packet, || Record {
                source: source.to_string(),
                destination: destination.to_string(),
                martian: judged.is_err(),
            });
            match judged {
                Ok(()) => Verdict::Continue,
                Err(error) => Verdict::Drop(error),
            }
        });
    }
}

node!(Ip4Martians);
feature! { "ip4-martians", node: Ip4Martians, arc: "ip4-unicast" }
