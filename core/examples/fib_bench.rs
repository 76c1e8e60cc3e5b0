//! Prints what forwarding table lookups and changes cost: TSC clocks per lookup by frames of 256, changes per second.
//!
//! `cargo run --release -p raddle --example fib_bench [CASE…]`. Figures are the best of several passes, as other
//! programs on the machine press on its caches.

use std::collections::BTreeMap;
use std::time::Instant;

use raddle::net::fib::{Action, Address, Fib, Forwarding, LeafIndex, Lpm, NextHop, Prefix, Resolver, Source};

const FRAME: usize = 256;
const PASSES: usize = 40;
/// Changes between two calls of `reclaim`, as a main loop would make them.
const BATCH: usize = 4096;

/// SplitMix64: the same routes and packets on each run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    fn wide(&mut self) -> u128 {
        u128::from(self.next()) << 64 | u128::from(self.next())
    }
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let runs = |name: &str| wanted.is_empty() || wanted.iter().any(|case| name.contains(case.as_str()));
    println!(
        "{:<18}{:>9}{:>9}{:>7}{:>7}{:>8}{:>12}{:>12}{:>12}{:>12}{:>6}",
        "case",
        "routes",
        "packets",
        "frame",
        "single",
        "KiB",
        "lpm add/s",
        "lpm del/s",
        "fib add/s",
        "fib del/s",
        "alu"
    );
    ip4(&runs);
    ip6(&runs);
}

/// A resolver that numbers its leaves and does nothing else.
struct Counter(LeafIndex);

impl Resolver for Counter {
    fn create(
        &mut self,
        _: &Forwarding,
        _: Option<LeafIndex>,
    ) -> Result<LeafIndex, Box<dyn std::error::Error + Send + Sync>> {
        self.0 += 1;
        Ok(self.0)
    }

    fn update(&mut self, _: LeafIndex, _: &Forwarding) {}

    fn release(&mut self, _: LeafIndex) {}
}

/// Adds and deletes per second by way of the route table, over 16 next hops.
fn table_rates<A: Address>(routes: &[Prefix<A>]) -> (f64, f64) {
    let mut fib = Fib::<A>::new().expect("address space for a table");
    let mut leaves = Counter(0);
    let router =
        |i: usize| A::from_ip(narrow::<A>(1 << 126 | (i as u128 % 16 + 1) << 96)).expect("the family's own");
    let routers: Vec<_> = (0..16).map(|i| router(i).to_ip()).collect();
    let mut epoch = 0;
    let mut tick = |fib: &mut Fib<A>, leaves: &mut Counter, count: usize| {
        if count.is_multiple_of(BATCH) {
            epoch += 1;
            fib.set_epoch(epoch);
            fib.reclaim(epoch, leaves);
        }
    };
    let start = Instant::now();
    for (i, route) in routes.iter().enumerate() {
        let action = Action::via(NextHop::on_link(routers[i % 16], 1));
        fib.add(*route, Source::STATIC, action, &mut leaves).expect("room");
        tick(&mut fib, &mut leaves, i);
    }
    let adds = routes.len() as f64 / start.elapsed().as_secs_f64();
    let start = Instant::now();
    for (i, route) in routes.iter().enumerate() {
        fib.remove(*route, Source::STATIC, &mut leaves).expect("room");
        tick(&mut fib, &mut leaves, i);
    }
    (adds, routes.len() as f64 / start.elapsed().as_secs_f64())
}

fn ip4(runs: &impl Fn(&str) -> bool) {
    let mut random = Random(4);
    let range4 = 0x4000_0000_u32;
    if runs("ip4-1") {
        let packets: Vec<u32> = (0..1 << 18).map(|_| 0x0a00_0000 | random.below(1 << 24) as u32).collect();
        case("ip4-1", &[Prefix::containing(0x0a00_0000, 8)], &packets);
    }
    if runs("ip4-10k") {
        let routes = distinct(10_000, || {
            let len = 24 + random.below(9) as u8;
            Prefix::containing(range4 | random.below(1 << 28) as u32, len)
        });
        let packets = inside(&routes, 1 << 16, &mut random, |random| random.next() as u32);
        case("ip4-10k", &routes, &packets);
    }
    if runs("ip4-1m") {
        let mut routes = distinct(900_000, || Prefix::containing(range4 | random.below(1 << 28) as u32, 24));
        routes.extend(distinct(100_000, || {
            Prefix::containing(range4 | random.below(1 << 28) as u32, 25 + random.below(8) as u8)
        }));
        let packets: Vec<u32> = (0..1 << 18).map(|_| range4 | random.below(1 << 28) as u32).collect();
        case("ip4-1m", &routes, &packets);
    }
    if runs("ip4-2m") {
        let routes: Vec<_> = (0..2_000_000_u32).map(|i| Prefix::host(0x0b00_0000 + i)).collect();
        let packets = inside(&routes, 1 << 18, &mut random, |random| random.next() as u32);
        case("ip4-2m-hosts", &routes, &packets);
    }
}

fn ip6(runs: &impl Fn(&str) -> bool) {
    let mut random = Random(6);
    // Shares of lengths much as in the public table.
    let len = |random: &mut Random| match random.below(100) {
        0..14 => 32,
        14..20 => 36,
        20..32 => 40,
        32..44 => 44,
        44..90 => 48,
        90..95 => 56,
        _ => 64,
    };
    if runs("ip6-1") {
        let base = 0x2001_0db8_u128 << 96;
        let packets: Vec<u128> = (0..1 << 18).map(|_| base | random.wide() >> 32).collect();
        case("ip6-1", &[Prefix::containing(base, 32)], &packets);
    }
    for (name, count, packets) in [("ip6-10k", 10_000, 1 << 16), ("ip6-200k", 200_000, 1 << 18)] {
        // Spread over 2000::/3, over a /12, within one /16, and clustered as operators' allocations are.
        for (spread, fixed) in [("3", 3), ("12", 12), ("16", 16), ("alloc", 0)] {
            let name = format!("{name}-{spread}");
            if !runs(&name) {
                continue;
            }
            let base = 0x2001_u128 << 112;
            let routes = if fixed > 0 {
                distinct(count, || {
                    let len = len(&mut random);
                    Prefix::containing(
                        Prefix::containing(base, fixed).address() | random.wide() >> fixed,
                        len,
                    )
                })
            } else {
                let holders: Vec<u128> = (0..count as u64 / 8)
                    .map(|_| {
                        (0x2000 + random.below(64) as u128) << 112
                            | (random.wide() >> 16) & (0xffff_u128 << 96)
                    })
                    .collect();
                distinct(count, || {
                    let holder = holders
                        [((random.below(1 << 20) * random.below(holders.len() as u64)) >> 20) as usize];
                    Prefix::containing(holder | random.wide() >> 32, len(&mut random))
                })
            };
            let packets = inside(&routes, packets, &mut random, Random::wide);
            case(&name, &routes, &packets);
        }
    }
}

/// Distinct prefixes in the order in which they were made.
fn distinct<A: Address>(count: usize, mut make: impl FnMut() -> Prefix<A>) -> Vec<Prefix<A>> {
    let mut seen = std::collections::HashSet::new();
    let mut routes = Vec::with_capacity(count);
    while routes.len() < count {
        let route = make();
        if seen.insert(route) {
            routes.push(route);
        }
    }
    routes
}

/// Addresses within random prefixes of the list.
fn inside<A: Address>(
    routes: &[Prefix<A>],
    count: usize,
    random: &mut Random,
    noise: impl Fn(&mut Random) -> A,
) -> Vec<A> {
    let pick = |random: &mut Random| routes[random.below(routes.len() as u64) as usize];
    (0..count)
        .map(|_| {
            let route = pick(random);
            let noise = noise(random).masked(A::BITS - route.len());
            or_low_bits(route, noise)
        })
        .collect()
}

/// The prefix's address with the high bits of `noise` behind its length.
fn or_low_bits<A: Address>(route: Prefix<A>, noise: A) -> A {
    // `Address` has no arithmetic of its own, so bits move by way of the widest type.
    let shifted = widen(noise) >> route.len();
    A::from_ip(narrow::<A>(widen(route.address()) | shifted)).expect("the family's own address")
}

fn widen<A: Address>(address: A) -> u128 {
    match address.to_ip() {
        std::net::IpAddr::V4(ip) => u128::from(ip.to_bits()) << 96,
        std::net::IpAddr::V6(ip) => ip.to_bits(),
    }
}

fn narrow<A: Address>(bits: u128) -> std::net::IpAddr {
    if A::BITS == 32 {
        std::net::Ipv4Addr::from_bits((bits >> 96) as u32).into()
    } else {
        std::net::Ipv6Addr::from_bits(bits).into()
    }
}

fn case<A: Address>(name: &str, routes: &[Prefix<A>], packets: &[A]) {
    let mut lpm = Lpm::<A>::new().expect("address space for a table");
    let mut epoch = 0;
    let mut tick = |lpm: &mut Lpm<A>, count: usize| {
        if count.is_multiple_of(BATCH) {
            epoch += 1;
            lpm.set_epoch(epoch);
            lpm.reclaim(epoch);
        }
    };
    let start = Instant::now();
    for (i, route) in routes.iter().enumerate() {
        lpm.insert(*route, 1 + (i % 1000) as LeafIndex).expect("room");
        tick(&mut lpm, i);
    }
    let adds = routes.len() as f64 / start.elapsed().as_secs_f64();
    let kib = lpm.used_bytes() / 1024;

    let reader = lpm.reader();
    let mut leaves = vec![0; FRAME];
    let (mut frame, mut single, mut alu) = (u64::MAX, u64::MAX, u64::MAX);
    let mut sum = 0_u64;
    for _ in 0..PASSES {
        let begin = clocks();
        for frame in packets.chunks(FRAME) {
            let leaves = &mut leaves[..frame.len()];
            reader.lookup_frame(frame, leaves);
            sum += u64::from(leaves[0]);
        }
        frame = frame.min(clocks() - begin);
        let begin = clocks();
        for packet in packets {
            sum += u64::from(reader.lookup(*packet));
        }
        single = single.min(clocks() - begin);
        alu = alu.min(alu_loop());
    }
    std::hint::black_box(sum);

    // What covers each prefix is worked out beforehand: the route table's own cost is measured apart.
    let mut table: BTreeMap<Prefix<A>, LeafIndex> =
        routes.iter().enumerate().map(|(i, route)| (*route, 1 + (i % 1000) as LeafIndex)).collect();
    let covers: Vec<_> = routes
        .iter()
        .map(|route| {
            table.remove(route);
            (0..route.len()).rev().find_map(|len| {
                let cover = Prefix::containing(route.address(), len);
                table.get(&cover).map(|leaf| (cover, *leaf))
            })
        })
        .collect();
    let start = Instant::now();
    for (i, (route, cover)) in routes.iter().zip(covers).enumerate() {
        lpm.remove(*route, cover).expect("room");
        tick(&mut lpm, i);
    }
    let deletes = routes.len() as f64 / start.elapsed().as_secs_f64();
    let (fib_adds, fib_deletes) = table_rates(routes);
    let each = |clocks: u64| clocks as f64 / packets.len() as f64;
    println!(
        "{name:<18}{:>9}{:>9}{:>7.1}{:>7.1}{kib:>8}{adds:>12.0}{deletes:>12.0}{fib_adds:>12.0}{fib_deletes:>12.0}{:>6.2}",
        routes.len(),
        packets.len(),
        each(frame),
        each(single),
        alu as f64 / ALU_STEPS as f64,
    );
}

const ALU_STEPS: u64 = 20_000;

/// Clocks of a chain of multiplications: what the machine gives at this moment (three clocks each at nominal speed).
fn alu_loop() -> u64 {
    let begin = clocks();
    let mut value = std::hint::black_box(3_u64);
    for _ in 0..ALU_STEPS {
        value = value.wrapping_mul(value | 1);
    }
    std::hint::black_box(value);
    clocks() - begin
}

#[cfg(target_arch = "x86_64")]
fn clocks() -> u64 {
    // SAFETY: reading the time stamp counter has no precondition on x86-64.
    unsafe { core::arch::x86_64::_rdtsc() }
}

#[cfg(not(target_arch = "x86_64"))]
fn clocks() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |time| time.as_nanos() as u64)
}
