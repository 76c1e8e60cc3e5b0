//! Routes a second: into a table that grows to two million and out of it again, alone and beside full traffic; as a file has
//! them, in order, and as a plugin brings them, in any order and by way of the ABI.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use raddle_plugin_api::route::{ROUTES_PER_TURN, RouteBatch, RouteHop, RouteTarget, TableKey};
use raddle_plugin_api::wire::IpPrefix;
use serde::Serialize;

use crate::control::config::{Config, Document, Owners};
use crate::daemon::add_route_method;
use crate::host::{Engine, EngineConfig, InterfaceState};
use crate::net::fib::{Action, NextHop, Source};
use crate::net::routes::{BulkChange, PAGE_ROUTES, Routes};
use crate::runtime::{Clock, WorkerConfig};

/// Names of the cases.
pub const ROUTE_CASES: [&str; 4] = ["routes-ip4", "routes-ip6", "routes-ip4-plugin", "routes-ip6-plugin"];

/// Routes that the table grows to.
const ROUTES: usize = 2_000_000;
/// Next hops among which they are shared out.
const NEXT_HOPS: u8 = 16;
/// Routes a second that are wanted.
const WANTED_PER_SECOND: f64 = 500_000.0;
/// How long the main thread changes routes before it does all else, in ns: as `route load` does.
const TURN_NS: u64 = 500_000;
/// A plugin's routes: by preference and number as a routing daemon's are.
const PLUGIN_PREFERENCE: u8 = 20;

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct RouteResult {
    /// Name of the case.
    pub case: String,
    /// Whether a worker forwarded at full load by the same table meanwhile.
    pub traffic: bool,
    /// Routes in the table at its fullest.
    pub routes: usize,
    /// Routes added a second.
    pub adds_per_second: f64,
    /// Routes removed a second.
    pub deletes_per_second: f64,
    /// Routes that were moved to another router a second, all by one change of the route to their next hop.
    pub moves_per_second: f64,
    /// Resident memory that the routes took, in bytes each.
    pub bytes_per_route: f64,
    /// How long the main thread did nothing else: in 999 of 1,000 turns at most, and in the longest, in microseconds.
    pub usual_turn_us: f64,
    /// The longest of them.
    pub longest_turn_us: f64,
    /// Routes shown a second, page by page, of the table at its fullest.
    pub shown_per_second: f64,
    /// The longest that the main thread did nothing but make a page, in microseconds.
    pub longest_page_us: f64,
    /// Packets forwarded meanwhile.
    pub forwarded: u64,
    /// Packets lost meanwhile.
    pub lost: u64,
}

/// Runs the cases of these names, or all.
///
/// # Errors
/// A case does not run.
pub fn run(names: &[String]) -> anyhow::Result<Vec<RouteResult>> {
    let mut results = Vec::new();
    for case in ROUTE_CASES.into_iter().filter(|case| names.is_empty() || names.iter().any(|n| n == case)) {
        for traffic in [false, true] {
            let result = run_case(case, traffic).with_context(|| format!("case {case}"))?;
            results.push(result);
        }
    }
    Ok(results)
}

/// The results as a table.
pub fn table(results: &[RouteResult]) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        "{:<17} {:>7} {:>9} {:>10} {:>10} {:>12} {:>11} {:>9} {:>9} {:>10} {:>9} {:>11} {:>6}",
        "case",
        "traffic",
        "routes",
        "adds/s",
        "deletes/s",
        "moves/s",
        "bytes/route",
        "99.9% us",
        "turn us",
        "shown/s",
        "page us",
        "forwarded",
        "lost"
    );
    for result in results {
        let slowest = result.adds_per_second.min(result.deletes_per_second);
        let verdict = if slowest >= WANTED_PER_SECOND && result.lost == 0 { ' ' } else { '!' };
        let _ = writeln!(
            text,
            "{:<17} {:>7} {:>9} {:>10.0} {:>10.0} {:>12.0} {:>11.1} {:>9.0} {:>9.0} {:>10.0} {:>9.0} {:>11} {:>6}{verdict}",
            result.case,
            result.traffic,
            result.routes,
            result.adds_per_second,
            result.deletes_per_second,
            result.moves_per_second,
            result.bytes_per_route,
            result.usual_turn_us,
            result.longest_turn_us,
            result.shown_per_second,
            result.longest_page_us,
            result.forwarded,
            result.lost
        );
    }
    text
}

fn run_case(case: &'static str, traffic: bool) -> anyhow::Result<RouteResult> {
    let way = Way { is_ip4: case.starts_with("routes-ip4"), is_plugin: case.ends_with("-plugin") };
    let is_ip4 = way.is_ip4;
    let routes = if is_ip4 { ip4_routes() } else { ip6_routes() };
    let text = configuration(is_ip4, traffic);
    let mut owners = Owners::new();
    owners.accept_unknown();
    let config = Config::load(&Document::parse(case, text.as_str())?, &owners)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let engine = Engine::create(EngineConfig {
        workers: vec![WorkerConfig { core: Some(cores - 1) }],
        buffers: 8192,
        config_text: text,
        ..EngineConfig::default()
    })?;
    engine.start_workers()?;
    add_route_method(&engine);
    if let Some(failure) = crate::daemon::apply(&engine, &config).first() {
        bail!("{failure}");
    }
    // What came before all routes were there does not count.
    engine.run_until(Duration::from_millis(200), || false);
    let begin = Counts::read(&engine);
    let before = resident_bytes();
    let mut turns = Turns::default();
    let adds: Vec<BulkChange> = routes
        .iter()
        .enumerate()
        .map(|(at, &prefix)| (prefix, Some(at as u32 % u32::from(NEXT_HOPS))))
        .collect();
    let add_time = way.change(&engine, &adds, &mut turns)?;
    let bytes = resident_bytes().saturating_sub(before);
    let shown = show(&engine)?;
    if shown.routes < routes.len() {
        bail!("{} of {} routes are shown", shown.routes, routes.len());
    }
    let move_time = move_router(&engine, is_ip4)?;
    let deletes: Vec<BulkChange> = routes.iter().map(|&prefix| (prefix, None)).collect();
    let delete_time = way.change(&engine, &deletes, &mut turns)?;
    let end = Counts::read(&engine);
    let forwarded = end.forwarded - begin.forwarded;
    if traffic && forwarded == 0 {
        bail!("nothing was forwarded");
    }
    let lost = end.lost - begin.lost;
    if lost > 0 {
        let drops = engine.call("error.list", serde_json::Value::Null);
        eprintln!("{case}: {lost} packets were lost; all drops: {}", drops.unwrap_or_default());
    }
    let per_second = |time: Duration| routes.len() as f64 / time.as_secs_f64();
    Ok(RouteResult {
        case: case.to_owned(),
        traffic,
        routes: routes.len(),
        adds_per_second: per_second(add_time),
        deletes_per_second: per_second(delete_time),
        moves_per_second: per_second(move_time),
        bytes_per_route: bytes as f64 / routes.len() as f64,
        usual_turn_us: turns.of_thousand(999),
        longest_turn_us: turns.of_thousand(1000),
        shown_per_second: shown.routes as f64 / shown.time.as_secs_f64(),
        longest_page_us: shown.longest_ns as f64 / 1000.0,
        forwarded,
        lost,
    })
}

/// How long turns took, in ns.
#[derive(Default)]
struct Turns(Vec<u64>);

impl Turns {
    fn add(&mut self, time_ns: u64) {
        self.0.push(time_ns);
    }

    /// What so many of 1,000 turns took at most, in microseconds.
    fn of_thousand(&mut self, count: usize) -> f64 {
        self.0.sort_unstable();
        let place = (self.0.len() * count).div_ceil(1000);
        self.0.get(place.saturating_sub(1)).map_or(0.0, |time_ns| *time_ns as f64 / 1000.0)
    }
}

/// What has become of packets by some moment.
struct Counts {
    forwarded: u64,
    /// Dropped by a node, or not taken by the device.
    lost: u64,
}

impl Counts {
    fn read(engine: &Engine) -> Self {
        let states = engine.interface_states(None, false);
        let count = |count: fn(&InterfaceState) -> u64| {
            states.iter().find(|state| state.name == "out").map_or(0, count)
        };
        Self {
            forwarded: count(|state| state.tx_packets),
            lost: engine.dropped() + count(|state| state.tx_lost),
        }
    }
}

/// By what way routes come.
#[derive(Clone, Copy)]
struct Way {
    is_ip4: bool,
    is_plugin: bool,
}

impl Way {
    /// Makes the changes; returns how long it took.
    fn change(self, engine: &Engine, changes: &[BulkChange], turns: &mut Turns) -> anyhow::Result<Duration> {
        if self.is_plugin {
            return change_by_plugin(engine, self.is_ip4, changes, turns);
        }
        change_in_order(engine, self.is_ip4, changes, turns)
    }
}

/// Makes the changes as a plugin does: in the order in which they come, as many a call as the SDK makes a turn.
fn change_by_plugin(
    engine: &Engine,
    is_ip4: bool,
    changes: &[BulkChange],
    turns: &mut Turns,
) -> anyhow::Result<Duration> {
    let start = Instant::now();
    let hops = (0..NEXT_HOPS).map(|at| RouteHop::recursive(next_hop(is_ip4, at)));
    let targets: Vec<_> = hops.map(|hop| RouteTarget::Via(vec![hop])).collect();
    for part in changes.chunks(ROUTES_PER_TURN) {
        let begin_ns = Clock.now_ns();
        let batch = RouteBatch {
            preference: PLUGIN_PREFERENCE,
            owner: 1,
            targets: targets.clone(),
            routes: part.to_vec(),
            ..RouteBatch::default()
        };
        engine
            .with_core(|control| control.change_routes(&batch))
            .map_err(|failure| anyhow::anyhow!("{failure}"))?;
        turns.add(Clock.now_ns() - begin_ns);
        engine.run_until(Duration::ZERO, || false);
    }
    Ok(start.elapsed())
}

/// Makes the changes as `route load` does.
fn change_in_order(
    engine: &Engine,
    is_ip4: bool,
    changes: &[BulkChange],
    turns: &mut Turns,
) -> anyhow::Result<Duration> {
    let start = Instant::now();
    let failed = |failure: raddle_plugin_api::Failure| anyhow::anyhow!("{failure}");
    let actions = (0..NEXT_HOPS).map(|at| Action::via(NextHop::recursive(next_hop(is_ip4, at)))).collect();
    let begin = |control: &mut raddle_plugin_api::Control<'_>| {
        control.resource::<Routes>()?.begin(&TableKey::DEFAULT, Source::LOADED, actions)
    };
    let mut bulk = engine.with_core(begin).map_err(failed)?;
    // As the thread does that reads the file.
    let mut changes = changes.to_vec();
    changes.sort_by_key(|(prefix, _)| *prefix);
    let mut rest = changes.as_slice();
    while !rest.is_empty() {
        let begin_ns = Clock.now_ns();
        let turn = engine
            .with_core(|control| {
                let until_ns = control.now_ns() + TURN_NS;
                Ok(control.resource::<Routes>()?.turn(control, &mut bulk, rest, until_ns))
            })
            .map_err(failed)?;
        if let Some(failure) = turn.failure {
            return Err(failed(failure));
        }
        rest = &rest[turn.done..];
        turns.add(Clock.now_ns() - begin_ns);
        engine.run_until(Duration::ZERO, || false);
    }
    engine
        .with_core(|control| {
            control.resource::<Routes>()?.end(control, bulk);
            Ok(())
        })
        .map_err(failed)?;
    Ok(start.elapsed())
}

/// All routes, read as `show fib` does.
struct Shown {
    routes: usize,
    time: Duration,
    longest_ns: u64,
}

fn show(engine: &Engine) -> anyhow::Result<Shown> {
    let start = Instant::now();
    let (mut routes, mut longest_ns, mut after) = (0, 0, None);
    loop {
        let begin_ns = Clock.now_ns();
        let page = engine
            .with_core(|control| {
                control.resource::<Routes>()?.page(&TableKey::DEFAULT, None, after, PAGE_ROUTES)
            })
            .map_err(|failure| anyhow::anyhow!("{failure}"))?;
        longest_ns = longest_ns.max(Clock.now_ns() - begin_ns);
        engine.run_until(Duration::ZERO, || false);
        routes += page.routes.len();
        after = page.more_after;
        if after.is_none() {
            return Ok(Shown { routes, time: start.elapsed(), longest_ns });
        }
    }
}

/// Changes the route by which all next hops are reached; returns how long it took until all routes had followed.
fn move_router(engine: &Engine, is_ip4: bool) -> anyhow::Result<Duration> {
    let prefix: IpPrefix = if is_ip4 { "10.9.0.0/24" } else { "2001:db8:9::/64" }.parse()?;
    let router = if is_ip4 { "10.0.1.3" } else { "2001:db8:b::3" }.parse()?;
    let start = Instant::now();
    engine
        .with_core(|control| {
            let action = Action::via(NextHop::recursive(router));
            let routes = control.resource::<Routes>()?;
            routes.set(control, &TableKey::DEFAULT, prefix, Source::STATIC, Some(action))
        })
        .map_err(|failure| anyhow::anyhow!("{failure}"))?;
    Ok(start.elapsed())
}

/// A router behind the one on the network of `out`.
fn next_hop(is_ip4: bool, at: u8) -> IpAddr {
    if is_ip4 {
        Ipv4Addr::new(10, 9, 0, at + 1).into()
    } else {
        Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, u16::from(at) + 1).into()
    }
}

fn configuration(is_ip4: bool, traffic: bool) -> String {
    let (packet, addresses, routers, far, all) = if is_ip4 {
        (
            "ip4 10.0.0.2 > 64.0.0.0/3 random",
            ["10.0.0.1/24", "10.0.1.1/24"],
            ["10.0.1.2", "10.0.1.3"],
            "10.9.0.0/24",
            "64.0.0.0/3",
        )
    } else {
        (
            "ip6 2001:db8:a::2 > 2400::/12 random",
            ["2001:db8:a::1/64", "2001:db8:b::1/64"],
            ["2001:db8:b::2", "2001:db8:b::3"],
            "2001:db8:9::/64",
            "2400::/12",
        )
    };
    let mut text = format!(
        "[interface.in]\ndriver = \"packet-generator\"\nmac = \"02:fe:00:00:00:01\"\n\
         addresses = [\"{}\"]\nstreams = [{{ name = \"all\", start = {traffic}, size = 64, \
         packet = \"eth 02:00:00:00:00:01 > 02:fe:00:00:00:01 / {packet} / udp 1000 > 2000\" }}]\n\
         [interface.out]\ndriver = \"packet-generator\"\nmac = \"02:fe:00:00:00:02\"\naddresses = [\"{}\"]\n",
        addresses[0], addresses[1]
    );
    for (at, router) in routers.iter().enumerate() {
        text += &format!(
            "[[neighbor]]\ninterface = \"out\"\naddress = \"{router}\"\nmac = \"02:00:00:00:00:0{}\"\n",
            at + 2
        );
    }
    // The routes' next hops are reached by one route, and there is a way for packets before the first and behind the last.
    for (prefix, via) in [(far, routers[0]), (all, routers[0])] {
        text += &format!("[[route]]\nprefix = \"{prefix}\"\nvia = \"{via}\"\n");
    }
    text
}

/// Three in four a /24, the others longer, anywhere in a /3.
fn ip4_routes() -> Vec<IpPrefix> {
    let mut random = Random(7);
    distinct(|| {
        let word = random.next();
        let length = if word.is_multiple_of(4) { 25 + (word >> 8) % 8 } else { 24 } as u8;
        let address = 0x4000_0000 | (word >> 32) as u32 & 0x1fff_ffff;
        IpPrefix::containing(IpAddr::V4(Ipv4Addr::from_bits(address)), length).ok()
    })
}

/// Half of them a /48, a quarter a /32 to /47, a quarter a /49 to /64, anywhere in 2400::/12.
fn ip6_routes() -> Vec<IpPrefix> {
    let mut random = Random(8);
    distinct(|| {
        let (word, bits) = (random.next(), random.next());
        let length = match word % 4 {
            0 | 1 => 48,
            2 => 32 + (word >> 8) % 16,
            _ => 49 + (word >> 8) % 16,
        } as u8;
        let address = u128::from(0x2400_0000_0000_0000 | bits & 0x000f_ffff_ffff_ffff) << 64;
        IpPrefix::containing(IpAddr::V6(Ipv6Addr::from_bits(address)), length).ok()
    })
}

fn distinct(mut make: impl FnMut() -> Option<IpPrefix>) -> Vec<IpPrefix> {
    let mut seen = HashSet::with_capacity(ROUTES);
    let mut list = Vec::with_capacity(ROUTES);
    while list.len() < ROUTES {
        if let Some(prefix) = make().filter(|prefix| seen.insert(*prefix)) {
            list.push(prefix);
        }
    }
    list
}

/// SplitMix64: the same routes on each run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Resident memory of the process; 0 where it is not told.
fn resident_bytes() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|text| text.split_whitespace().nth(1)?.parse::<usize>().ok());
    pages.unwrap_or(0) * rustix::param::page_size()
}
