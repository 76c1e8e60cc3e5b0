//! `nat64-4to6`, `nat64-4to6-routed`: packets to pool addresses go inside as IPv6 (RFC 6146 §3.5, RFC 7915 §4).

use std::marker::PhantomData;
use std::sync::Arc;

use raddle_plugin_api::abi::FRAME_SIZE;
use raddle_plugin_api::icmp_error::{IcmpRequest, icmp_field};
use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::checksum::{Delta, Sum};
use raddle_plugin_api::wire::{
    Ip4Address, Ip4Header, Ip6Address, Ip6FragmentHeader, Ip6Header, IpProtocol, TcpFlags,
};
use raddle_plugin_api::{L4Ports, Packet};

use crate::flow::{Plain, Upper, fragment, is_host4, plain4, whole};
use crate::hand_off::hand_off;
use crate::node_six_to_four::{Feature, Routed, Way};
use crate::reason::Nat64Error;
use crate::rewrite::{To6, UpperChange, any_from4, plain_to6};
use crate::seen::{AHEAD, Seen};
use crate::service::{Count, Local, Nat64, ticks};
use crate::state::{Flow4, Protocol, Refusal, Rules, Side, Ticks};
use crate::trace::Translation;
use crate::translate::{pseudo4, pseudo6};

next! {
    /// Where packets go.
    pub enum FourToSixNext {
        Lookup => "ip6-lookup",
        IcmpError => "ip4-icmp-error",
        Local => "ip4-lookup",
    }
}

pub(crate) type Out = Verdict<FourToSixNext, Nat64Error>;

/// How much longer the IPv6 header is.
const LONGER: usize = Ip6Header::LENGTH - Ip4Header::LENGTH;

/// Options that say the way (RFC 791 §3.1).
const SOURCE_ROUTES: [u8; 2] = [131, 137];

/// The node.
pub struct FourToSix<W> {
    seen: Box<[Seen<Flow4>; FRAME_SIZE]>,
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
    seen: &'p mut [Seen<Flow4>; FRAME_SIZE],
    now: Ticks,
    /// FIB index for IPv6 of the interface by which all of the frame's packets came, if it is one.
    table: Option<u32>,
    translated: u64,
}

impl<W: Way> Node for FourToSix<W> {
    const NAME: &'static str = W::NAME4;
    type Next = FourToSixNext;
    type Error = Nat64Error;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        let steps = Steps {
            nat: init.resource()?,
            ports: L4Ports::field(init)?,
            icmp: icmp_field(init)?,
            way: PhantomData,
        };
        Ok(Self { seen: Seen::frame(Flow4::NONE), steps })
    }

    fn process(&mut self, mut vector: Vector<'_, Self>) {
        let worker = vector.worker();
        let Self { seen, steps } = self;
        let rules = steps.nat.rules.read(&worker);
        let now = ticks(worker.now_ns());
        let interface = vector.interface().and_then(|interface| worker.interface(interface));
        let table = interface.map(|interface| interface.ip6_fib());
        let translated = steps.nat.with(&worker, |local| {
            vector.scan(|position, packet| {
                let plain = plain4(rules, packet).map(|plain| (local.shard.hash(&plain.flow), plain));
                if let Some((hash, _)) = plain {
                    local.shard.prefetch4(hash);
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
                    pass.translated += u64::from(verdict == Verdict::Next(FourToSixNext::Lookup));
                    verdict
                },
            );
            pass.translated
        });
        steps.nat.count(&worker, Count::To6, translated);
    }
}

node!(FourToSix<Feature>);
node!(FourToSix<Routed>);

impl Pass<'_, '_, '_> {
    /// Has the session fetched that a packet probably is of.
    #[inline(always)]
    fn look_ahead(&mut self, position: usize) {
        let seen = &mut self.seen[position % FRAME_SIZE];
        seen.number = self.local.shard.likely4(seen.hash).unwrap_or(u32::MAX);
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
        let flow = &seen.plain.flow;
        let owner = nat.owner_of_outside(worker, self.rules, flow.outside, flow.outside_port, flow.protocol);
        (owner != worker.thread_index()).then_some(owner)
    }

    /// A packet of a session that is there, of the usual kind and not to be cut, on its way. `None`: it is as it was.
    #[inline(always)]
    fn usual(&mut self, position: usize, packet: &mut Packet<'_>) -> Option<FourToSixNext> {
        let Seen { plain: Plain { flow, flags, .. }, number, is_plain, .. } =
            &self.seen[position % FRAME_SIZE];
        if !is_plain || may_need_cut(packet, self.rules) {
            return None;
        }
        let (rules, shard) = (self.rules, &mut *self.local.shard);
        let session = shard.use_if4(*number, flow, *flags, self.now, &rules.timeouts)?;
        let mut table = self.table;
        if rules.has_tables() {
            let tenant = rules.tenant(session.tenant);
            if tenant.outside_table.is_some_and(|own| own != packet.fib_index()) {
                return None;
            }
            table = tenant.inside_table.or(table);
        }
        let (table, source) = (table?, rules.embed(session.prefix, session.remote));
        plain_to6(packet, &To6::plain(session, flow.protocol, source))?;
        packet.set_fib_index(table);
        self.translated += 1;
        Some(FourToSixNext::Lookup)
    }
}

/// Whether the packet would be larger than every IPv6 link takes, and says that it may be cut (RFC 7915 §4).
#[inline(always)]
fn may_need_cut(packet: &Packet<'_>, rules: &Rules) -> bool {
    const DONT_FRAGMENT: u8 = 1 << 6;
    packet.len() + LONGER + Ip6FragmentHeader::LENGTH > usize::from(rules.lowest_mtu)
        && packet.bytes().get(6).is_none_or(|flags| flags & DONT_FRAGMENT == 0)
}

fn needs_cut(packet: &Packet<'_>, rules: &Rules) -> bool {
    let Some((ip, _)) = Ip4Header::parse(packet.bytes()) else { return false };
    let fragment = if ip.is_fragment() { Ip6FragmentHeader::LENGTH } else { 0 };
    let length = Ip6Header::LENGTH + fragment + ip.payload_length();
    length > usize::from(rules.lowest_mtu) && !ip.dont_fragment() && !packet.is_gso()
}

impl<W: Way> Steps<W> {
    pub(crate) fn leave(
        env: &Env<'_, FourToSix<W>>,
        packet: &mut Packet<'_>,
        rules: &Rules,
        tenant: u8,
    ) -> Out {
        let of_interface =
            || env.worker().interface(packet.rx_interface()).map(|interface| interface.ip6_fib());
        if let Some(table) = rules.tenant(tenant).inside_table.or_else(of_interface) {
            packet.set_fib_index(table);
        }
        Verdict::Next(FourToSixNext::Lookup)
    }

    /// What no binding is for and is for raddle itself goes on to it.
    pub(crate) fn pass_on() -> Out {
        if W::IS_ROUTED { Verdict::Next(FourToSixNext::Local) } else { Verdict::Continue }
    }

    #[cold]
    #[inline(never)]
    fn other(
        &self,
        env: &Env<'_, FourToSix<W>>,
        packet: &mut Packet<'_>,
        rules: &Rules,
        local: &mut Local<'_, '_>,
        now: Ticks,
    ) -> Out {
        let Some((ip, _)) = Ip4Header::parse(packet.bytes()) else {
            return Verdict::Drop(Nat64Error::Malformed);
        };
        let ip = *ip;
        if !rules.is_ours(ip.destination()) {
            return if W::IS_ROUTED { Verdict::Drop(Nat64Error::NotOurs) } else { Verdict::Continue };
        }
        if !is_host4(ip.source()) {
            return Verdict::Drop(Nat64Error::IllegalSource);
        }
        // A pool address that is raddle's own has sessions of hosts inside, and packets for raddle.
        let is_shared = rules.is_shared(ip.destination());
        if ip.ttl() <= 1 && !packet.is_local() && !is_shared {
            return self.tell(packet, IcmpRequest::IP4_TIME_EXCEEDED);
        }
        if ip.has_options() && has_source_route(packet.bytes()) && !is_shared {
            // RFC 7915 §4.1.
            return self.tell(packet, IcmpRequest::IP4_SOURCE_ROUTE_FAILED);
        }
        let protocol = Protocol::of_ip4(ip.protocol());
        if protocol.is_none() {
            if is_shared {
                return Self::pass_on();
            }
            // RFC 6146 §3.4.
            return self.tell(packet, IcmpRequest::IP4_PROTOCOL_UNREACHABLE);
        }
        let upper = if ip.is_fragment() {
            fragment(protocol, packet, &self.ports)
        } else {
            whole(protocol, packet.bytes(), ip.header_length())
        };
        match upper {
            Err(_) if is_shared => Self::pass_on(),
            Err(reason) => Verdict::Drop(reason),
            Ok(Upper::Error) => self.error(env, packet, rules, local, &ip),
            Ok(Upper::Flow { protocol, source, destination, flags }) => {
                if let Some(inside) = rules.eam.to6(ip.destination()) {
                    return self.stateless(env, packet, rules, (&ip, inside, protocol));
                }
                let flow = Flow4 {
                    outside: ip.destination(),
                    outside_port: destination,
                    remote: ip.source(),
                    remote_port: source,
                    protocol,
                };
                self.flow(env, packet, rules, local, (&flow, flags), now)
            }
        }
    }

    fn flow(
        &self,
        env: &Env<'_, FourToSix<W>>,
        packet: &mut Packet<'_>,
        rules: &Rules,
        local: &mut Local<'_, '_>,
        of: (&Flow4, TcpFlags),
        now: Ticks,
    ) -> Out {
        let (flow, flags) = of;
        let worker = env.worker();
        let owner = self.nat.owner_of_outside(worker, rules, flow.outside, flow.outside_port, flow.protocol);
        if owner != worker.thread_index() {
            return hand_off(&self.nat, env, packet, owner);
        }
        // Of a tenant with a table of its own only what comes in there is let in.
        let tenant = local.shard.tenant_of_outside(rules, flow);
        if tenant.is_some_and(|tenant| !rules.may_come_in(tenant, packet.fib_index())) {
            return Verdict::Drop(Nat64Error::OtherTable);
        }
        let number = match local.shard.find4(local.shard.hash(flow), flow) {
            Some(number) => number,
            None => match local.shard.open4(rules, flow, flags, now) {
                Ok(opened) => {
                    self.nat.opened(worker, local, &opened);
                    opened.session
                }
                Err(refusal) => return self.refuse(packet, rules, local, of, refusal, now),
            },
        };
        let Some(session) = local.shard.session(number).copied() else {
            return Verdict::Drop(Nat64Error::NoSession);
        };
        if is_last_hop(packet) {
            return self.tell(packet, IcmpRequest::IP4_TIME_EXCEEDED);
        }
        local.shard.use_session(number, Side::Four, flags, now, &rules.timeouts);
        let change = To6::of(&session, rules.prefix(session.prefix));
        self.rewrite(env, packet, rules, &change, (Some(number), session.tenant))
    }

    /// Rewrites any packet, in parts if it may be cut and has to be.
    fn rewrite(
        &self,
        env: &Env<'_, FourToSix<W>>,
        packet: &mut Packet<'_>,
        rules: &Rules,
        change: &To6,
        of: (Option<u32>, u8),
    ) -> Out {
        let (session, tenant) = of;
        let worker = env.worker();
        let (cut, had_checksum) = (needs_cut(packet, rules), has_udp_checksum(packet));
        let was = match any_from4(packet, &change.upper, rules.computes_udp_checksum) {
            Ok(was) => was,
            Err(unfit) => return Verdict::Drop(unfit.into()),
        };
        if !had_checksum {
            self.nat.count(worker, Count::ChecksumsComputed, 1);
        }
        if !cut {
            let (headers, length) = was.headers(change, 0, was.payload);
            let Some(front) = packet.prepend(length) else { return Verdict::Drop(Nat64Error::NoHeadroom) };
            front[..length].copy_from_slice(&headers[..length]);
            env.trace(packet, || Translation::of(packet, session));
            return Self::leave(env, packet, rules, tenant);
        }
        if !packet.complete_checksum() {
            return Verdict::Drop(Nat64Error::Malformed);
        }
        let most = (usize::from(rules.lowest_mtu) - 48) & !7;
        let mut reader = packet.reader();
        let mut from = 0;
        let mut parts = 0;
        while from < was.payload {
            let payload = most.min(was.payload - from);
            let (headers, length) = was.headers(change, from, payload);
            let Some(mut held) = worker.allocate_like(packet) else {
                return Verdict::Drop(Nat64Error::NoBuffer);
            };
            let mut part = worker.open(&mut held);
            if !part.append(&headers[..length]) || !worker.append_from(&mut part, &mut reader, payload) {
                return Verdict::Drop(Nat64Error::NoBuffer);
            }
            env.trace(packet, || Translation::of(&part, session));
            let verdict = Self::leave(env, &mut part, rules, tenant);
            env.send(held, verdict);
            from += payload;
            parts += 1;
        }
        self.nat.count(worker, Count::To6, parts);
        worker.free(packet.take());
        // It was taken: this counts for nothing.
        Verdict::Continue
    }

    /// RFC 7757: without a session.
    fn stateless(
        &self,
        env: &Env<'_, FourToSix<W>>,
        packet: &mut Packet<'_>,
        rules: &Rules,
        to: (&Ip4Header, Ip6Address, Protocol),
    ) -> Out {
        let (ip, destination, protocol) = to;
        // RFC 7757 §4: a mapped host inside that sends to another one is seen as hosts outside are, so that answers come back this way.
        let Some(source) = self.as_outsider(rules, ip.source()) else {
            return Verdict::Drop(Nat64Error::NotOurs);
        };
        let (before, after) = (pseudo4(ip.source(), ip.destination()), pseudo6(source, destination));
        let pseudo_delta = Delta::between(before, after);
        let delta = if protocol == Protocol::Icmp {
            Delta::between(Sum::new(), after.add_u16(IpProtocol::ICMP6.0.into()))
        } else {
            pseudo_delta
        };
        let upper = UpperChange { protocol, source: None, destination: None, delta, pseudo_delta };
        self.rewrite(env, packet, rules, &To6 { source, destination, upper }, (None, 0))
    }

    /// The address by which who sends from outside is known inside, be he mapped himself or not.
    pub(crate) fn as_outsider(&self, rules: &Rules, address: Ip4Address) -> Option<Ip6Address> {
        let first = rules.first_prefix(0).map(|number| rules.prefix(number));
        first.map(|prefix| prefix.embed(address)).or_else(|| rules.eam.to6(address))
    }

    fn refuse(
        &self,
        packet: &mut Packet<'_>,
        rules: &Rules,
        local: &mut Local<'_, '_>,
        of: (&Flow4, TcpFlags),
        refusal: Refusal,
        now: Ticks,
    ) -> Out {
        let (flow, flags) = of;
        let is_syn = flow.protocol == Protocol::Tcp
            && flags.contains(TcpFlags::SYN)
            && !flags.intersects(TcpFlags::ACK.union(TcpFlags::RST).union(TcpFlags::FIN));
        match refusal {
            Refusal::NoBinding if rules.is_shared(flow.outside) => Self::pass_on(),
            // RFC 6146 §3.5.2.2: somebody inside may be about to begin, too.
            Refusal::NoBinding | Refusal::Filtered
                if is_syn && rules.holds_incoming_syn && local.held.has_room(flow) =>
            {
                local.held.keep(flow, now.wrapping_add(rules.timeouts.tcp_incoming_syn), packet.take());
                // It was taken: this counts for nothing.
                Verdict::Continue
            }
            // RFC 6146 §3.5.1: host unreachable.
            Refusal::NoBinding if flow.protocol != Protocol::Tcp => {
                self.tell(packet, IcmpRequest::IP4_HOST_UNREACHABLE)
            }
            // RFC 6146 §3.5.1: administratively prohibited.
            Refusal::Filtered if flow.protocol != Protocol::Tcp => {
                self.tell(packet, IcmpRequest::IP4_PROHIBITED)
            }
            other => Verdict::Drop(other.into()),
        }
    }

    fn tell(&self, packet: &mut Packet<'_>, request: IcmpRequest) -> Out {
        packet.set_field(&self.icmp, request);
        Verdict::Next(FourToSixNext::IcmpError)
    }
}

/// Whether the packet is not one of UDP whose checksum was left out.
fn has_udp_checksum(packet: &Packet<'_>) -> bool {
    let Some((ip, _)) = Ip4Header::parse(packet.bytes()) else { return true };
    let at = ip.header_length() + 6;
    let field = packet.bytes().get(at..at + 2);
    ip.protocol() != IpProtocol::UDP
        || ip.is_later_fragment()
        || packet.has_offload()
        || field != Some(&[0, 0])
}

/// Whether the packet has come to the end of its hops here.
fn is_last_hop(packet: &Packet<'_>) -> bool {
    !packet.is_local() && Ip4Header::parse(packet.bytes()).is_some_and(|(ip, _)| ip.ttl() <= 1)
}

/// Whether a source route is not at its end yet.
fn has_source_route(bytes: &[u8]) -> bool {
    Ip4Header::options(bytes).map_while(Result::ok).any(|option| {
        let end = option.data.len() + 2;
        SOURCE_ROUTES.contains(&option.kind)
            && option.data.first().is_some_and(|&pointer| usize::from(pointer) <= end)
    })
}
