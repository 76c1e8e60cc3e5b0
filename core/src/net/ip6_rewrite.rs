//! `ip6-rewrite`: takes one hop off and puts the adjacency's header in front.
#![forbid(unsafe_code)]

use std::sync::Arc;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::Ip6Header;

use super::adjacency::AdjacencyKind;
use super::forwarding::ForwardingTables;
use super::icmp_field::{IcmpRequest, icmp_field};
use super::ip6_trace::Ip6Trace;
use super::mtu;
use super::rewrite::put_in_front;

arc! { "ip6-output", end: "interface-output" }

next! {
    /// Where packets go.
    pub enum Ip6RewriteNext {
        Output => "interface-output",
        Neighbor => "ip6-neighbor",
        IcmpError => "ip6-icmp-error",
    }
}

error! {
    /// Why packets are dropped.
    pub enum Ip6RewriteError {
        Truncated => "truncated": "shorter than an IPv6 header",
        NoAdjacency => "no-adjacency": "the adjacency was removed while the packet was on its way",
        NoHeadroom => "no-headroom": "no room for the link-layer header",
    }
}

type Ip6Verdict = Verdict<Ip6RewriteNext, Ip6RewriteError>;

/// The node.
pub struct Ip6Rewrite {
    tables: Arc<ForwardingTables>,
    output: ArcIndex,
    icmp: Field<IcmpRequest>,
}

impl Node for Ip6Rewrite {
    const NAME: &'static str = "ip6-rewrite";
    type Next = Ip6RewriteNext;
    type Error = Ip6RewriteError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self { tables: init.resource()?, output: init.arc("ip6-output")?, icmp: icmp_field(init)? })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        vector.each(
            #[inline(always)]
            |env, packet| self.rewrite(env, packet),
        );
    }
}

node!(Ip6Rewrite);

impl Ip6Rewrite {
    #[inline(always)]
    fn rewrite(&self, env: &Env<'_, Self>, packet: &mut Packet<'_>) -> Ip6Verdict {
        let adjacency = self.tables.adjacencies.get(packet.adjacency());
        match adjacency.kind() {
            AdjacencyKind::Rewrite | AdjacencyKind::Watched => {}
            AdjacencyKind::Incomplete => return Verdict::Next(Ip6RewriteNext::Neighbor),
            _ => return Verdict::Drop(Ip6RewriteError::NoAdjacency),
        }
        let Some((header, _)) = Ip6Header::parse(packet.bytes()) else {
            return Verdict::Drop(Ip6RewriteError::Truncated);
        };
        let (hop_limit, is_local) = (header.hop_limit(), packet.is_local());
        if hop_limit <= 1 && !is_local {
            return self.report(packet, IcmpRequest::IP6_TIME_EXCEEDED);
        }
        if !mtu::fits(packet, adjacency.mtu()) {
            let mtu = adjacency.mtu() as u32;
            return self.report(packet, IcmpRequest::ip6_packet_too_big(mtu));
        }
        packet.mark_l3();
        if !is_local && let Some((header, _)) = Ip6Header::parse_mut(packet.bytes_mut()) {
            // There is a hop left, as was seen above.
            let _ = header.decrement_hop_limit();
        }
        env.trace(packet, || Ip6Trace::with_adjacency(packet, packet.adjacency(), adjacency.kind()));
        if !put_in_front(packet, &adjacency) {
            return Verdict::Drop(Ip6RewriteError::NoHeadroom);
        }
        match adjacency.node() {
            Some(node) => Verdict::To(node),
            None => env.enter_arc(
                self.output,
                adjacency.interface(),
                packet,
                Verdict::Next(Ip6RewriteNext::Output),
            ),
        }
    }

    #[cold]
    fn report(&self, packet: &mut Packet<'_>, request: IcmpRequest) -> Ip6Verdict {
        packet.set_field(&self.icmp, request);
        Verdict::Next(Ip6RewriteNext::IcmpError)
    }
}
