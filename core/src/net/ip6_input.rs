//! `ip6-input`: checks what came in, and sends plain packets all the way to `interface-output` in one pass.
//!
//! The plain case (see [`ip6_check::plain`] and [`PlainHop`]) is a packet without features in its way, for a neighbour that
//! is known: checks, lookup and rewrite touch it once. All others, and traced ones, go by the arc `ip6-unicast` to `ip6-lookup`
//! and `ip6-rewrite`, which do the same by the same functions.
#![forbid(unsafe_code)]

use std::sync::Arc;

use raddle_plugin_api::abi::FRAME_SIZE;
use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::Ip6Header;

use super::fib::LeafIndex;
use super::flow_hash::ip6_flow_hash;
use super::forwarding::ForwardingTables;
use super::ip6_check::{self, Ip6Audience, Ip6InputError, PlainIp6};
use super::ip6_trace::Ip6Trace;
use super::plain_hop::PlainHop;
use super::table_cache::TableCache;

arc! { "ip6-unicast", end: "ip6-lookup" }
arc! { "ip6-multicast", end: "ip6-multicast-lookup" }

next! {
    /// Where packets go.
    pub enum Ip6InputNext {
        Lookup => "ip6-lookup",
        MulticastLookup => "ip6-multicast-lookup",
        Output => "interface-output",
    }
}

type Ip6Verdict = Verdict<Ip6InputNext, Ip6InputError>;

/// The node.
pub struct Ip6Input {
    steps: Steps,
    cache: TableCache<u128>,
}

struct Steps {
    tables: Arc<ForwardingTables>,
    unicast: ArcIndex,
    multicast: ArcIndex,
    output: ArcIndex,
}

/// What a packet's rx interface says.
#[derive(Clone, Copy)]
struct Port {
    interface: InterfaceIndex,
    fib: u32,
    /// No feature is on the arc `ip6-unicast`.
    is_plain: bool,
}

impl Node for Ip6Input {
    const NAME: &'static str = "ip6-input";
    type Next = Ip6InputNext;
    type Error = Ip6InputError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        let steps = Steps {
            tables: init.resource()?,
            unicast: init.arc("ip6-unicast")?,
            multicast: init.arc("ip6-multicast")?,
            output: init.arc("ip6-output")?,
        };
        Ok(Self { steps, cache: TableCache::default() })
    }

    fn process(&mut self, mut vector: Vector<'_, Self>) {
        let Self { steps, cache } = self;
        cache.renew(&steps.tables.ip6, vector.env().worker());
        let mut port = steps.port(vector.env(), vector.interface().unwrap_or(InterfaceIndex::NONE));
        let mut hop = PlainHop::none();
        if steps.tables.ip6_is_large() && vector.interface().is_some() && port.is_plain {
            let leaves = steps.look_up_frame(&mut vector, cache, port.fib);
            vector.each_at(
                #[inline(always)]
                |env, position, packet| {
                    // A frame holds at most `FRAME_SIZE` packets.
                    let leaf = leaves[position % FRAME_SIZE];
                    steps.input(env, packet, &port, &mut hop, |_| leaf)
                },
            );
        } else {
            vector.each(
                #[inline(always)]
                |env, packet| {
                    if packet.rx_interface() != port.interface {
                        port = steps.port(env, packet.rx_interface());
                    }
                    let fib = port.fib;
                    steps.input(
                        env,
                        packet,
                        &port,
                        &mut hop,
                        #[inline(always)]
                        |destination| cache.lookup(fib, destination),
                    )
                },
            );
        }
    }
}

node!(Ip6Input);

impl Steps {
    fn port(&self, env: &Env<'_, Ip6Input>, interface: InterfaceIndex) -> Port {
        let fib = env.worker().interface(interface).map_or(0, |row| row.ip6_fib());
        Port { interface, fib, is_plain: env.arc_mask(self.unicast, interface) == 0 }
    }

    /// The leaves of all packets' destinations, with all their cache misses in flight at once. Packets too short to have one
    /// get any: they do not use it.
    fn look_up_frame(
        &self,
        vector: &mut Vector<'_, Ip6Input>,
        cache: &TableCache<u128>,
        fib: u32,
    ) -> [LeafIndex; FRAME_SIZE] {
        let mut leaves = [0; FRAME_SIZE];
        let mut destinations = [0; FRAME_SIZE];
        let count = vector.len().min(FRAME_SIZE);
        vector.scan(|position, packet| {
            if let (Some((header, _)), Some(slot)) =
                (Ip6Header::parse(packet.bytes()), destinations.get_mut(position))
            {
                *slot = header.destination().to_bits();
            }
        });
        if let Some(table) = cache.get(fib) {
            table.lookup_frame(&destinations[..count], &mut leaves[..count]);
        }
        for &leaf in &leaves[..count] {
            self.tables.leaves.prefetch(leaf);
        }
        leaves
    }

    #[inline(always)]
    fn input(
        &self,
        env: &Env<'_, Ip6Input>,
        packet: &mut Packet<'_>,
        port: &Port,
        hop: &mut PlainHop,
        leaf_of: impl FnOnce(u128) -> LeafIndex,
    ) -> Ip6Verdict {
        if port.is_plain
            && let Some(PlainIp6 { length, destination }) = ip6_check::plain(packet)
        {
            let leaf = leaf_of(destination);
            let adjacency = self.tables.leaves.adjacency(leaf, || ip6_flow_hash(packet.bytes()));
            hop.turn_to(adjacency, &self.tables.adjacencies, self.output, env);
            if hop.takes(packet, length) {
                // `plain` has seen a header with hops left.
                let decremented = Ip6Header::parse_mut(packet.bytes_mut())
                    .is_some_and(|(header, _)| header.decrement_hop_limit());
                debug_assert!(decremented);
                return if hop.apply(packet) {
                    Verdict::Next(Ip6InputNext::Output)
                } else {
                    Verdict::Drop(Ip6InputError::NoHeadroom)
                };
            }
        }
        self.long_way(env, packet, port)
    }

    /// The checks alone; what follows is done by other nodes.
    #[cold]
    #[inline(never)]
    fn long_way(&self, env: &Env<'_, Ip6Input>, packet: &mut Packet<'_>, port: &Port) -> Ip6Verdict {
        env.trace(packet, || Ip6Trace::of(packet));
        packet.mark_l3();
        packet.set_fib_index(port.fib);
        match ip6_check::check(packet) {
            Ok(Ip6Audience::Unicast) => {
                env.enter_arc(self.unicast, port.interface, packet, Verdict::Next(Ip6InputNext::Lookup))
            }
            Ok(Ip6Audience::Multicast) => env.enter_arc(
                self.multicast,
                port.interface,
                packet,
                Verdict::Next(Ip6InputNext::MulticastLookup),
            ),
            Err(reason) => Verdict::Drop(reason),
        }
    }
}
