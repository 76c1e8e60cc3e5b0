//! `ip6-neighbor`: IPv6 packets whose next hop's MAC address is not known, or whose neighbour's next use is of interest
//! (RFC 4861 §7.2.2).

use std::fmt;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::Ip6Header;
use serde::Serialize;

use super::unresolved::{Outcome, Unresolved};
use crate::net::adjacency::AdjacencyKind;

next! {
    /// Where packets go.
    pub enum Ip6NeighborNext { Rewrite => "ip6-rewrite" }
}

error! {
    /// Why packets are dropped.
    pub enum Ip6NeighborError {
        TooShort => "too-short": "shorter than an IPv6 header",
        Throttled => "throttled": "too many packets for neighbours that are not known",
        Backlog => "backlog": "the main thread is behind with unresolved neighbours",
        Gone => "adjacency-gone": "the adjacency was removed",
    }
}

/// The node.
pub struct Ip6Neighbor {
    unresolved: Unresolved,
}

/// What was looked for.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Record {
    next_hop: String,
    interface: InterfaceIndex,
    adjacency: u32,
    kind: AdjacencyKind,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { next_hop, interface, adjacency, kind } = self;
        let what = match kind {
            AdjacencyKind::Rewrite => "known by now",
            AdjacencyKind::Watched => "known, to be checked",
            AdjacencyKind::Glean | AdjacencyKind::Incomplete => "not known, kept until it is",
            _ => "gone",
        };
        write!(f, "who-has {next_hop} on interface {interface}: {what} (adjacency {adjacency})")
    }
}

impl Node for Ip6Neighbor {
    const NAME: &'static str = "ip6-neighbor";
    type Next = Ip6NeighborNext;
    type Error = Ip6NeighborError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self { unresolved: Unresolved::new(init)? })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        let unresolved = &mut self.unresolved;
        vector.each(|env, packet| {
            let Some((ip, _)) = Ip6Header::parse(packet.bytes()) else {
                return Verdict::Drop(Ip6NeighborError::TooShort);
            };
            let (kind, key) = unresolved.target(packet, ip.destination().to_std().into());
            env.trace(packet, || Record {
                next_hop: key.address.to_string(),
                interface: key.interface,
                adjacency: packet.adjacency(),
                kind,
            });
            match unresolved.decide(env.worker(), packet, kind, key) {
                Outcome::Rewrite => Verdict::Next(Ip6NeighborNext::Rewrite),
                Outcome::Throttled => Verdict::Drop(Ip6NeighborError::Throttled),
                Outcome::Backlog => Verdict::Drop(Ip6NeighborError::Backlog),
                // Of a packet that was taken the verdict counts for nothing.
                Outcome::Gone | Outcome::Kept => Verdict::Drop(Ip6NeighborError::Gone),
            }
        });
        unresolved.flush();
    }
}

node!(Ip6Neighbor);
