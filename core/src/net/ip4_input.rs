//! `ip4-input`: checks what came in, and sends plain packets all the way to `interface-output` in one pass.
//!
//! The plain case (see [`ip4_check::plain`] and [`PlainHop`]) is a packet without features in its way, for a neighbour that
//! is known: checks, lookup and rewrite touch it once. All others, and traced ones, go by the arc `ip4-unicast` to `ip4-lookup`
//! and `ip4-rewrite`, which do the same by the same functions.
#![forbid(unsafe_code)]

use std::sync::Arc;

use raddle_plugin_api::abi::FRAME_SIZE;
use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::Ip4Header;

use super::fib::LeafIndex;
use super::flow_hash::ip4_flow_hash;
use super::forwarding::ForwardingTables;
use super::ip4_check::{self, Ip4Audience, Ip4InputError, PlainIp4};
use super::ip4_trace::Ip4Trace;
use super::plain_hop::PlainHop;
use super::table_cache::TableCache;

arc! { "ip4-unicast", end: "ip4-lookup" }
arc! { "ip4-multicast", end: "ip4-multicast-lookup" }

next! {
    /// Where packets go.
    pub enum Ip4InputNext {
        Lookup => "ip4-lookup",
        MulticastLookup => "ip4-multicast-lookup",
        Local => "ip4-local",
        Output => "interface-output",
    }
}

type Ip4Verdict = Verdict<Ip4InputNext, Ip4InputError>;

/// The node.
pub struct Ip4Input {
    steps: Steps,
    cache: TableCache<u32>,
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
    /// No feature is on the arc `ip4-unicast`.
    is_plain: bool,
}

impl Node for Ip4Input {
    const NAME: &'static str = "ip4-input";
    type Next = Ip4InputNext;
    type Error = Ip4InputError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        let steps = Steps {
            tables: init.resource()?,
            unicast: init.arc("ip4-unicast")?,
            multicast: init.arc("ip4-multicast")?,
            output: init.arc("ip4-output")?,
        };
        Ok(Self { steps, cache: TableCache::default() })
    }

    fn process(&mut self, mut vector: Vector<'_, Self>) {
        let Self { steps, cache } = self;
        cache.renew(&steps.tables.ip4, vector.env().worker());
        let mut port = steps.port(vector.env(), vector.interface().unwrap_or(InterfaceIndex::NONE));
        let mut hop = PlainHop::none();
        if steps.tables.ip4_is_large() && vector.interface().is_some() && port.is_plain {
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

node!(Ip4Input);

impl Steps {
    fn port(&self, env: &Env<'_, Ip4Input>, interface: InterfaceIndex) -> Port {
        let fib = env.worker().interface(interface).map_or(0, |row| row.ip4_fib());
        Port { interface, fib, is_plain: env.arc_mask(self.unicast, interface) == 0 }
    }

    /// The leaves of all packets' destinations, with all their cache misses in flight at once. Packets too short to have one
    /// get any: they do not use it.
    fn look_up_frame(
        &self,
        vector: &mut Vector<'_, Ip4Input>,
        cache: &TableCache<u32>,
        fib: u32,
    ) -> [LeafIndex; FRAME_SIZE] {
        let mut leaves = [0; FRAME_SIZE];
        let mut destinations = [0; FRAME_SIZE];
        let count = vector.len().min(FRAME_SIZE);
        vector.scan(|position, packet| {
            if let (Some((header, _)), Some(slot)) =
                (Ip4Header::parse(packet.bytes()), destinations.get_mut(position))
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
        env: &Env<'_, Ip4Input>,
        packet: &mut Packet<'_>,
        port: &Port,
        hop: &mut PlainHop,
        leaf_of: impl FnOnce(u32) -> LeafIndex,
    ) -> Ip4Verdict {
        if port.is_plain
            && let Some(PlainIp4 { length, destination }) = ip4_check::plain(packet)
        {
            let leaf = leaf_of(destination);
            let adjacency = self.tables.leaves.adjacency(leaf, || ip4_flow_hash(packet.bytes()));
            hop.turn_to(adjacency, &self.tables.adjacencies, self.output, env);
            if hop.takes(packet, length) {
                // `plain` has seen a header with hops left.
                let decremented = Ip4Header::parse_mut(packet.bytes_mut())
                    .is_some_and(|(header, _)| header.decrement_ttl());
                debug_assert!(decremented);
                return if hop.apply(packet) {
                    Verdict::Next(Ip4InputNext::Output)
                } else {
                    Verdict::Drop(Ip4InputError::NoHeadroom)
                };
            }
        }
        self.long_way(env, packet, port)
    }

    /// The checks alone; what follows is done by other nodes.
    #[cold]
    #[inline(never)]
    fn long_way(&self, env: &Env<'_, Ip4Input>, packet: &mut Packet<'_>, port: &Port) -> Ip4Verdict {
        env.trace(packet, || Ip4Trace::of(packet));
        packet.mark_l3();
        packet.set_fib_index(port.fib);
        match ip4_check::check(packet) {
            Ok(Ip4Audience::Unicast) => {
                env.enter_arc(self.unicast, port.interface, packet, Verdict::Next(Ip4InputNext::Lookup))
            }
            Ok(Ip4Audience::Multicast) => env.enter_arc(
                self.multicast,
                port.interface,
                packet,
                Verdict::Next(Ip4InputNext::MulticastLookup),
            ),
            Ok(Ip4Audience::Broadcast) => Verdict::Next(Ip4InputNext::Local),
            Err(reason) => Verdict::Drop(reason),
        }
    }
}
