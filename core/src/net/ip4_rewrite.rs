//! `ip4-rewrite`: takes one hop off and puts the adjacency's header in front.
#![forbid(unsafe_code)]

use std::sync::Arc;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::Ip4Header;

use super::adjacency::AdjacencyKind;
use super::forwarding::ForwardingTables;
use super::icmp_field::{IcmpRequest, icmp_field};
use super::ip4_options::OptionFiller;
use super::ip4_trace::Ip4Trace;
use super::mtu;
use super::redirect::RedirectOffers;
use super::rewrite::put_in_front;

arc! { "ip4-output", end: "interface-output" }

next! {
    /// Where packets go.
    pub enum Ip4RewriteNext {
        Output => "interface-output",
        Neighbor => "ip4-neighbor",
        IcmpError => "ip4-icmp-error",
        Redirect => "ip4-redirect",
        Fragment => "ip4-fragment",
    }
}

error! {
    /// Why packets are dropped.
    pub enum Ip4RewriteError {
        Truncated => "truncated": "shorter than an IPv4 header",
        NoAdjacency => "no-adjacency": "the adjacency was removed while the packet was on its way",
        NoHeadroom => "no-headroom": "no room for the link-layer header",
    }
}

type Ip4Verdict = Verdict<Ip4RewriteNext, Ip4RewriteError>;

/// The node.
pub struct Ip4Rewrite {
    tables: Arc<ForwardingTables>,
    output: ArcIndex,
    icmp: Field<IcmpRequest>,
    options: OptionFiller,
    redirects: RedirectOffers,
}

impl Node for Ip4Rewrite {
    const NAME: &'static str = "ip4-rewrite";
    type Next = Ip4RewriteNext;
    type Error = Ip4RewriteError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self {
            tables: init.resource()?,
            output: init.arc("ip4-output")?,
            icmp: icmp_field(init)?,
            options: OptionFiller::new(init)?,
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

node!(Ip4Rewrite);

impl Ip4Rewrite {
    #[inline(always)]
    fn rewrite(&mut self, env: &Env<'_, Self>, packet: &mut Packet<'_>) -> Ip4Verdict {
        let adjacency = self.tables.adjacencies.get(packet.adjacency());
        match adjacency.kind() {
            AdjacencyKind::Rewrite | AdjacencyKind::Watched => {}
            AdjacencyKind::Incomplete => return Verdict::Next(Ip4RewriteNext::Neighbor),
            _ => return Verdict::Drop(Ip4RewriteError::NoAdjacency),
        }
        let Some((header, _)) = Ip4Header::parse(packet.bytes()) else {
            return Verdict::Drop(Ip4RewriteError::Truncated);
        };
        let (ttl, dont_fragment, is_local) = (header.ttl(), header.dont_fragment(), packet.is_local());
        let has_options = header.has_options();
        if ttl <= 1 && !is_local {
            return self.report(packet, IcmpRequest::IP4_TIME_EXCEEDED);
        }
        if !mtu::fits(packet, adjacency.mtu()) {
            if !dont_fragment {
                return Verdict::Next(Ip4RewriteNext::Fragment);
            }
            let mtu = adjacency.mtu() as u32;
            return self.report(packet, IcmpRequest::ip4_fragmentation_needed(mtu));
        }
        packet.mark_l3();
        // RFC 1812 §5.2.7.2: the packet goes on all the same.
        if adjacency.interface() == packet.rx_interface()
            && let Some(copy) = self.redirects.offer(env.worker(), packet)
        {
            env.send(copy, Verdict::Next(Ip4RewriteNext::Redirect));
        }
        if has_options
            && !is_local
            && let Err(at) = self.options.fill(env.worker(), adjacency.interface(), packet)
        {
            return self.report(packet, IcmpRequest::ip4_parameter_problem(at));
        }
        if !is_local && let Some((header, _)) = Ip4Header::parse_mut(packet.bytes_mut()) {
            // There is a hop left, as was seen above.
            let _ = header.decrement_ttl();
        }
        env.trace(packet, || Ip4Trace::with_adjacency(packet, packet.adjacency(), adjacency.kind()));
        if !put_in_front(packet, &adjacency) {
            return Verdict::Drop(Ip4RewriteError::NoHeadroom);
        }
        match adjacency.node() {
            Some(node) => Verdict::To(node),
            None => env.enter_arc(
                self.output,
                adjacency.interface(),
                packet,
                Verdict::Next(Ip4RewriteNext::Output),
            ),
        }
    }

    #[cold]
    fn report(&self, packet: &mut Packet<'_>, request: IcmpRequest) -> Ip4Verdict {
        packet.set_field(&self.icmp, request);
        Verdict::Next(Ip4RewriteNext::IcmpError)
    }
}
