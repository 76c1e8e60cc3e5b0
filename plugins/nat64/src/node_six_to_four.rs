//! `nat64-6to4`, `nat64-6to4-routed`: packets from inside leave as IPv4 (RFC 6146 §3.5, RFC 7915 §5).
//!
//! The first is a feature on `ip6-unicast` and lets go on what is not for a NAT64 prefix. To the second one routes to the prefixes lead: what
//! raddle itself says to hosts outside, such as ICMP errors, comes there.

use std::marker::PhantomData;
use std::sync::Arc;

use raddle_plugin_api::abi::FRAME_SIZE;
use raddle_plugin_api::icmp_error::{IcmpRequest, icmp_field};
use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::checksum::{Delta, Sum};
use raddle_plugin_api::wire::{Ip4Address, Ip6Header, Ip6Upper, IpProtocol, TcpFlags};
use raddle_plugin_api::{L4Ports, Packet};

use crate::flow::{Plain, Upper, fragment, is_host4, plain6, whole};
use crate::hand_off::hand_off;
use crate::reason::Nat64Error;
use crate::rewrite::{To4, UpperChange, any_to4, plain_to4};
use crate::seen::{AHEAD, Seen};
use crate::service::{Count, Local, Nat64, ticks};
use crate::state::{Flow6, FoundPrefix, Protocol, Refusal, Rules, Side, Ticks};
use crate::trace::Translation;
use crate::translate::{is_non_global, pseudo4, pseudo6};

next! {
    /// Where packets go.
    pub enum SixToFourNext {
        Lookup => "ip4-lookup",
        Hairpin => "nat64-4to6-routed",
        IcmpError => "ip6-icmp-error",
    }
}

pub(crate) type Out = Verdict<SixToFourNext, Nat64Error>;

/// How packets come to a node.
pub trait Way: Send + 'static {
    /// Name of the node.
    const NAME6: &'static str;
    /// Name of the node of the other direction.
    const NAME4: &'static str;
    /// What becomes of packets that are not for the translator.
    const IS_ROUTED: bool;
}

/// As a feature.
pub enum Feature {}

/// By a route.
pub enum Routed {}

impl Way for Feature {
    const NAME6: &'static str = "nat64-6to4";
    const NAME4: &'static str = "nat64-4to6";
    const IS_ROUTED: bool = false;
}

impl Way for Routed {
    const NAME6: &'static str = "nat64-6to4-routed";
    const NAME4: &'static str = "nat64-4to6-routed";
    const IS_ROUTED: bool = true;
}

/// The node.
pub struct SixToFour<W> {
    seen: Box<[Seen<Flow6>; FRAME_SIZE]>,
    steps: Steps<W>,
}

/// All but the packets of the frame at hand.
pub(crate) struct Steps<W> {
    pub(crate) nat: Arc<Nat64>,
    ports: Field<L4Ports>,
    icmp: Field<IcmpRequest>,
    way: PhantomData<fn() -> W>,
}

/// What a frame's packets have in common.
struct Pass<'p, 'a, 'm> {
    rules: &'p Rules,
    local: &'p mut Local<'a, 'm>,
    seen: &'p mut [Seen<Flow6>; FRAME_SIZE],
    now: Ticks,
    /// FIB index for IPv4 of the interface by which all of the frame's packets came, if it is one.
    table: Option<u32>,
    translated: u64,
}

impl<W: Way> Node for SixToFour<W> {
    const NAME: &'static str = W::NAME6;
    type Next = SixToFourNext;
    type Error = Nat64Error;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        let steps = Steps {
            nat: init.resource()?,
            ports: L4Ports::field(init)?,
            icmp: icmp_field(init)?,
            way: PhantomData,
        };
        Ok(Self { seen: Seen::frame(Flow6::NONE), steps })
    }

    fn process(&mut self, mut vector: Vector<'_, Self>) {
        let worker = vector.worker();
        let Self { seen, steps } = self;
        let rules = steps.nat.rules.read(&worker);
        let now = ticks(worker.now_ns());
        let interface = vector.interface().and_then(|interface| worker.interface(interface));
        let table = interface.map(|interface| interface.ip4_fib());
        let translated = steps.nat.with(&worker, |local| {
            // First all lines of the index are fetched; sessions then come ahead of their packets.
            vector.scan(|position, packet| {
                let plain = plain6(rules, packet).map(|plain| (local.shard.hash(&plain.flow), plain));
                if let Some((hash, _)) = plain {
                    local.shard.prefetch6(hash);
                }
                seen[position % FRAME_SIZE].note(plain);
            });
            let count = vector.len();
            let mut pass = Pass { rules, local, seen, now, table, translated: 0 };
            (0..AHEAD.min(count)).for_each(|position| pass.look_ahead(position));
            vector.each_plain_with(
                &mut pass,
                #[inline(always)]
                |_, position, packet, pass| {
                    pass.look_ahead(position + AHEAD);
                    pass.usual(position, packet).map(Verdict::Next)
                },
                |env, position, packet, pass| {
                    if let Some(owner) = pass.other_owner(position, &steps.nat, env.worker()) {
                        return hand_off(&steps.nat, env, packet, owner);
                    }
                    let verdict = steps.other(env, packet, pass.rules, pass.local, pass.now);
                    pass.translated += u64::from(matches!(
                        verdict,
                        Verdict::Next(SixToFourNext::Lookup | SixToFourNext::Hairpin)
                    ));
                    verdict
                },
            );
            pass.translated
        });
        steps.nat.count(&worker, Count::To4, translated);
    }
}

node!(SixToFour<Feature>);
node!(SixToFour<Routed>);

impl Pass<'_, '_, '_> {
    /// Has the session fetched that a packet probably is of.
    #[inline(always)]
    fn look_ahead(&mut self, position: usize) {
        let seen = &mut self.seen[position % FRAME_SIZE];
        seen.number = self.local.shard.likely6(seen.hash).unwrap_or(u32::MAX);
    }

    /// The other thread that has the sessions of a packet of the usual kind: with several workers that is the rule, so nothing
    /// is read again of such a packet. What else is to be said of it, its owner says.
    #[inline(always)]
    fn other_owner(&self, position: usize, nat: &Nat64, worker: &Worker<'_>) -> Option<u32> {
        let seen = &self.seen[position % FRAME_SIZE];
        // What has no session can be translated anywhere (RFC 7757).
        if !seen.is_plain || !self.rules.eam.is_empty() {
            return None;
        }
        let owner = nat.owner_of_inside(worker, self.rules, seen.plain.flow.inside);
        (owner != worker.thread_index()).then_some(owner)
    }

    /// A packet of a session that is there, of the usual kind, on its way. `None`: it is as it was.
    #[inline(always)]
    fn usual(&mut self, position: usize, packet: &mut Packet<'_>) -> Option<SixToFourNext> {
        let Seen { plain: Plain { flow, flags, prefix }, number, is_plain, .. } =
            &self.seen[position % FRAME_SIZE];
        if !is_plain {
            return None;
        }
        let shard = &mut *self.local.shard;
        let session = shard.use_if6(*number, flow, *flags, self.now, &self.rules.timeouts)?;
        let own =
            if self.rules.has_tables() { self.rules.tenant(session.tenant).outside_table } else { None };
        let table = own.or(self.table)?;
        if session.prefix != *prefix {
            return None;
        }
        let (change, remote) = (To4::plain(session, flow.protocol), session.remote);
        plain_to4(packet, &change, self.local.identification)?;
        packet.set_fib_index(table);
        self.translated += 1;
        Some(if self.rules.is_ours(remote) { SixToFourNext::Hairpin } else { SixToFourNext::Lookup })
    }
}

impl<W: Way> Steps<W> {
    /// Where an IPv4 packet goes: to whom it is for, or back inside.
    pub(crate) fn leave(
        &self,
        env: &Env<'_, SixToFour<W>>,
        packet: &mut Packet<'_>,
        rules: &Rules,
        tenant: u8,
    ) -> Out {
        let of_interface =
            || env.worker().interface(packet.rx_interface()).map(|interface| interface.ip4_fib());
        if let Some(table) = rules.tenant(tenant).outside_table.or_else(of_interface) {
            packet.set_fib_index(table);
        }
        let destination = packet.bytes().get(16..20).and_then(|bytes| bytes.first_chunk()).copied();
        if destination.is_some_and(|bytes| rules.is_ours(Ip4Address(bytes))) {
            return Verdict::Next(SixToFourNext::Hairpin);
        }
        Verdict::Next(SixToFourNext::Lookup)
    }

    #[cold]
    #[inline(never)]
    fn other(
        &self,
        env: &Env<'_, SixToFour<W>>,
        packet: &mut Packet<'_>,
        rules: &Rules,
        local: &mut Local<'_, '_>,
        now: Ticks,
    ) -> Out {
        let Some((ip, _)) = Ip6Header::parse(packet.bytes()) else {
            return Verdict::Drop(Nat64Error::Malformed);
        };
        let ip = *ip;
        let table = packet.fib_index();
        let Some(prefix) = rules.prefix_of(ip.destination(), table) else {
            return if W::IS_ROUTED { Verdict::Drop(Nat64Error::NotOurs) } else { Verdict::Continue };
        };
        // RFC 6146 §3.5: what claims to come from outside already would turn in circles. raddle's own errors do not.
        if rules.prefix_of(ip.source(), table).is_some()
            || !ip.source().is_valid_source()
            || (ip.source().is_link_local() && !packet.is_local())
        {
            return Verdict::Drop(Nat64Error::IllegalSource);
        }
        let of = rules.prefix(prefix.number);
        let remote = of.extract(ip.destination());
        if !is_host4(remote) {
            return Verdict::Drop(Nat64Error::IllegalDestination);
        }
        if !rules.translate_non_global && of.is_well_known() && is_non_global(remote) {
            return Verdict::Drop(Nat64Error::NonGlobal);
        }
        if ip.hop_limit() <= 1 && !packet.is_local() {
            return self.tell(packet, IcmpRequest::IP6_TIME_EXCEEDED);
        }
        let length = ip.total_length().min(packet.bytes().len());
        let Ok(found) = Ip6Upper::find(&packet.bytes()[..length]) else {
            return Verdict::Drop(Nat64Error::Malformed);
        };
        if let Some(routing) = found.routing.filter(|routing| routing.segments_left != 0) {
            // RFC 7915 §5.1: to the field "segments left".
            return self.tell(packet, IcmpRequest::ip6_erroneous_header(routing.header_at as u32 + 3));
        }
        let protocol = Protocol::of_ip6(found.protocol);
        if protocol.is_none() {
            // RFC 6146 §3.4.
            return self.tell(packet, IcmpRequest::IP6_PORT_UNREACHABLE);
        }
        let upper = if found.is_fragment() {
            fragment(protocol, packet, &self.ports)
        } else {
            whole(protocol, packet.bytes(), found.offset)
        };
        match upper {
            Err(reason) => Verdict::Drop(reason),
            Ok(Upper::Error) => self.error(env, packet, rules, local, (&found, prefix)),
            Ok(Upper::Flow { protocol, source, destination, flags }) => {
                if let Some(outside) = rules.eam.to4(ip.source()) {
                    return self.stateless(env, packet, rules, local, &found, (outside, remote, protocol));
                }
                let flow = Flow6 {
                    inside: ip.source(),
                    inside_port: source,
                    remote,
                    remote_port: destination,
                    protocol,
                    tenant: prefix.tenant,
                };
                self.flow(env, packet, rules, local, (&found, &flow, prefix, flags), now)
            }
        }
    }

    fn flow(
        &self,
        env: &Env<'_, SixToFour<W>>,
        packet: &mut Packet<'_>,
        rules: &Rules,
        local: &mut Local<'_, '_>,
        of: (&Ip6Upper, &Flow6, FoundPrefix, TcpFlags),
        now: Ticks,
    ) -> Out {
        let (found, flow, prefix, flags) = of;
        let owner = self.nat.owner_of_inside(env.worker(), rules, flow.inside);
        if owner != env.worker().thread_index() {
            return hand_off(&self.nat, env, packet, owner);
        }
        let hash = local.shard.hash(flow);
        let number = match local.shard.find6(hash, flow) {
            Some(number) => number,
            None => match local.shard.open6(rules, flow, prefix.number, flags, now) {
                Ok(opened) => {
                    self.opened(env, local, &opened, now, rules);
                    opened.session
                }
                Err(refusal) => {
                    local.log.refused(&self.nat, env.worker(), flow, refusal, now);
                    return self.refuse(packet, refusal);
                }
            },
        };
        let Some(session) = local.shard.use_session(number, Side::Six, flags, now, &rules.timeouts) else {
            return Verdict::Drop(Nat64Error::NoSession);
        };
        if session.prefix != prefix.number {
            return Verdict::Drop(Nat64Error::OtherPrefix);
        }
        match any_to4(packet, found, &To4::of(session), local.identification) {
            Ok(()) => {
                env.trace(packet, || Translation::of(packet, Some(number)));
                self.leave(env, packet, rules, flow.tenant)
            }
            Err(unfit) => Verdict::Drop(unfit.into()),
        }
    }

    fn opened(
        &self,
        env: &Env<'_, SixToFour<W>>,
        local: &mut Local<'_, '_>,
        opened: &crate::state::Opened,
        now: Ticks,
        rules: &Rules,
    ) {
        let Some(session) = local.shard.session(opened.session).copied() else { return };
        // RFC 6146 §3.5.2.2: both sides began at once.
        if session.protocol() == Protocol::Tcp
            && let Some(syn) = local.held.take(&session.flow4())
        {
            env.worker().free(syn);
            local.shard.establish(opened.session, now, &rules.timeouts);
        }
        self.nat.opened(env.worker(), local, opened);
    }

    /// RFC 7757: without a session.
    fn stateless(
        &self,
        env: &Env<'_, SixToFour<W>>,
        packet: &mut Packet<'_>,
        rules: &Rules,
        local: &mut Local<'_, '_>,
        found: &Ip6Upper,
        to: (Ip4Address, Ip4Address, Protocol),
    ) -> Out {
        let (source, destination, protocol) = to;
        let Some((ip, _)) = Ip6Header::parse(packet.bytes()) else {
            return Verdict::Drop(Nat64Error::Malformed);
        };
        let (before, after) = (pseudo6(ip.source(), ip.destination()), pseudo4(source, destination));
        let pseudo_delta = Delta::between(before, after);
        let delta = if protocol == Protocol::Icmp {
            Delta::between(before.add_u16(IpProtocol::ICMP6.0.into()), Sum::new())
        } else {
            pseudo_delta
        };
        let upper = UpperChange { protocol, source: None, destination: None, delta, pseudo_delta };
        match any_to4(packet, found, &To4 { source, destination, upper }, local.identification) {
            Ok(()) => {
                env.trace(packet, || Translation::of(packet, None));
                self.leave(env, packet, rules, 0)
            }
            Err(unfit) => Verdict::Drop(unfit.into()),
        }
    }

    fn refuse(&self, packet: &mut Packet<'_>, refusal: Refusal) -> Out {
        match refusal {
            // RFC 6146 §3.5.1: address unreachable; so, too, what IPv4 calls "host unreachable" (RFC 6888 REQ-11 B).
            Refusal::NoPort | Refusal::TableFull | Refusal::SubscriberLimit => {
                self.tell(packet, IcmpRequest::IP6_ADDRESS_UNREACHABLE)
            }
            other => Verdict::Drop(other.into()),
        }
    }

    fn tell(&self, packet: &mut Packet<'_>, request: IcmpRequest) -> Out {
        packet.set_field(&self.icmp, request);
        Verdict::Next(SixToFourNext::IcmpError)
    }
}
