//! `ip6-lookup`: finds the adjacency of a packet's destination and sends the packet where that says.
//!
//! A plain packet for a neighbour that is known (see [`PlainHop`]), as most are that come here from features, is rewritten on
//! the way and goes straight to `interface-output`.
#![forbid(unsafe_code)]

use std::sync::Arc;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::sync::Published;
use raddle_plugin_api::wire::{Ip6Address, Ip6Header};

use super::adjacency::{AdjacencyIndex, AdjacencyKind};
use super::forwarding::ForwardingTables;
use super::icmp_field::{IcmpRequest, icmp_field};
use super::ip6_check::{self, PlainIp6};
use super::ip6_trace::Ip6Trace;
use super::plain_hop::PlainHop;
use super::port_policy::PortPolicies;
use super::table_cache::{TableCache, Tables};
use super::table_hop::follow;

next! {
    /// Where packets go.
    pub enum Ip6LookupNext {
        Rewrite => "ip6-rewrite",
        Neighbor => "ip6-neighbor",
        Local => "ip6-local",
        Punt => "punt",
        IcmpError => "ip6-icmp-error",
        Output => "interface-output",
    }
}

error! {
    /// Why packets are dropped.
    pub enum Ip6LookupError {
        Truncated => "truncated": "shorter than an IPv6 header",
        Blackhole => "blackhole": "the route drops its packets",
        LinkLocalDestination => "link-local-destination": "a link-local address that is not ours on this interface",
        Dropped => "adjacency-drop": "the adjacency drops its packets, or was removed",
        TableLoop => "table-loop": "routes lead from table to table without end",
        NoHeadroom => "no-headroom": "no room for the link-layer header",
    }
}

type Ip6Verdict = Verdict<Ip6LookupNext, Ip6LookupError>;

/// The node.
pub struct Ip6Lookup {
    cache: TableCache<u128>,
    policies: Arc<PortPolicies>,
    output: ArcIndex,
    steps: Steps,
}

/// What is done with a packet once its adjacency is known.
pub(super) struct Steps {
    tables: Arc<ForwardingTables>,
    icmp: Field<IcmpRequest>,
}

impl Node for Ip6Lookup {
    const NAME: &'static str = "ip6-lookup";
    type Next = Ip6LookupNext;
    type Error = Ip6LookupError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self {
            cache: TableCache::default(),
            policies: init.resource()?,
            output: init.arc("ip6-output")?,
            steps: Steps::new(init)?,
        })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        let Self { cache, policies, output, steps } = self;
        cache.renew(&steps.tables.ip6, vector.env().worker());
        let Some(interface) = vector.interface() else {
            return vector.each(|env, packet| steps.lookup(env, packet, cache));
        };
        let mut hop = PlainHop::none(policies.redirecting(interface));
        vector.each_plain(
            #[inline(always)]
            |env, _, packet| steps.plain(env, packet, cache, *output, &mut hop),
            |env, _, packet| steps.lookup(env, packet, cache),
        );
    }
}

node!(Ip6Lookup);

impl Steps {
    pub(super) fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self { tables: init.resource()?, icmp: icmp_field(init)? })
    }

    /// A plain packet's whole way to `interface-output`, or to `ip6-rewrite` where there is more to do.
    #[inline(always)]
    fn plain(
        &self,
        env: &Env<'_, Ip6Lookup>,
        packet: &mut Packet<'_>,
        cache: &TableCache<u128>,
        output: ArcIndex,
        hop: &mut PlainHop,
    ) -> Option<Ip6Verdict> {
        let PlainIp6 { length, destination } = ip6_check::forwardable(packet)?;
        let leaf = cache.lookup(packet.fib_index(), destination);
        let adjacency = self.tables.leaves.adjacency(leaf, || self.tables.flow_hash.ip6(packet.bytes()));
        hop.turn_to(adjacency, &self.tables.adjacencies, output, env);
        if !hop.takes(length) || packet.is_reassembled() {
            if !hop.rewrites() {
                return None;
            }
            packet.mark_l3();
            packet.set_adjacency(adjacency);
            return Some(Verdict::Next(Ip6LookupNext::Rewrite));
        }
        // One of ours does not use up a hop.
        if !packet.is_local()
            && let Some(bytes) = packet.bytes_mut().first_chunk_mut()
        {
            // There is a hop left, as was seen above.
            let _ = Ip6Header::of_mut(bytes).decrement_hop_limit();
        }
        Some(if hop.apply(packet) {
            Verdict::Next(Ip6LookupNext::Output)
        } else {
            Verdict::Drop(Ip6LookupError::NoHeadroom)
        })
    }

    /// Any packet's way.
    fn lookup(
        &self,
        env: &Env<'_, Ip6Lookup>,
        packet: &mut Packet<'_>,
        cache: &TableCache<u128>,
    ) -> Ip6Verdict {
        let Some((header, _)) = Ip6Header::parse(packet.bytes()) else {
            return Verdict::Drop(Ip6LookupError::Truncated);
        };
        let leaf = cache.lookup(packet.fib_index(), header.destination().to_bits());
        let adjacency = self.tables.leaves.adjacency(leaf, || self.tables.flow_hash.ip6(packet.bytes()));
        packet.mark_l3();
        packet.set_adjacency(adjacency);
        self.dispatch(env, packet, cache)
    }

    /// The tables that a cache is renewed from.
    pub(super) fn tables(&self) -> &Published<Tables<u128>> {
        &self.tables.ip6
    }

    /// Sends a packet with an IPv6 header on by the kind of its adjacency.
    #[inline(always)]
    pub(super) fn dispatch<N: Node>(
        &self,
        env: &Env<'_, N>,
        packet: &mut Packet<'_>,
        cache: &TableCache<u128>,
    ) -> Ip6Verdict {
        let mut kind = self.tables.adjacencies.get(packet.adjacency()).kind();
        if kind == AdjacencyKind::Table {
            let Some(header) = Ip6Header::parse(packet.bytes()).map(|(header, _)| header) else {
                return Verdict::Drop(Ip6LookupError::Truncated);
            };
            let destination = header.destination().to_bits();
            let hash = || self.tables.flow_hash.ip6(packet.bytes());
            let Some(found) = follow(&self.tables, cache, destination, packet.adjacency(), hash) else {
                return Verdict::Drop(Ip6LookupError::TableLoop);
            };
            packet.set_adjacency(found.0);
            kind = self.tables.adjacencies.get(found.0).kind();
        }
        if kind == AdjacencyKind::LinkLocal {
            kind = self.find_link_local(env, packet);
        }
        env.trace(packet, || Ip6Trace::with_adjacency(packet, packet.adjacency(), kind));
        let request = match kind {
            AdjacencyKind::Rewrite
            | AdjacencyKind::Watched
            | AdjacencyKind::Glean
            | AdjacencyKind::Incomplete => match refuse_to_forward(packet) {
                Some(request) => request,
                None if kind == AdjacencyKind::Rewrite => return Verdict::Next(Ip6LookupNext::Rewrite),
                None => return Verdict::Next(Ip6LookupNext::Neighbor),
            },
            AdjacencyKind::Local => return Verdict::Next(Ip6LookupNext::Local),
            AdjacencyKind::Node => {
                return match self.tables.adjacencies.get(packet.adjacency()).node() {
                    Some(node) => Verdict::To(node),
                    None => Verdict::Drop(Ip6LookupError::Dropped),
                };
            }
            AdjacencyKind::Punt => return Verdict::Next(Ip6LookupNext::Punt),
            AdjacencyKind::NoRoute => IcmpRequest::IP6_NO_ROUTE,
            // RFC 4443 §3.1: routes that reject their packets have a code of their own.
            AdjacencyKind::Unreachable => IcmpRequest::IP6_REJECT_ROUTE,
            AdjacencyKind::Prohibit => IcmpRequest::IP6_PROHIBITED,
            AdjacencyKind::Blackhole => return Verdict::Drop(Ip6LookupError::Blackhole),
            AdjacencyKind::LinkLocal => return Verdict::Drop(Ip6LookupError::LinkLocalDestination),
            AdjacencyKind::Drop | AdjacencyKind::Table => return Verdict::Drop(Ip6LookupError::Dropped),
        };
        packet.set_field(&self.icmp, request);
        Verdict::Next(Ip6LookupNext::IcmpError)
    }

    /// Looks a link-local destination up on the packet's interface: where it came in, or, of a packet of ours, where it is to
    /// leave, which its maker has set. Only own packets go to neighbours (RFC 4291 §2.5.6).
    #[cold]
    fn find_link_local<N: Node>(&self, env: &Env<'_, N>, packet: &mut Packet<'_>) -> AdjacencyKind {
        let Some((header, _)) = Ip6Header::parse(packet.bytes()) else {
            return AdjacencyKind::Drop;
        };
        let destination = header.destination();
        let is_local = packet.is_local();
        let interface = if is_local { packet.tx_interface() } else { packet.rx_interface() };
        let known = self.tables.link_local.read(env.worker());
        let find = |address: Ip6Address| known.get(&(interface, address.to_std())).copied();
        let found = match find(destination) {
            Some(AdjacencyIndex::LOCAL) => Some(AdjacencyIndex::LOCAL),
            Some(neighbor) if is_local => Some(neighbor),
            None if is_local => find(Ip6Address::UNSPECIFIED),
            _ => None,
        };
        let Some(index) = found else {
            return AdjacencyKind::LinkLocal;
        };
        packet.set_adjacency(index.0);
        self.tables.adjacencies.get(index.0).kind()
    }
}

/// Why a packet may not go to another link, if it may not.
#[inline(always)]
fn refuse_to_forward(packet: &Packet<'_>) -> Option<IcmpRequest> {
    if packet.is_local() {
        return None;
    }
    let (header, _) = Ip6Header::parse(packet.bytes())?;
    if header.source().is_link_local() {
        return Some(IcmpRequest::IP6_BEYOND_SCOPE);
    }
    // RFC 8200 §3: a packet that is forwarded needs one more hop; one for us does not use it up.
    (header.hop_limit() <= 1).then_some(IcmpRequest::IP6_TIME_EXCEEDED)
}
