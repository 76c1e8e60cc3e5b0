//! Laws of bindings and sessions, under random packets and time.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use raddle_plugin_api::table::HashSeed;
use raddle_plugin_api::wire::{Ip4Address, Ip6Address, TcpFlags};

use super::*;
use crate::translate::Nat64Prefix;

const SIZE: ShardSize = ShardSize { sessions: 64, bindings: 32 };

fn rules(pool: u8) -> Rules {
    let address = |last| Ip4Address([192, 0, 2, last]);
    let mut rules = Rules::nothing();
    rules.prefixes = vec![KnownPrefix { prefix: Nat64Prefix::WELL_KNOWN, tenant: 0 }];
    rules.tenants[0].pool = vec![PoolRange { first: address(1), last: address(pool) }];
    rules.settle(&[0], []);
    rules
}

fn plan(size: ShardSize, filtering: Filtering) -> ShardPlan {
    ShardPlan { size, share: Share::WHOLE, seed: HashSeed::fixed(5), filtering }
}

fn shard(filtering: Filtering) -> Shard {
    Shard::new(&plan(SIZE, filtering)).unwrap()
}

fn host(number: u8) -> Ip6Address {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number.into()).into()
}

fn server(number: u8) -> Ip4Address {
    Ipv4Addr::new(198, 51, 100, number).into()
}

fn flow6(protocol: Protocol, inside: u8, port: u16, remote: u8, remote_port: u16) -> Flow6 {
    let remote_port = if protocol == Protocol::Icmp { port } else { remote_port };
    Flow6 {
        inside: host(inside),
        inside_port: port,
        remote: server(remote),
        remote_port,
        protocol,
        tenant: 0,
    }
}

fn open(shard: &mut Shard, rules: &Rules, flow: &Flow6, now: Ticks) -> Result<Session, Refusal> {
    let opened = shard.open6(rules, flow, 0, TcpFlags::SYN, now)?;
    Ok(*shard.session(opened.session).unwrap())
}

#[test]
fn session_with_its_binding_takes_at_most_192_bytes() {
    for count in [10_000, 100_000, 131_072, 1_000_000, 4_000_000] {
        let size = ShardSize { sessions: count, bindings: count };
        let shard = Shard::new(&plan(size, Filtering::default())).unwrap();
        let bytes = bytes_per_session(&shard, size);
        assert!(bytes <= 192, "{bytes} bytes at {count}");
    }
}

/// RFC 4787 REQ-1: one binding for all that a host's port talks to.
#[test]
fn mapping_does_not_depend_on_the_endpoint() {
    let (mut shard, rules) = (shard(Filtering::default()), rules(4));
    let first = open(&mut shard, &rules, &flow6(Protocol::Udp, 1, 5000, 1, 53), 0).unwrap();
    let second = open(&mut shard, &rules, &flow6(Protocol::Udp, 1, 5000, 2, 99), 0).unwrap();
    assert_eq!((first.outside, first.outside_port), (second.outside, second.outside_port));
    assert_eq!(first.outside_port, 5000);
    assert_eq!(shard.bindings().count(), 1);
    // RFC 4787 REQ-2: and all of a host's ports are on one address.
    let third = open(&mut shard, &rules, &flow6(Protocol::Udp, 1, 5001, 2, 99), 0).unwrap();
    assert_eq!(third.outside, first.outside);
    shard.check();
}

/// RFC 6146 §3.5.1, RFC 4787 REQ-8.
#[test]
fn filtering_lets_in_whom_it_should() {
    for (filtering, other_port, other_host) in
        [(Filtering::EndpointIndependent, true, true), (Filtering::AddressDependent, true, false)]
    {
        let (mut shard, rules) = (shard(filtering), rules(1));
        let made = open(&mut shard, &rules, &flow6(Protocol::Udp, 1, 5000, 1, 53), 0).unwrap();
        let mut from = |remote, remote_port| {
            let flow = Flow4 { remote: server(remote), remote_port, ..made.flow4() };
            shard.open4(&rules, &flow, TcpFlags(0), 0).map(|opened| opened.binding_is_new)
        };
        assert_eq!(from(1, 77), if other_port { Ok(false) } else { Err(Refusal::Filtered) });
        assert_eq!(from(2, 53), if other_host { Ok(false) } else { Err(Refusal::Filtered) });
        let unknown = Flow4 { outside_port: 7000, ..made.flow4() };
        assert_eq!(shard.open4(&rules, &unknown, TcpFlags(0), 0), Err(Refusal::NoBinding));
        shard.check();
    }
}

#[test]
fn tcp_begins_with_a_syn() {
    let (mut shard, rules) = (shard(Filtering::default()), rules(1));
    let flow = flow6(Protocol::Tcp, 1, 5000, 1, 80);
    for flags in [TcpFlags::ACK, TcpFlags::RST, TcpFlags::SYN.union(TcpFlags::FIN), TcpFlags(0)] {
        assert_eq!(shard.open6(&rules, &flow, 0, flags, 0), Err(Refusal::NotSyn), "{flags:?}");
    }
    assert!(shard.figures().sessions == [0; 3] && shard.subscribers().count() == 0);
    let session = open(&mut shard, &rules, &flow, 0).unwrap();
    assert_eq!(session.state(), TcpState::V6Init);
    let from = Flow4 { remote: server(9), ..session.flow4() };
    let syn_ack = TcpFlags::SYN.union(TcpFlags::ACK);
    assert_eq!(shard.open4(&rules, &from, syn_ack, 0), Err(Refusal::NotSyn));
    let opened = shard.open4(&rules, &from, TcpFlags::SYN, 0).unwrap();
    assert_eq!(shard.session(opened.session).unwrap().state(), TcpState::V4Init);
    shard.check();
}

/// RFC 6146 §4; RFC 5382 REQ-5, RFC 4787 REQ-5, RFC 5508 REQ-2.
#[test]
fn sessions_end_in_their_time() {
    let (mut shard, rules) = (shard(Filtering::default()), rules(1));
    let quarter = |seconds: u32| seconds * 4;
    for (protocol, flags, lifetime) in [
        (Protocol::Udp, None, quarter(300)),
        (Protocol::Icmp, None, quarter(60)),
        (Protocol::Tcp, None, quarter(240)),
        (Protocol::Tcp, Some(TcpFlags::SYN), quarter(7440)),
    ] {
        let opened = shard.open6(&rules, &flow6(protocol, 1, 5000, 1, 80), 0, TcpFlags::SYN, 100).unwrap();
        if let Some(flags) = flags {
            shard.use_session(opened.session, Side::Four, flags, 100, &rules.timeouts).unwrap();
        }
        assert!(shard.expire(&rules, 100 + lifetime - 1).is_none(), "{protocol:?} lives {lifetime} ticks");
        let ended = shard.expire(&rules, 100 + lifetime).expect("its time is over");
        assert!(ended.binding.is_some());
        shard.check();
        // Time does not run backwards in a wheel.
        shard = self::shard(Filtering::default());
    }
}

#[test]
fn reset_makes_the_time_short() {
    let (mut shard, rules) = (shard(Filtering::default()), rules(1));
    let opened = shard.open6(&rules, &flow6(Protocol::Tcp, 1, 5000, 1, 80), 0, TcpFlags::SYN, 0).unwrap();
    let timeouts = rules.timeouts;
    shard.use_session(opened.session, Side::Four, TcpFlags::SYN, 0, &timeouts);
    assert!(shard.expire(&rules, 2000).is_none(), "established");
    shard.use_session(opened.session, Side::Four, TcpFlags::RST, 2000, &timeouts);
    assert!(shard.expire(&rules, 2959).is_none());
    assert!(shard.expire(&rules, 2960).is_some());
}

#[test]
fn operators_mapping_is_used_from_both_sides() {
    let (mut shard, mut rules) = (shard(Filtering::AddressDependent), rules(1));
    let web = StaticMap {
        inside: host(80),
        outside: Ip4Address([192, 0, 2, 1]),
        port: Some((Protocol::Tcp, 8080, 80)),
        tenant: 0,
    };
    rules.statics = Statics::new(&[web]);
    rules.settle(&[0], []);
    let from = Flow4 {
        outside: web.outside,
        outside_port: 80,
        remote: server(3),
        remote_port: 4242,
        protocol: Protocol::Tcp,
    };
    let opened = shard.open4(&rules, &from, TcpFlags::SYN, 0).unwrap();
    let session = *shard.session(opened.session).unwrap();
    assert_eq!((session.inside, session.inside_port), (host(80), 8080));
    let out = open(&mut shard, &rules, &flow6(Protocol::Tcp, 80, 8080, 9, 25), 0).unwrap();
    assert_eq!((out.outside, out.outside_port), (web.outside, 80));
    // Nobody else gets that port.
    let other = open(&mut shard, &rules, &flow6(Protocol::Tcp, 2, 80, 9, 25), 0).unwrap();
    assert_ne!(other.outside_port, 80);
    shard.check();
}

#[test]
fn subscribers_have_limits_and_blocks() {
    let (mut shard, mut rules) = (shard(Filtering::default()), rules(1));
    rules.subscriber_bits = 64;
    rules.limits = Limits { sessions: 3, bindings: 2, blocks: 1 };
    rules.blocks = true;
    let udp = |inside, port, remote| flow6(Protocol::Udp, inside, port, remote, 53);
    let first = open(&mut shard, &rules, &udp(1, 5000, 1), 0).unwrap();
    let block = first.outside_port & !63;
    let second = open(&mut shard, &rules, &udp(2, 6000, 1), 0).unwrap();
    assert_eq!(second.outside_port & !63, block, "both hosts are the subscriber's");
    assert_eq!(open(&mut shard, &rules, &udp(3, 7000, 1), 0).unwrap_err(), Refusal::SubscriberLimit);
    open(&mut shard, &rules, &udp(1, 5000, 2), 0).unwrap();
    assert_eq!(open(&mut shard, &rules, &udp(1, 5000, 3), 0).unwrap_err(), Refusal::SubscriberLimit);
    assert_eq!(shard.subscribers().next().unwrap().blocks, 1);
    let blocks: Vec<_> =
        std::iter::from_fn(|| shard.expire(&rules, 1200)).filter_map(|ended| ended.block).collect();
    assert_eq!((blocks, shard.subscribers().count()), (vec![block], 0));
    shard.check();
}

#[test]
fn full_tables_and_pools_refuse_and_keep_nothing() {
    let (mut shard, mut rules) = (shard(Filtering::default()), rules(1));
    for port in 0..40 {
        let opened = open(&mut shard, &rules, &flow6(Protocol::Udp, 1, 5000 + port, 1, 53), 0);
        assert_eq!(opened.is_ok(), port < 32, "{port}: {opened:?}");
    }
    shard.check();
    rules.tenants[0].pool.clear();
    assert_eq!(open(&mut shard, &rules, &flow6(Protocol::Icmp, 1, 1, 1, 1), 0).unwrap_err(), Refusal::NoPort);
    shard.check();
}

/// RFC 6887: a binding without a packet, in which anybody comes in, for as long as was said.
#[test]
fn host_has_the_binding_that_it_has_asked_for() {
    let (mut shard, rules) = (shard(Filtering::AddressDependent), rules(1));
    let asked = Asked { inside: host(1), port: 5000, protocol: Protocol::Tcp, tenant: 0, secret: [1; 6] };
    let given = shard.ask(&rules, &asked, 480, 0).unwrap();
    assert_eq!((given.outside.1, given.opened.map(|opened| opened.binding_is_new)), (5000, Some(true)));
    shard.check();
    let from = Flow4 {
        outside: given.outside.0,
        outside_port: given.outside.1,
        remote: server(3),
        remote_port: 4242,
        protocol: Protocol::Tcp,
    };
    let opened = shard.open4(&rules, &from, TcpFlags::SYN, 10).unwrap();
    assert_eq!(shard.session(opened.session).unwrap().inside, host(1));
    // Somebody else can neither have it nor end it; the host can have it for longer.
    let other = Asked { secret: [2; 6], ..asked };
    assert_eq!(shard.ask(&rules, &other, 480, 20), Err(AskedRefusal::NotIts));
    assert_eq!(shard.asked(&other), Err(AskedRefusal::NotIts));
    let again = shard.ask(&rules, &asked, 2000, 20).unwrap();
    assert_eq!((again.outside, again.opened), (given.outside, None));
    shard.check();
    while shard.expire(&rules, 1500).is_some() {}
    assert_eq!(shard.sessions().count(), 1, "the connection's time was over, that of the binding is not");
    let number = shard.asked(&asked).unwrap().unwrap();
    assert!(shard.end(number, &rules, 1600).unwrap().binding.is_some());
    assert_eq!(shard.open4(&rules, &from, TcpFlags::SYN, 1600), Err(Refusal::NoBinding));
    assert_eq!(shard.asked(&asked), Ok(None));
    // Of a binding that packets made it is the same one, which others may use no more when it is over.
    let udp = open(&mut shard, &rules, &flow6(Protocol::Udp, 2, 6000, 1, 53), 1600).unwrap();
    let asked = Asked { inside: host(2), port: 6000, protocol: Protocol::Udp, tenant: 0, secret: [1; 6] };
    let given = shard.ask(&rules, &asked, 480, 1600).unwrap();
    assert_eq!(given.outside, (udp.outside, udp.outside_port));
    let stranger = Flow4 { remote: server(9), ..udp.flow4() };
    assert!(shard.open4(&rules, &stranger, TcpFlags(0), 1600).is_ok());
    let number = shard.asked(&asked).unwrap().unwrap();
    shard.end(number, &rules, 1601);
    let stranger = Flow4 { remote: server(8), ..udp.flow4() };
    assert_eq!(shard.open4(&rules, &stranger, TcpFlags(0), 1601), Err(Refusal::Filtered));
    shard.check();
}

#[derive(Clone, Debug)]
enum Step {
    From6 { protocol: Protocol, inside: u8, port: u16, remote: u8, flags: u8 },
    From4 { session: usize, remote: u8, port: u16, flags: u8 },
    Ask { protocol: Protocol, inside: u8, port: u16, secret: u8, ticks: u16 },
    Time { ticks: u16 },
    End { session: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let protocol = prop::sample::select(&Protocol::ALL[..]);
    prop_oneof![
        4 => (protocol, 0..6_u8, 5000..5004_u16, 0..4_u8, any::<u8>())
            .prop_map(|(protocol, inside, port, remote, flags)| Step::From6 { protocol, inside, port, remote, flags }),
        4 => (any::<usize>(), 0..4_u8, 80..83_u16, any::<u8>())
            .prop_map(|(session, remote, port, flags)| Step::From4 { session, remote, port, flags }),
        1 => (prop::sample::select(&[Protocol::Tcp, Protocol::Udp][..]), 0..6_u8, 5000..5004_u16, 0..2_u8, 0..2000_u16)
            .prop_map(|(protocol, inside, port, secret, ticks)| Step::Ask { protocol, inside, port, secret, ticks }),
        1 => prop_oneof![0..300_u16, 0..1500_u16].prop_map(|ticks| Step::Time { ticks }),
        1 => any::<usize>().prop_map(|session| Step::End { session }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever comes, the tables agree with each other, and what a host's port is outside stays the same while it is, and is nobody
    /// else's for a while after that (RFC 6888 REQ-8).
    #[test]
    fn tables_agree_under_random_packets_and_time(
        steps in prop::collection::vec(step(), 1..200),
        filtering in prop::sample::select(&[Filtering::EndpointIndependent, Filtering::AddressDependent][..]),
        blocks: bool,
        threads in 1..4_u32,
    ) {
        let share = Share { count: threads, index: threads - 1, ..Share::WHOLE };
        let mut shard = Shard::new(&ShardPlan { share, ..plan(SIZE, filtering) }).unwrap();
        let mut rules = rules(2);
        rules.blocks = blocks;
        let mut now = 0;
        let mut outside: HashMap<(Ip6Address, u16, Protocol), (Ip4Address, u16)> = HashMap::new();
        let mut given: HashMap<(Ip4Address, u16, Protocol), Ip6Address> = HashMap::new();
        let mut given_back: HashMap<(Ip4Address, u16, Protocol), Ticks> = HashMap::new();
        for step in steps {
            match step {
                Step::From6 { protocol, inside, port, remote, flags } => {
                    let flow = flow6(protocol, inside, port, remote, 80);
                    let number = shard.find6(shard.hash(&flow), &flow).or_else(|| {
                        shard.open6(&rules, &flow, 0, TcpFlags(flags), now).ok().map(|opened| opened.session)
                    });
                    if let Some(number) = number {
                        let session = *shard.use_session(number, Side::Six, TcpFlags(flags), now, &rules.timeouts).unwrap();
                        let known = outside
                            .entry((flow.inside, flow.inside_port, protocol))
                            .or_insert((session.outside, session.outside_port));
                        prop_assert_eq!(*known, (session.outside, session.outside_port));
                    }
                }
                Step::From4 { session, remote, port, flags } => {
                    let sessions: Vec<_> = shard.sessions().map(|(_, session)| *session).collect();
                    if let Some(session) = sessions.get(session % sessions.len().max(1)) {
                        let remote_port = if session.protocol() == Protocol::Icmp { session.outside_port } else { port };
                        let flow = Flow4 { remote: server(remote), remote_port, ..session.flow4() };
                        let number = shard.find4(shard.hash(&flow), &flow).or_else(|| {
                            shard.open4(&rules, &flow, TcpFlags(flags), now).ok().map(|opened| opened.session)
                        });
                        if let Some(number) = number {
                            let found = *shard.use_session(number, Side::Four, TcpFlags(flags), now, &rules.timeouts).unwrap();
                            prop_assert_eq!((found.inside, found.inside_port), (session.inside, session.inside_port));
                        }
                    }
                }
                Step::Ask { protocol, inside, port, secret, ticks } => {
                    let asked = Asked { inside: host(inside), port, protocol, tenant: 0, secret: [secret; 6] };
                    if ticks == 0 {
                        if let Ok(Some(number)) = shard.asked(&asked) {
                            shard.end(number, &rules, now);
                        }
                    } else if let Ok(given) = shard.ask(&rules, &asked, ticks.into(), now) {
                        let known = *outside.entry((host(inside), port, protocol)).or_insert(given.outside);
                        prop_assert_eq!(known, given.outside);
                    }
                }
                Step::Time { ticks } => {
                    now += u32::from(ticks);
                    while shard.expire(&rules, now).is_some() {}
                }
                Step::End { session } => {
                    let numbers: Vec<_> = shard.sessions().map(|(number, _)| number).collect();
                    if let Some(&number) = numbers.get(session % numbers.len().max(1)) {
                        shard.end(number, &rules, now);
                    }
                }
            }
            let bound: Vec<_> = shard.bindings().map(|binding| (binding.inside, binding.inside_port, binding.protocol())).collect();
            outside.retain(|key, _| bound.contains(key));
            let now_given: HashMap<_, _> = shard
                .bindings()
                .map(|binding| ((binding.outside, binding.outside_port, binding.protocol()), binding.inside))
                .collect();
            for port in given.keys().filter(|port| !now_given.contains_key(port)) {
                given_back.insert(*port, now);
            }
            for port in now_given.keys().filter(|port| !given.contains_key(port)) {
                let waited = given_back.get(port).is_none_or(|since| now - since >= rules.reuse.after);
                let may_at_once = port.2 == Protocol::Tcp || filtering == Filtering::AddressDependent;
                prop_assert!(waited || may_at_once, "{port:?} was given too soon");
            }
            given = now_given;
            shard.check();
        }
    }
}
