//! `ip4-lookup`: finds the adjacency of a packet's destination and sends the packet where that says.
//!
//! A plain packet for a neighbour that is known (see [`PlainHop`]), as most are that come here from features, is rewritten on
//! the way and goes straight to `interface-output`.
#![forbid(unsafe_code)]

use std::sync::Arc;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::Ip4Header;

use super::adjacency::AdjacencyKind;
use super::forwarding::ForwardingTables;
use super::icmp_field::{IcmpRequest, icmp_field};
use super::ip4_check::{PlainIp4, forwardable};
use super::ip4_trace::Ip4Trace;
use super::plain_hop::PlainHop;
use super::port_policy::PortPolicies;
use super::table_cache::TableCache;
use super::table_hop::follow;

next! {
    /// Where packets go.
    pub enum Ip4LookupNext {
        Rewrite => "ip4-rewrite",
        Neighbor => "ip4-neighbor",
        Local => "ip4-local",
        Punt => "punt",
        IcmpError => "ip4-icmp-error",
        Output => "interface-output",
    }
}

error! {
    /// Why packets are dropped.
    pub enum Ip4LookupError {
        Truncated => "truncated": "shorter than an IPv4 header",
        Blackhole => "blackhole": "the route drops its packets",
        Dropped => "adjacency-drop": "the adjacency drops its packets, or was removed",
        TableLoop => "table-loop": "routes lead from table to table without end",
        NoHeadroom => "no-headroom": "no room for the link-layer header",
    }
}

type Ip4Verdict = Verdict<Ip4LookupNext, Ip4LookupError>;

/// The node.
pub struct Ip4Lookup {
    cache: TableCache<u32>,
    steps: Steps,
}

struct Steps {
    tables: Arc<ForwardingTables>,
    policies: Arc<PortPolicies>,
    output: ArcIndex,
    icmp: Field<IcmpRequest>,
}

impl Node for Ip4Lookup {
    const NAME: &'static str = "ip4-lookup";
    type Next = Ip4LookupNext;
    type Error = Ip4LookupError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        let steps = Steps {
            tables: init.resource()?,
            policies: init.resource()?,
            output: init.arc("ip4-output")?,
            icmp: icmp_field(init)?,
        };
        Ok(Self { cache: TableCache::default(), steps })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        let Self { cache, steps } = self;
        cache.renew(&steps.tables.ip4, vector.env().worker());
        let Some(interface) = vector.interface() else {
            return vector.each(|env, packet| steps.lookup(env, packet, cache));
        };
        let mut hop = PlainHop::none(steps.policies.redirecting(interface));
        vector.each_plain(
            #[inline(always)]
            |env, _, packet| steps.plain(env, packet, cache, &mut hop),
            |env, _, packet| steps.lookup(env, packet, cache),
        );
    }
}

node!(Ip4Lookup);

impl Steps {
    /// A plain packet's whole way to `interface-output`, or to `ip4-rewrite` where there is more to do.
    #[inline(always)]
    fn plain(
        &self,
        env: &Env<'_, Ip4Lookup>,
        packet: &mut Packet<'_>,
        cache: &TableCache<u32>,
        hop: &mut PlainHop,
    ) -> Option<Ip4Verdict> {
        let PlainIp4 { length, destination } = forwardable(packet)?;
        let leaf = cache.lookup(packet.fib_index(), destination);
        let adjacency = self.tables.leaves.adjacency(leaf, || self.tables.flow_hash.ip4(packet.bytes()));
        hop.turn_to(adjacency, &self.tables.adjacencies, self.output, env);
        if !hop.takes(length) {
            if !hop.rewrites() {
                return None;
            }
            packet.mark_l3();
            packet.set_adjacency(adjacency);
            return Some(Verdict::Next(Ip4LookupNext::Rewrite));
        }
        // RFC 1812 §5.3.1: one of ours does not use up a hop.
        if !packet.is_local()
            && let Some(bytes) = packet.bytes_mut().first_chunk_mut()
        {
            // There is a hop left, as was seen above.
            let _ = Ip4Header::of_mut(bytes).decrement_ttl();
        }
        Some(if hop.apply(packet) {
            Verdict::Next(Ip4LookupNext::Output)
        } else {
            Verdict::Drop(Ip4LookupError::NoHeadroom)
        })
    }

    /// Any packet's way.
    fn lookup(
        &self,
        env: &Env<'_, Ip4Lookup>,
        packet: &mut Packet<'_>,
        cache: &TableCache<u32>,
    ) -> Ip4Verdict {
        let Some((header, _)) = Ip4Header::parse(packet.bytes()) else {
            return Verdict::Drop(Ip4LookupError::Truncated);
        };
        let leaf = cache.lookup(packet.fib_index(), header.destination().to_bits());
        let adjacency = self.tables.leaves.adjacency(leaf, || self.tables.flow_hash.ip4(packet.bytes()));
        packet.mark_l3();
        packet.set_adjacency(adjacency);
        dispatch(env, packet, &self.tables, cache, &self.icmp)
    }
}

/// Where a plugin's route leads.
#[inline]
fn to_node(tables: &ForwardingTables, packet: &Packet<'_>) -> Ip4Verdict {
    match tables.adjacencies.get(packet.adjacency()).node() {
        Some(node) => Verdict::To(node),
        None => Verdict::Drop(Ip4LookupError::Dropped),
    }
}

/// Sends a packet with an IPv4 header on by the kind of its adjacency.
#[inline(always)]
pub(super) fn dispatch<N: Node>(
    env: &Env<'_, N>,
    packet: &mut Packet<'_>,
    tables: &ForwardingTables,
    cache: &TableCache<u32>,
    icmp: &Field<IcmpRequest>,
) -> Ip4Verdict {
    let mut kind = tables.adjacencies.get(packet.adjacency()).kind();
    if kind == AdjacencyKind::Table {
        let Some(header) = Ip4Header::parse(packet.bytes()).map(|(header, _)| header) else {
            return Verdict::Drop(Ip4LookupError::Truncated);
        };
        let destination = header.destination().to_bits();
        let hash = || tables.flow_hash.ip4(packet.bytes());
        let Some(found) = follow(tables, cache, destination, packet.adjacency(), hash) else {
            return Verdict::Drop(Ip4LookupError::TableLoop);
        };
        packet.set_adjacency(found.0);
        kind = tables.adjacencies.get(found.0).kind();
    }
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
        AdjacencyKind::Node => return to_node(tables, packet),
        AdjacencyKind::Punt => return Verdict::Next(Ip4LookupNext::Punt),
        AdjacencyKind::NoRoute => IcmpRequest::IP4_NET_UNREACHABLE,
        AdjacencyKind::Unreachable => IcmpRequest::IP4_HOST_UNREACHABLE,
        AdjacencyKind::Prohibit => IcmpRequest::IP4_PROHIBITED,
        AdjacencyKind::Blackhole => return Verdict::Drop(Ip4LookupError::Blackhole),
        AdjacencyKind::Drop | AdjacencyKind::LinkLocal | AdjacencyKind::Table => {
            return Verdict::Drop(Ip4LookupError::Dropped);
        }
    };
    packet.set_field(icmp, request);
    Verdict::Next(Ip4LookupNext::IcmpError)
}
