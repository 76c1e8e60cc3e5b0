//! The cases: a configuration each, named as in the budgets, and for some a table of routes.

use std::borrow::Cow;
use std::net::IpAddr;
use std::path::Path;
use std::rc::Rc;

use serde_json::Value;

use super::acl;
use super::esp;
use super::nat64;
use super::workload::{self, Workload};
use crate::host::ImageParts;

/// A command by its first words, and its arguments.
pub type Command = (&'static str, Value);

/// A case.
#[derive(Clone)]
pub struct Case {
    /// Its name.
    pub name: Cow<'static, str>,
    /// Bytes of each frame, without FCS.
    pub frame_bytes: usize,
    /// Clocks a packet that it may cost on one worker.
    pub budget: f64,
    /// Names of the plugins that are brought in before the case is set up.
    pub plugins: &'static [&'static str],
    /// Nodes of the bench that are brought in, too.
    pub image: Option<fn() -> ImageParts>,
    /// Commands that the main thread runs one after the other while packets pass.
    pub commands: Option<fn() -> Vec<Command>>,
    /// Commands that are run, and timed, before each window while packets pass.
    pub before: Option<fn() -> Vec<Command>>,
    pub(super) configuration: Rc<MakeConfiguration>,
    pub(super) workload: Option<Rc<dyn Fn() -> Workload>>,
}

/// Makes the configuration for a number of workers.
type MakeConfiguration = dyn Fn(usize, &Packets<'_>) -> String;

/// What a case's stream sends.
#[derive(Clone, Copy, Debug)]
pub enum Packets<'a> {
    /// The packets of the case's own template.
    Template,
    /// Those of a capture file, again and again.
    Replay(&'a Path),
}

impl Case {
    /// The configuration for so many workers: the interface `in` generates, `out` swallows.
    pub fn configuration(&self, workers: usize, packets: &Packets<'_>) -> String {
        (self.configuration)(workers, packets)
    }

    /// The routes that are added to the configuration's, and where packets go.
    pub fn workload(&self) -> Option<Workload> {
        self.workload.as_ref().map(|make| make())
    }

    /// A case of 64-byte frames that its template makes, without plugins.
    pub fn new(
        name: impl Into<Cow<'static, str>>,
        budget: f64,
        configuration: impl Fn(usize, &Packets<'_>) -> String + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            frame_bytes: 64,
            budget,
            plugins: &[],
            image: None,
            commands: None,
            before: None,
            configuration: Rc::new(configuration),
            workload: None,
        }
    }

    /// The same with routes and packets, or frames, that `workload` makes.
    pub fn with(self, workload: impl Fn() -> Workload + 'static) -> Self {
        Self { workload: Some(Rc::new(workload)), ..self }
    }

    /// The same with one plugin.
    pub fn of_plugin(self, plugins: &'static [&'static str]) -> Self {
        Self { plugins, ..self }
    }
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, frame_bytes, budget, plugins, .. } = self;
        let fields = format_args!("{name}, {frame_bytes} bytes, budget {budget}, plugins {plugins:?}");
        write!(f, "Case({fields})")
    }
}

/// A function that makes a case's configuration.
type Configuration = fn(workers: usize, packets: &Packets<'_>) -> String;

/// All cases.
pub fn cases() -> Vec<Case> {
    let case = |name, budget, configuration: Configuration| Case::new(name, budget, configuration);
    let routed = |name, budget, configuration: Configuration, workload: fn() -> Workload| {
        Case::new(name, budget, configuration).with(workload)
    };
    vec![
        case("l2-xconnect", 15.0, l2_xconnect),
        case("bridge", 25.0, bridge),
        case("vlan", 60.0, vlan),
        case("ip4-1", 37.0, ip4_1),
        case("ip4-ecmp", 50.0, ip4_ecmp),
        routed("ip4-10k", 60.0, ip4, || workload::ip4(10_000, 1 << 16)),
        routed("ip4-1m", 75.0, ip4, || workload::ip4_full(900_000, 100_000)),
        Case { frame_bytes: FRAGMENTED_BYTES, ..case("ip4-fragment", 1500.0, ip4_fragment) },
        case("ip6-1", 46.0, ip6_1),
        routed("ip6-10k", 75.0, ip6, || workload::ip6(10_000, 1 << 16)),
        routed("ip6-200k", 120.0, ip6, || workload::ip6(200_000, 1 << 18)),
    ]
    .into_iter()
    .chain(nat64::nat64_cases())
    .chain(acl_cases())
    .chain(esp::cases())
    .collect()
}

/// Cases of the plugin `acl`. Those of whole rule sets have the budget of as many rules that miss.
fn acl_cases() -> Vec<Case> {
    let case = |name, budget, configuration: Configuration, workload: fn() -> Workload| {
        Case::new(name, budget, configuration).of_plugin(&["acl"]).with(workload)
    };
    vec![
        case("acl-1", 90.0, acl::acl_1, acl::random_flows),
        case("acl-50", 110.0, acl::acl_50, acl::random_flows),
        case("acl-1000", 140.0, acl::acl_1000, acl::random_flows),
        case("acl-10000", 140.0, acl::acl_10000, acl::random_flows),
        case("acl-set-acl-50", 110.0, acl::acl_kind_50, acl::acl_kind_50_flows),
        case("acl-set-acl-1k", 140.0, acl::acl_kind_1k, acl::acl_kind_1k_flows),
        case("acl-set-acl-10k", 140.0, acl::acl_kind_10k, acl::acl_kind_10k_flows),
        case("acl-set-fw-50", 110.0, acl::fw_kind_50, acl::fw_kind_50_flows),
        case("acl-set-fw-1k", 140.0, acl::fw_kind_1k, acl::fw_kind_1k_flows),
        case("acl-set-fw-10k", 140.0, acl::fw_kind_10k, acl::fw_kind_10k_flows),
        case("acl-set-ipc-50", 110.0, acl::ipc_kind_50, acl::ipc_kind_50_flows),
        case("acl-set-ipc-1k", 140.0, acl::ipc_kind_1k, acl::ipc_kind_1k_flows),
        case("acl-set-ipc-10k", 140.0, acl::ipc_kind_10k, acl::ipc_kind_10k_flows),
        case("acl-reflect-10k", 70.0, acl::acl_reflect, acl::flows_10k),
        case("acl-reflect-1m", 120.0, acl::acl_reflect, acl::flows_1m),
        case("acl-reflect-create", 400.0, acl::acl_reflect_create, acl::flows_1m),
        Case { commands: Some(acl::updates), ..case("acl-update", 140.0, acl::acl_10000, acl::random_flows) },
    ]
}

/// The next hop of a case's routes.
pub fn next_hop(of: IpAddr) -> IpAddr {
    let text = if of.is_ipv4() { NEXT_HOP4 } else { NEXT_HOP6 };
    text.parse().expect("the constants below are addresses")
}

/// MAC address of `in`.
pub const IN_MAC: &str = "02:fe:00:00:00:01";
const OUT_MAC: &str = "02:fe:00:00:00:02";
/// MAC address of the host that sends to `in`.
pub const SOURCE_MAC: &str = "02:00:00:00:00:01";
pub(super) const NEXT_MAC: &str = "02:00:00:00:00:02";
pub(super) const NEXT_HOP4: &str = "10.0.1.2";
pub(super) const NEXT_HOP6: &str = "2001:db8:b::2";
pub(super) const ADDRESSES4: [&str; 2] = [r#"addresses = ["10.0.0.1/24"]"#, r#"addresses = ["10.0.1.1/24"]"#];
pub(super) const ADDRESSES6: [&str; 2] =
    [r#"addresses = ["2001:db8:a::1/64"]"#, r#"addresses = ["2001:db8:b::1/64"]"#];
/// Frames of `ip4-fragment`.
const FRAGMENTED_BYTES: usize = 1514;
/// Next hops of `ip4-ecmp`.
const PATHS: u8 = 16;

pub(super) fn interfaces(workers: usize, stream: &str, common: [&str; 2]) -> String {
    let [input, output] = common;
    // Without workers the main thread polls the one queue.
    let queues = workers.max(1);
    format!(
        r#"
[interface.in]
driver = "packet-generator"
mac = "{IN_MAC}"
queues = {queues}
streams = [{{ name = "case", start = true, {stream} }}]
neighbor.dad = false
{input}

[interface.out]
driver = "packet-generator"
mac = "{OUT_MAC}"
{output}
"#
    )
}

/// The stream's keys: the packets given, or those of a template.
pub(super) fn stream(packets: &Packets<'_>, template: &str) -> String {
    match packets {
        Packets::Template => format!(r#"packet = "{template}", size = 64"#),
        Packets::Replay(path) => format!(r#"pcap = "{}", loops = 0"#, path.display()),
    }
}

pub(super) fn neighbor(address: &str, mac: &str) -> String {
    format!("\n[[neighbor]]\ninterface = \"out\"\naddress = \"{address}\"\nmac = \"{mac}\"\n")
}

pub(super) fn route(prefix: &str, via: &str) -> String {
    format!("\n[[route]]\nprefix = \"{prefix}\"\nvia = \"{via}\"\n")
}

pub(super) fn l2_xconnect(workers: usize, packets: &Packets<'_>) -> String {
    let packet =
        format!("eth {SOURCE_MAC} > {NEXT_MAC} / ip4 10.0.0.2 > 20.0.0.0-20.15.66.63 / udp 1000 > 2000");
    interfaces(workers, &stream(packets, &packet), [r#"l2-xconnect = "out""#, r#"l2-xconnect = "in""#])
}

/// A bridge that knows where the frames' destination is.
fn bridge(workers: usize, packets: &Packets<'_>) -> String {
    let packet =
        format!("eth {SOURCE_MAC} > {NEXT_MAC} / ip4 10.0.0.2 > 20.0.0.0-20.15.66.63 / udp 1000 > 2000");
    interfaces(workers, &stream(packets, &packet), ["", ""])
        + &format!(
            r#"
[bridge.case]
members = ["in", "out"]
macs = [{{ mac = "{NEXT_MAC}", interface = "out" }}]
"#
        )
}

/// Packets that come in with a tag, are routed, and leave with another.
fn vlan(workers: usize, packets: &Packets<'_>) -> String {
    let packet = format!(
        "eth {SOURCE_MAC} > {IN_MAC} / vlan 100 / ip4 10.0.0.2 > 20.0.0.0-20.15.66.63 / udp 1000 > 2000"
    );
    let sub = |parent: &str, vlan: u16, addresses: &str| {
        format!(
            "\n[interface.\"{parent}.{vlan}\"]\ndriver = \"vlan\"\nparent = \"{parent}\"\nvlan = {vlan}\n{addresses}\n"
        )
    };
    interfaces(workers, &stream(packets, &packet), ["", ""])
        + &sub("in", 100, ADDRESSES4[0])
        + &sub("out", 200, ADDRESSES4[1])
        + &neighbor(NEXT_HOP4, NEXT_MAC).replace("\"out\"", "\"out.200\"")
        + &route("20.0.0.0/8", NEXT_HOP4)
}

pub(super) fn ip4_1(workers: usize, _: &Packets<'_>) -> String {
    ip4_one_route(workers, 64, "")
}

/// Frames of so many bytes by one route, with more keys for the interface that they come in on.
pub(super) fn ip4_one_route(workers: usize, frame_bytes: usize, keys: &str) -> String {
    let stream = format!(
        r#"packet = "eth {SOURCE_MAC} > {IN_MAC} / ip4 10.0.0.2 > 20.0.0.0-20.15.66.63 / udp 1000 > 2000", size = {frame_bytes}"#
    );
    let input = format!("{}\n{keys}", ADDRESSES4[0]);
    interfaces(workers, &stream, [&input, ADDRESSES4[1]])
        + &neighbor(NEXT_HOP4, NEXT_MAC)
        + &route("20.0.0.0/8", NEXT_HOP4)
}

/// Packets of 1,500 bytes for a link of 576: three fragments each.
fn ip4_fragment(workers: usize, _: &Packets<'_>) -> String {
    let stream = format!(
        r#"packet = "eth {SOURCE_MAC} > {IN_MAC} / ip4 10.0.0.2 > 20.0.0.0-20.15.66.63 / udp 1000 > 2000", size = {FRAGMENTED_BYTES}"#
    );
    let output = format!("{}\nmtu = 576", ADDRESSES4[1]);
    interfaces(workers, &stream, [ADDRESSES4[0], &output])
        + &neighbor(NEXT_HOP4, NEXT_MAC)
        + &route("20.0.0.0/8", NEXT_HOP4)
}

/// One route over several next hops; flows differ in destination and port.
fn ip4_ecmp(workers: usize, packets: &Packets<'_>) -> String {
    let packet =
        format!("eth {SOURCE_MAC} > {IN_MAC} / ip4 10.0.0.2 > 20.0.0.0/12 random / udp random > 2000");
    let mut text = interfaces(workers, &stream(packets, &packet), ADDRESSES4);
    for path in 0..PATHS {
        let address = format!("10.0.1.{}", path + 2);
        text += &neighbor(&address, &format!("02:00:00:00:01:{path:02x}"));
        text += &route("20.0.0.0/8", &address);
    }
    text
}

/// Routes come from the case's table; so do packets, or they are for any address of the table's range.
pub(super) fn ip4(workers: usize, packets: &Packets<'_>) -> String {
    let packet = format!("eth {SOURCE_MAC} > {IN_MAC} / ip4 10.0.0.2 > 64.0.0.0/4 random / udp 1000 > 2000");
    interfaces(workers, &stream(packets, &packet), ADDRESSES4) + &neighbor(NEXT_HOP4, NEXT_MAC)
}

fn ip6_1(workers: usize, packets: &Packets<'_>) -> String {
    ip6(workers, packets) + &route("2001:db8:20::/48", NEXT_HOP6)
}

pub(super) fn ip6(workers: usize, packets: &Packets<'_>) -> String {
    let packet = format!(
        "eth {SOURCE_MAC} > {IN_MAC} / ip6 2001:db8:a::2 > 2001:db8:20::-2001:db8:20::f:423f / udp 1000 > 2000"
    );
    interfaces(workers, &stream(packets, &packet), ADDRESSES6) + &neighbor(NEXT_HOP6, NEXT_MAC)
}
