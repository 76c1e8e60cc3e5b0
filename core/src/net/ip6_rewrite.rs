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
use super::reassembly::{Joined, joined_field};
use super::redirect::RedirectOffers;
use super::rewrite::put_in_front;

arc! { "ip6-output", end: "interface-output" }

next! {
    /// Where packets go.
    pub enum Ip6RewriteNext {
        Output => "interface-output",
        Neighbor => "ip6-neighbor",
        IcmpError => "ip6-icmp-error",
        Redirect => "ip6-redirect",
        Fragment => "ip6-fragment",
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
    joined: Field<Joined>,
    redirects: RedirectOffers,
}

impl Node for Ip6Rewrite {
    const NAME: &'static str = "ip6-rewrite";
    type Next = Ip6RewriteNext;
    type Error = Ip6RewriteError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self {
            tables: init.resource()?,
            output: init.arc("ip6-output")?,
            icmp: icmp_field(init)?,
            joined: joined_field(init)?,
            redirects: RedirectOffers::new(init)?,
        })
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
    fn rewrite(&mut self, env: &Env<'_, Self>, packet: &mut Packet<'_>) -> Ip6Verdict {
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
        if (packet.len() > adjacency.mtu() || packet.is_reassembled())
            && let Some(verdict) = self.large(packet, adjacency.mtu())
        {
            return verdict;
        }
        packet.mark_l3();
        // RFC 4861 §8.2: the packet goes on all the same.
        if adjacency.interface() == packet.rx_interface()
            && let Some(copy) = self.redirects.offer(env.worker(), packet)
        {
            env.send(copy, Verdict::Next(Ip6RewriteNext::Redirect));
        }
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

    /// Where a packet goes that does not leave as it is. RFC 8200 §5: only the source fragments, and what its fragments were put
    /// together of here leaves in such ones again.
    #[inline(never)]
    fn large(&self, packet: &mut Packet<'_>, mtu: usize) -> Option<Ip6Verdict> {
        let fits = mtu::fits(packet, mtu);
        if packet.is_local() {
            return (!fits).then_some(Verdict::Next(Ip6RewriteNext::Fragment));
        }
        if packet.is_reassembled() && packet.field(&self.joined).bound(packet.len(), mtu).is_some() {
            return Some(Verdict::Next(Ip6RewriteNext::Fragment));
        }
        (!fits).then(|| self.report(packet, IcmpRequest::ip6_packet_too_big(mtu as u32)))
    }

    #[cold]
    fn report(&self, packet: &mut Packet<'_>, request: IcmpRequest) -> Ip6Verdict {
        packet.set_field(&self.icmp, request);
        Verdict::Next(Ip6RewriteNext::IcmpError)
    }
}
