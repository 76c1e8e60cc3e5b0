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
use super::forwarding::ForwardingTables;
use super::ip6_check::{self, Ip6Audience, Ip6InputError, PlainIp6};
use super::ip6_trace::Ip6Trace;
use super::plain_hop::PlainHop;
use super::port_policy::PortPolicies;
use super::table_cache::TableCache;

arc! { "ip6-unicast", end: "ip6-lookup" }
arc! { "ip6-multicast", end: "ip6-multicast-lookup" }

next! {
    /// Where packets go.
    pub enum Ip6InputNext {
        Lookup => "ip6-lookup",
        MulticastLookup => "ip6-multicast-lookup",
        Output => "interface-output",
        Rewrite => "ip6-rewrite",
        Local => "ip6-local",
        Reassembly => "ip6-reassembly-feature",
        VirtualReassembly => "ip6-virtual-reassembly",
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
    policies: Arc<PortPolicies>,
    unicast: ArcIndex,
    multicast: ArcIndex,
    output: ArcIndex,
}

/// What a packet's rx interface says.
#[derive(Clone, Copy)]
struct Port {
    interface: InterfaceIndex,
    fib: u32,
    /// Features on the arc `ip6-unicast`.
    features: u64,
    /// Those of them that look at whole packets too, not at fragments alone.
    of_whole: u64,
    /// The interface, if hosts there are redirected: what leaves by it is not plain.
    redirecting: InterfaceIndex,
}

impl Port {
    /// The features of this packet.
    #[inline(always)]
    fn features_of(&self, packet: &Packet<'_>) -> u64 {
        if self.features == self.of_whole || !is_fragment(packet) { self.of_whole } else { self.features }
    }

    /// No hop yet, for packets that came in here.
    fn no_hop(&self) -> PlainHop {
        PlainHop::none(self.redirecting)
    }
}

impl Node for Ip6Input {
    const NAME: &'static str = "ip6-input";
    type Next = Ip6InputNext;
    type Error = Ip6InputError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        let steps = Steps {
            tables: init.resource()?,
            policies: init.resource()?,
            unicast: init.arc("ip6-unicast")?,
            multicast: init.arc("ip6-multicast")?,
            output: init.arc("ip6-output")?,
        };
        Ok(Self { steps, cache: TableCache::default() })
    }

    fn process(&mut self, mut vector: Vector<'_, Self>) {
        let Self { steps, cache } = self;
        cache.renew(&steps.tables.ip6, vector.env().worker());
        let Some(interface) = vector.interface() else {
            let mut port = steps.port(vector.env(), InterfaceIndex::NONE);
            let mut hop = port.no_hop();
            return vector.each(|env, packet| {
                if packet.rx_interface() != port.interface {
                    port = steps.port(env, packet.rx_interface());
                    hop = port.no_hop();
                }
                let lookup = |destination| cache.lookup(port.fib, destination);
                let verdict =
                    if port.of_whole == 0 { steps.plain(env, packet, &port, &mut hop, lookup) } else { None };
                verdict.unwrap_or_else(|| steps.other(env, packet, &port, cache))
            });
        };
        let port = steps.port(vector.env(), interface);
        let mut hop = port.no_hop();
        let other =
            |env: &Env<'_, Self>, _: usize, packet: &mut Packet<'_>| steps.other(env, packet, &port, cache);
        if port.of_whole != 0 {
            vector.each_plain(
                #[inline(always)]
                |env, _, packet| steps.to_features(env, packet, &port),
                other,
            );
        } else if steps.tables.ip6_is_large() {
            let leaves = steps.look_up_frame(&mut vector, cache, port.fib);
            vector.each_plain(
                #[inline(always)]
                |env, position, packet| {
                    // A frame holds at most `FRAME_SIZE` packets.
                    let leaf = leaves[position % FRAME_SIZE];
                    steps.plain(env, packet, &port, &mut hop, |_| leaf)
                },
                other,
            );
        } else {
            let table = cache.get(port.fib);
            vector.each_plain(
                #[inline(always)]
                |env, _, packet| {
                    steps.plain(
                        env,
                        packet,
                        &port,
                        &mut hop,
                        #[inline(always)]
                        |destination| table.map_or(0, |table| table.lookup(destination)),
                    )
                },
                other,
            );
        }
    }
}

node!(Ip6Input);

impl Steps {
    #[inline(never)]
    fn port(&self, env: &Env<'_, Ip6Input>, interface: InterfaceIndex) -> Port {
        let fib = env.worker().interface(interface).map_or(0, |row| row.ip6_fib());
        let features = env.arc_mask(self.unicast, interface);
        let others = env.features_without(self.unicast, features, Ip6InputNext::VirtualReassembly);
        Port {
            interface,
            fib,
            features,
            of_whole: env.features_without(self.unicast, others, Ip6InputNext::Reassembly),
            redirecting: self.policies.redirecting(interface),
        }
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

    /// The whole way to `interface-output`, for the packets that can go it here.
    #[inline(always)]
    fn plain(
        &self,
        env: &Env<'_, Ip6Input>,
        packet: &mut Packet<'_>,
        port: &Port,
        hop: &mut PlainHop,
        leaf_of: impl FnOnce(u128) -> LeafIndex,
    ) -> Option<Ip6Verdict> {
        let PlainIp6 { length, destination } = ip6_check::plain(packet)?;
        if port.features_of(packet) != 0 {
            return None;
        }
        let leaf = leaf_of(destination);
        let adjacency = self.tables.leaves.adjacency(leaf, || self.tables.flow_hash.ip6(packet.bytes()));
        hop.turn_to(adjacency, &self.tables.adjacencies, self.output, env);
        if !hop.takes(length) {
            // A tunnel, features, a packet that is too long: what is left to do is done by the rewrite. GSO packets may be taken all the same.
            let next = match (hop.is_local(), hop.rewrites() && !packet.is_gso()) {
                (true, _) => Ip6InputNext::Local,
                (_, true) => Ip6InputNext::Rewrite,
                _ => return None,
            };
            packet.mark_l3();
            packet.set_fib_index(port.fib);
            packet.set_adjacency(adjacency);
            return Some(Verdict::Next(next));
        }
        Some(Self::send(packet, hop))
    }

    /// To the features of the interface, for the packets of which the checks are soon done.
    #[inline(always)]
    fn to_features(
        &self,
        env: &Env<'_, Ip6Input>,
        packet: &mut Packet<'_>,
        port: &Port,
    ) -> Option<Ip6Verdict> {
        let PlainIp6 { destination, .. } = ip6_check::plain(packet)?;
        // Neither unspecified nor loopback, which the checks refuse.
        if destination <= 1 {
            return None;
        }
        packet.mark_l3();
        packet.set_fib_index(port.fib);
        Some(env.enter_features(self.unicast, port.features_of(packet), packet))
    }

    /// Sends a packet with hops left by its hop.
    #[inline(always)]
    fn send(packet: &mut Packet<'_>, hop: &PlainHop) -> Ip6Verdict {
        // There is a header: `plain` has seen it.
        if let Some(bytes) = packet.bytes_mut().first_chunk_mut() {
            let decremented = Ip6Header::of_mut(bytes).decrement_hop_limit();
            debug_assert!(decremented);
        }
        if hop.apply(packet) {
            Verdict::Next(Ip6InputNext::Output)
        } else {
            Verdict::Drop(Ip6InputError::NoHeadroom)
        }
    }

    /// What is not plain, or too large for its hop, as GSO packets are: those may go on here all the same.
    #[cold]
    #[inline(never)]
    fn other(
        &self,
        env: &Env<'_, Ip6Input>,
        packet: &mut Packet<'_>,
        port: &Port,
        cache: &TableCache<u128>,
    ) -> Ip6Verdict {
        if port.of_whole == 0
            && packet.is_gso()
            && let Some(PlainIp6 { destination, .. }) = ip6_check::plain(packet)
        {
            let leaf = cache.lookup(port.fib, destination);
            let hop = self.hop(env, packet, port, leaf);
            if hop.takes_large(packet) {
                return Self::send(packet, &hop);
            }
        }
        self.long_way(env, packet, port)
    }

    /// The hop of a leaf for this packet's flow.
    fn hop(&self, env: &Env<'_, Ip6Input>, packet: &Packet<'_>, port: &Port, leaf: LeafIndex) -> PlainHop {
        let adjacency = self.tables.leaves.adjacency(leaf, || self.tables.flow_hash.ip6(packet.bytes()));
        let mut hop = port.no_hop();
        hop.turn_to(adjacency, &self.tables.adjacencies, self.output, env);
        hop
    }

    /// The checks alone; what follows is done by other nodes.
    fn long_way(&self, env: &Env<'_, Ip6Input>, packet: &mut Packet<'_>, port: &Port) -> Ip6Verdict {
        env.trace(packet, || Ip6Trace::of(packet));
        packet.mark_l3();
        packet.set_fib_index(port.fib);
        match ip6_check::check(packet) {
            Ok(Ip6Audience::Unicast) => match port.features_of(packet) {
                0 => Verdict::Next(Ip6InputNext::Lookup),
                features => env.enter_features(self.unicast, features, packet),
            },
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

/// Whether a packet may be a fragment, which alone some features are for: extension headers may tell.
#[inline(always)]
fn is_fragment(packet: &Packet<'_>) -> bool {
    Ip6Header::parse(packet.bytes()).is_none_or(|(header, _)| header.next_header().is_extension())
}
