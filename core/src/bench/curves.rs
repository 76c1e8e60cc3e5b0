//! How cost grows: clocks a packet against routes, rules, sessions, features, the fill of frames, workers and the size of
//! packets.

use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

use super::acl;
use super::cases::{Case, cases, ip4, ip4_one_route, ip6};
use super::machine::MachineState;
use super::measure::{BenchOptions, refuse_unknown, run_case, write_json};
use super::nat64::{NAT64_BYTES, nat64};
use super::passes::{PASSES, pass_image, pass_names};
use super::workload;

/// A curve, before it is measured.
struct Curve {
    name: &'static str,
    x: &'static str,
    series: Vec<(&'static str, Vec<Point>)>,
    figure: Figure,
}

/// One point of a curve.
struct Point {
    x: u32,
    case: Case,
    workers: usize,
    vector_size: u32,
}

/// What is measured.
#[derive(Clone, Copy)]
enum Figure {
    ClocksPerPacket,
    MillionPackets,
}

/// A curve as measured.
#[derive(Clone, Debug, Serialize)]
pub struct CurveResult {
    /// Its name.
    pub curve: String,
    /// What grows to the right.
    pub x: String,
    /// What grows upwards, with its unit.
    pub y: String,
    /// Its lines.
    pub series: Vec<SeriesResult>,
}

/// One line of a curve.
#[derive(Clone, Debug, Serialize)]
pub struct SeriesResult {
    /// What it is of.
    pub name: String,
    /// Pairs of x and y.
    pub points: Vec<(u32, f64)>,
}

/// Routes, rules and sessions that are tried.
const ROUTES: [u32; 8] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 2_000_000];
const RULES: [u32; 7] = [1, 10, 50, 100, 1_000, 3_000, 10_000];
const SESSIONS: [u32; 9] = [1, 1 << 6, 1 << 10, 1 << 13, 1 << 16, 1 << 18, 1 << 20, 1 << 21, 1 << 22];
const FRAME_BYTES: [usize; 6] = [64, 128, 256, 512, 1024, 1514];
/// Packets whose destinations are spread over the routes.
const DESTINATIONS: usize = 1 << 16;

/// Measures the curves of these names, or all, and prints them.
///
/// # Errors
/// An unknown curve, or a point that does not run.
pub fn run_curves(options: &BenchOptions) -> anyhow::Result<()> {
    let all = curves();
    let names: Vec<_> = all.iter().map(|curve| curve.name).collect();
    refuse_unknown("curve", &options.cases, &names)?;
    println!("{}", MachineState::look());
    let mut results = Vec::new();
    for curve in all.into_iter().filter(|curve| options.wants(curve.name)) {
        let result = curve.measure(options)?;
        print!("{}", table(&result));
        results.push(result);
    }
    println!("{}", MachineState::look());
    options.json.as_deref().map_or(Ok(()), |path: &Path| write_json(path, &results))
}

impl Curve {
    fn measure(self, options: &BenchOptions) -> anyhow::Result<CurveResult> {
        let (mut series, unit) = (Vec::new(), self.figure.unit());
        for (name, points) in self.series {
            let points = points.iter().map(|point| {
                let figure = point.measure(options, self.figure);
                let figure = figure.with_context(|| format!("{} {} of {name}", point.x, self.x))?;
                Ok((point.x, (figure * 10.0).round() / 10.0))
            });
            let points = points.collect::<anyhow::Result<_>>()?;
            series.push(SeriesResult { name: name.to_owned(), points });
        }
        Ok(CurveResult { curve: self.name.to_owned(), x: self.x.to_owned(), y: unit.to_owned(), series })
    }
}

impl Point {
    fn new(x: u32, case: Case) -> Self {
        Self { x, case, workers: 1, vector_size: 256 }
    }

    fn measure(&self, options: &BenchOptions, figure: Figure) -> anyhow::Result<f64> {
        let options = BenchOptions { vector_sizes: vec![self.vector_size], ..options.clone() };
        let results = run_case(&self.case, self.workers, &options)?;
        let result = results.first().context("one vector size gives one result")?;
        Ok(match figure {
            Figure::ClocksPerPacket => result.clocks_per_packet,
            Figure::MillionPackets => result.packets_per_second / 1e6,
        })
    }
}

impl Figure {
    fn unit(self) -> &'static str {
        match self {
            Self::ClocksPerPacket => "clocks/packet",
            Self::MillionPackets => "million packets/s",
        }
    }
}

/// A case without a budget.
fn case(
    name: &'static str,
    configuration: impl Fn(usize, &super::cases::Packets<'_>) -> String + 'static,
) -> Case {
    Case::new(name, f64::INFINITY, configuration)
}

fn named(name: &str) -> Case {
    cases().into_iter().find(|case| case.name == name).expect("the names below are cases")
}

fn curves() -> Vec<Curve> {
    let clocks = |name, x, series| Curve { name, x, series, figure: Figure::ClocksPerPacket };
    vec![
        clocks("routes", "routes", routes()),
        clocks("rules", "rules", rules()),
        clocks("sessions", "sessions", sessions()),
        clocks("features", "features on the arc that let all pass", features()),
        clocks("fill", "packets a frame, at most", fill()),
        clocks("packet-size", "bytes a frame", packet_sizes()),
        Curve { name: "workers", x: "workers", series: workers(), figure: Figure::MillionPackets },
    ]
}

fn routes() -> Vec<(&'static str, Vec<Point>)> {
    let ip4 = ROUTES.map(|count| {
        let case = case("ip4", ip4).with(move || workload::ip4(count as usize, DESTINATIONS));
        Point::new(count, case)
    });
    let ip6 = ROUTES.map(|count| {
        let case = case("ip6", ip6).with(move || workload::ip6(count as usize, DESTINATIONS));
        Point::new(count, case)
    });
    vec![("IPv4", ip4.into()), ("IPv6", ip6.into())]
}

fn rules() -> Vec<(&'static str, Vec<Point>)> {
    let points = RULES.map(|count| {
        let case = case("rules", move |workers, packets| acl::acl_rules(workers, packets, count as usize));
        Point::new(count, case.of_plugin(&["acl"]).with(acl::random_flows))
    });
    vec![("acl, no session", points.into())]
}

fn sessions() -> Vec<(&'static str, Vec<Point>)> {
    let acl = SESSIONS.map(|count| {
        let case = case("sessions", acl::acl_reflect).of_plugin(&["acl"]);
        Point::new(count, case.with(move || acl::flows(count as usize)))
    });
    let nat64 = SESSIONS.map(|count| {
        let bits = 128 - count.trailing_zeros();
        let hosts = format!("2001:db8:a:1::/{bits} random");
        let case = case("sessions", move |workers, _| nat64(workers, &hosts, (count * 3 / 2).max(64)));
        Point::new(count, Case { frame_bytes: NAT64_BYTES, ..case.of_plugin(&["nat64"]) })
    });
    vec![("acl, reflexive", acl.into()), ("nat64, 6 to 4", nat64.into())]
}

fn features() -> Vec<(&'static str, Vec<Point>)> {
    let counts = [0, 1, 2, 4, 8, PASSES];
    let points = counts.map(|count| {
        let keys = format!("features = {:?}", pass_names(count));
        let case = case("features", move |workers, _| ip4_one_route(workers, 64, &keys));
        Point::new(count as u32, Case { image: Some(pass_image), ..case })
    });
    vec![("IPv4, one route", points.into())]
}

fn fill() -> Vec<(&'static str, Vec<Point>)> {
    let of = |name: &str| {
        let point = |vector_size: u32| Point { vector_size, ..Point::new(vector_size, named(name)) };
        (0..=8).map(|power| point(1 << power)).collect()
    };
    vec![
        ("cross-connect", of("l2-xconnect")),
        ("IPv4, one route", of("ip4-1")),
        ("IPv6, one route", of("ip6-1")),
    ]
}

fn packet_sizes() -> Vec<(&'static str, Vec<Point>)> {
    let points = FRAME_BYTES.map(|bytes| {
        let case = case("packet-size", move |workers, _| ip4_one_route(workers, bytes, ""));
        Point::new(bytes as u32, Case { frame_bytes: bytes, ..case })
    });
    vec![("IPv4, one route", points.into())]
}

fn workers() -> Vec<(&'static str, Vec<Point>)> {
    let of = |name: &str| {
        [1, 2].map(|workers| Point { workers, ..Point::new(workers as u32, named(name)) }).into()
    };
    vec![
        ("cross-connect", of("l2-xconnect")),
        ("IPv4, one route", of("ip4-1")),
        ("IPv4, a million routes", of("ip4-1m")),
        ("IPv6, one route", of("ip6-1")),
    ]
}

/// A curve as a table.
fn table(curve: &CurveResult) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(text, "{}: {} by {}", curve.curve, curve.y, curve.x);
    for SeriesResult { name, points } in &curve.series {
        let points: Vec<_> = points.iter().map(|(x, y)| format!("{x}: {y:.1}")).collect();
        let _ = writeln!(text, "  {name:<24} {}", points.join("  "));
    }
    text
}
