//! `ip6-lookup`: finds the adjacency of a packet's destination and sends the packet where that says.
#![forbid(unsafe_code)]

use std::sync::Arc;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::{Ip6Address, Ip6Header};

use super::adjacency::{AdjacencyIndex, AdjacencyKind};
use super::flow_hash::ip6_flow_hash;
use super::forwarding::ForwardingTables;
use super::icmp_field::{IcmpRequest, icmp_field};
use super::ip6_trace::Ip6Trace;
use super::table_cache::TableCache;

next! {
    /// Where packets go.
    pub enum Ip6LookupNext {
        Rewrite => "ip6-rewrite",
        Neighbor => "ip6-neighbor",
        Local => "ip6-local",
        Punt => "punt",
        IcmpError => "ip6-icmp-error",
    }
}

error! {
    /// Why packets are dropped.
    pub enum Ip6LookupError {
        Truncated => "truncated": "shorter than an IPv6 header",
        Blackhole => "blackhole": "the route drops its packets",
        LinkLocalDestination => "link-local-destination": "a link-local address that is not ours on this interface",
        Dropped => "adjacency-drop": "the adjacency drops its packets, or was removed",
    }
}

type Ip6Verdict = Verdict<Ip6LookupNext, Ip6LookupError>;

/// The node.
pub struct Ip6Lookup {
    cache: TableCache<u128>,
    steps: Steps,
}

struct Steps {
    tables: Arc<ForwardingTables>,
    icmp: Field<IcmpRequest>,
}

impl Node for Ip6Lookup {
    const NAME: &'static str = "ip6-lookup";
    type Next = Ip6LookupNext;
    type Error = Ip6LookupError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        let steps = Steps { tables: init.resource()?, icmp: icmp_field(init)? };
        Ok(Self { cache: TableCache::default(), steps })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        let Self { cache, steps } = self;
        cache.renew(&steps.tables.ip6, vector.env().worker());
        vector.each(
            #[inline(always)]
            |env, packet| {
                let Some((header, _)) = Ip6Header::parse(packet.bytes()) else {
                    return Verdict::Drop(Ip6LookupError::Truncated);
                };
                let leaf = cache.lookup(packet.fib_index(), header.destination().to_bits());
                let adjacency = steps.tables.leaves.adjacency(leaf, || ip6_flow_hash(packet.bytes()));
                packet.mark_l3();
                packet.set_adjacency(adjacency);
                steps.dispatch(env, packet)
            },
        );
    }
}

node!(Ip6Lookup);

impl Steps {
    /// Sends a packet with an IPv6 header on by the kind of its adjacency.
    #[inline(always)]
    fn dispatch(&self, env: &Env<'_, Ip6Lookup>, packet: &mut Packet<'_>) -> Ip6Verdict {
        let mut kind = self.tables.adjacencies.get(packet.adjacency()).kind();
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
            AdjacencyKind::Punt => return Verdict::Next(Ip6LookupNext::Punt),
            AdjacencyKind::NoRoute => IcmpRequest::IP6_NO_ROUTE,
            AdjacencyKind::Unreachable => IcmpRequest::IP6_ADDRESS_UNREACHABLE,
            AdjacencyKind::Prohibit => IcmpRequest::IP6_PROHIBITED,
            AdjacencyKind::Blackhole => return Verdict::Drop(Ip6LookupError::Blackhole),
            AdjacencyKind::LinkLocal => return Verdict::Drop(Ip6LookupError::LinkLocalDestination),
            AdjacencyKind::Drop => return Verdict::Drop(Ip6LookupError::Dropped),
        };
        packet.set_field(&self.icmp, request);
        Verdict::Next(Ip6LookupNext::IcmpError)
    }

    /// Looks a link-local destination up on the packet's interface: where it came in, or, of a packet of ours, where it is to
    /// leave, which its maker has set. Only own packets go to neighbours (RFC 4291 §2.5.6).
    #[cold]
    fn find_link_local(&self, env: &Env<'_, Ip6Lookup>, packet: &mut Packet<'_>) -> AdjacencyKind {
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
