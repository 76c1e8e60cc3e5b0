//! `ip4-lookup`: finds the adjacency of a packet's destination and sends the packet where that says.
#![forbid(unsafe_code)]

use std::sync::Arc;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::Ip4Header;

use super::adjacency::{AdjacencyKind, AdjacencyTable};
use super::flow_hash::ip4_flow_hash;
use super::forwarding::ForwardingTables;
use super::icmp_field::{IcmpRequest, icmp_field};
use super::ip4_trace::Ip4Trace;
use super::table_cache::TableCache;

next! {
    /// Where packets go.
    pub enum Ip4LookupNext {
        Rewrite => "ip4-rewrite",
        Neighbor => "ip4-neighbor",
        Local => "ip4-local",
        Punt => "punt",
        IcmpError => "ip4-icmp-error",
    }
}

error! {
    /// Why packets are dropped.
    pub enum Ip4LookupError {
        Truncated => "truncated": "shorter than an IPv4 header",
        Blackhole => "blackhole": "the route drops its packets",
        Dropped => "adjacency-drop": "the adjacency drops its packets, or was removed",
    }
}

type Ip4Verdict = Verdict<Ip4LookupNext, Ip4LookupError>;

/// The node.
pub struct Ip4Lookup {
    tables: Arc<ForwardingTables>,
    cache: TableCache<u32>,
    icmp: Field<IcmpRequest>,
}

impl Node for Ip4Lookup {
    const NAME: &'static str = "ip4-lookup";
    type Next = Ip4LookupNext;
    type Error = Ip4LookupError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self { tables: init.resource()?, cache: TableCache::default(), icmp: icmp_field(init)? })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        let Self { tables, cache, icmp } = self;
        cache.renew(&tables.ip4, vector.env().worker());
        vector.each(
            #[inline(always)]
            |env, packet| {
                let Some((header, _)) = Ip4Header::parse(packet.bytes()) else {
                    return Verdict::Drop(Ip4LookupError::Truncated);
                };
                let leaf = cache.lookup(packet.fib_index(), header.destination().to_bits());
                let adjacency = tables.leaves.adjacency(leaf, || ip4_flow_hash(packet.bytes()));
                packet.mark_l3();
                packet.set_adjacency(adjacency);
                dispatch(env, packet, &tables.adjacencies, icmp)
            },
        );
    }
}

node!(Ip4Lookup);

/// Sends a packet with an IPv4 header on by the kind of its adjacency.
#[inline(always)]
fn dispatch(
    env: &Env<'_, Ip4Lookup>,
    packet: &mut Packet<'_>,
    adjacencies: &AdjacencyTable,
    icmp: &Field<IcmpRequest>,
) -> Ip4Verdict {
    let kind = adjacencies.get(packet.adjacency()).kind();
    env.trace(packet, || Ip4Trace::with_adjacency(packet, packet.adjacency(), kind));
    let request = match kind {
        AdjacencyKind::Rewrite
        | AdjacencyKind::Watched
        | AdjacencyKind::Glean
        | AdjacencyKind::Incomplete => {
            // RFC 1812 §5.3.1: a packet that is forwarded needs one more hop; one of ours does not use it up.
            let ttl = Ip4Header::parse(packet.bytes()).map_or(0, |(header, _)| header.ttl());
            if ttl > 1 || packet.is_local() {
                return Verdict::Next(match kind {
                    AdjacencyKind::Rewrite => Ip4LookupNext::Rewrite,
                    _ => Ip4LookupNext::Neighbor,
                });
            }
            IcmpRequest::IP4_TIME_EXCEEDED
        }
        AdjacencyKind::Local => return Verdict::Next(Ip4LookupNext::Local),
        AdjacencyKind::Punt => return Verdict::Next(Ip4LookupNext::Punt),
        AdjacencyKind::NoRoute => IcmpRequest::IP4_NET_UNREACHABLE,
        AdjacencyKind::Unreachable => IcmpRequest::IP4_HOST_UNREACHABLE,
        AdjacencyKind::Prohibit => IcmpRequest::IP4_PROHIBITED,
        AdjacencyKind::Blackhole => return Verdict::Drop(Ip4LookupError::Blackhole),
        AdjacencyKind::Drop | AdjacencyKind::LinkLocal => return Verdict::Drop(Ip4LookupError::Dropped),
    };
    packet.set_field(icmp, request);
    Verdict::Next(Ip4LookupNext::IcmpError)
}
