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
use super::forwarding::ForwardingTables;
use super::ip4_check::{self, Ip4Audience, Ip4InputError, PlainIp4};
use super::ip4_trace::Ip4Trace;
use super::plain_hop::PlainHop;
use super::port_policy::PortPolicies;
use super::table_cache::TableCache;

arc! { "ip4-unicast", end: "ip4-lookup" }
arc! { "ip4-multicast", end: "ip4-multicast-lookup" }

next! {
    /// Where packets go.
    pub enum Ip4InputNext {
        Lookup => "ip4-lookup",
        MulticastLookup => "ip4-multicast-lookup",
        Local => "ip4-local",
        Options => "ip4-options",
        Output => "interface-output",
        Rewrite => "ip4-rewrite",
        Reassembly => "ip4-reassembly-feature",
        VirtualReassembly => "ip4-virtual-reassembly",
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
    /// Features on the arc `ip4-unicast`.
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

impl Node for Ip4Input {
    const NAME: &'static str = "ip4-input";
    type Next = Ip4InputNext;
    type Error = Ip4InputError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        let steps = Steps {
            tables: init.resource()?,
            policies: init.resource()?,
            unicast: init.arc("ip4-unicast")?,
            multicast: init.arc("ip4-multicast")?,
            output: init.arc("ip4-output")?,
        };
        Ok(Self { steps, cache: TableCache::default() })
    }

    fn process(&mut self, mut vector: Vector<'_, Self>) {
        let Self { steps, cache } = self;
        cache.renew(&steps.tables.ip4, vector.env().worker());
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
        } else if steps.tables.ip4_is_large() {
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

node!(Ip4Input);

impl Steps {
    #[inline(never)]
    fn port(&self, env: &Env<'_, Ip4Input>, interface: InterfaceIndex) -> Port {
        let fib = env.worker().interface(interface).map_or(0, |row| row.ip4_fib());
        let features = env.arc_mask(self.unicast, interface);
        let others = env.features_without(self.unicast, features, Ip4InputNext::VirtualReassembly);
        Port {
            interface,
            fib,
            features,
            of_whole: env.features_without(self.unicast, others, Ip4InputNext::Reassembly),
            redirecting: self.policies.redirecting(interface),
        }
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

    /// The whole way to `interface-output`, for the packets that can go it here.
    #[inline(always)]
    fn plain(
        &self,
        env: &Env<'_, Ip4Input>,
        packet: &mut Packet<'_>,
        port: &Port,
        hop: &mut PlainHop,
        leaf_of: impl FnOnce(u32) -> LeafIndex,
    ) -> Option<Ip4Verdict> {
        let PlainIp4 { length, destination } = ip4_check::plain(packet)?;
        if port.features_of(packet) != 0 {
            return None;
        }
        let leaf = leaf_of(destination);
        let adjacency = self.tables.leaves.adjacency(leaf, || self.tables.flow_hash.ip4(packet.bytes()));
        hop.turn_to(adjacency, &self.tables.adjacencies, self.output, env);
        if !hop.takes(length) {
            // A tunnel, features, a packet that is too long: what is left to do is done by the rewrite. GSO packets may be taken all the same.
            let next = match (hop.is_local(), hop.rewrites() && !packet.is_gso()) {
                (true, _) => Ip4InputNext::Local,
                (_, true) => Ip4InputNext::Rewrite,
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
        env: &Env<'_, Ip4Input>,
        packet: &mut Packet<'_>,
        port: &Port,
    ) -> Option<Ip4Verdict> {
        let PlainIp4 { destination, .. } = ip4_check::plain(packet)?;
        if !ip4_check::is_unicast_destination(destination) {
            return None;
        }
        packet.mark_l3();
        packet.set_fib_index(port.fib);
        Some(env.enter_features(self.unicast, port.features_of(packet), packet))
    }

    /// Sends a packet with hops left by its hop.
    #[inline(always)]
    fn send(packet: &mut Packet<'_>, hop: &PlainHop) -> Ip4Verdict {
        // There is a header: `plain` has seen it.
        if let Some(bytes) = packet.bytes_mut().first_chunk_mut() {
            let decremented = Ip4Header::of_mut(bytes).decrement_ttl();
            debug_assert!(decremented);
        }
        if hop.apply(packet) {
            Verdict::Next(Ip4InputNext::Output)
        } else {
            Verdict::Drop(Ip4InputError::NoHeadroom)
        }
    }

    /// What is not plain, or too large for its hop, as GSO packets are: those may go on here all the same.
    #[cold]
    #[inline(never)]
    fn other(
        &self,
        env: &Env<'_, Ip4Input>,
        packet: &mut Packet<'_>,
        port: &Port,
        cache: &TableCache<u32>,
    ) -> Ip4Verdict {
        if port.of_whole == 0
            && packet.is_gso()
            && let Some(PlainIp4 { destination, .. }) = ip4_check::plain(packet)
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
    fn hop(&self, env: &Env<'_, Ip4Input>, packet: &Packet<'_>, port: &Port, leaf: LeafIndex) -> PlainHop {
        let adjacency = self.tables.leaves.adjacency(leaf, || self.tables.flow_hash.ip4(packet.bytes()));
        let mut hop = port.no_hop();
        hop.turn_to(adjacency, &self.tables.adjacencies, self.output, env);
        hop
    }

    /// The checks alone; what follows is done by other nodes.
    fn long_way(&self, env: &Env<'_, Ip4Input>, packet: &mut Packet<'_>, port: &Port) -> Ip4Verdict {
        env.trace(packet, || Ip4Trace::of(packet));
        packet.mark_l3();
        packet.set_fib_index(port.fib);
        match ip4_check::check(packet) {
            Ok(_) if has_options(packet) => Verdict::Next(Ip4InputNext::Options),
            Ok(Ip4Audience::Unicast) => match port.features_of(packet) {
                0 => Verdict::Next(Ip4InputNext::Lookup),
                features => env.enter_features(self.unicast, features, packet),
            },
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

fn has_options(packet: &Packet<'_>) -> bool {
    Ip4Header::parse(packet.bytes()).is_some_and(|(header, _)| header.has_options())
}

/// Whether a packet is a fragment, which alone some features are for.
#[inline(always)]
fn is_fragment(packet: &Packet<'_>) -> bool {
    Ip4Header::parse(packet.bytes()).is_none_or(|(header, _)| header.is_fragment())
}
