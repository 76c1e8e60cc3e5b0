//! The demo's third act: an IPv6-only host reads a page from an IPv4-only web server, which it knows by name.

use std::fs;
use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;

use anyhow::{Result, ensure};
use raddle_tests::{Daemon, DaemonConfig, Dns64, HostSpec, Topology, WebServer, ping};

use crate::demo_story::{heading, show};

const PREFIX: &str = "2001:db8:64::/96";
/// A prefix of the operator's own, as bob's address is private.
const SECTION: &str = "[nat64]\nprefixes = [\"2001:db8:64::/96\"]\npool = [\"192.0.2.1\"]\n";

/// Tells it.
///
/// # Errors
/// When anything in it does not happen as told.
pub(crate) fn tell() -> Result<()> {
    heading("NAT64: alice loses her IPv4, bob his IPv6, and raddle translates");
    let specs = [
        HostSpec::new("alice", "east", 1),
        HostSpec::new("bob", "west", 2),
        HostSpec::new("carol", "south", 3),
    ];
    let topology = Topology::create(specs)?;
    let (alice, bob, carol) = (topology.host("alice"), topology.host("bob"), topology.host("carol"));
    alice.namespace.ip("-4 address flush dev eth0")?;
    bob.namespace.ip("-6 address flush dev eth0")?;
    let config =
        DaemonConfig::routed(&topology).plugins(&crate::build::plugins_directory(true)).with(SECTION);
    let daemon = Daemon::start(&topology.router, &config)?;
    show(SECTION);
    let [a, b, c, d] = bob.spec.ipv4.octets();
    let word = |high, low| u16::from_be_bytes([high, low]);
    let address: IpAddr = Ipv6Addr::new(0x2001, 0xdb8, 0x64, 0, 0, 0, word(a, b), word(c, d)).into();
    let report = ping(&alice.namespace, address, 5)?;
    ensure!(report.received > 0, "no ping to {address} was answered:\n{}", report.text);
    println!(
        "    bob is {} outside and {address} inside: {} of {} pings answered",
        bob.spec.ipv4, report.received, report.sent
    );
    let ready = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf/nat64-unbound.conf");
    let names = [("bob", bob.spec.ipv4)];
    let resolver = Dns64::start(&carol.namespace, carol.spec.ipv6, PREFIX, &names, &ready)?;
    heading("DNS64: carol runs unbound by conf/nat64-unbound.conf, and alice asks her for bob");
    show(&resolver.addresses(&alice.namespace, "bob")?);
    let folder = raddle_tests::scratch::directory()?;
    let page = "Hello alice, this is bob, who knows no IPv6.\n";
    fs::write(folder.path().join("index.txt"), page)?;
    let _server = WebServer::start(&bob.namespace, folder.path())?;
    let to = folder.path().join("fetched");
    let fetched = resolver.fetch(&alice.namespace, "bob", "index.txt", &to)?;
    let text = fs::read_to_string(&to)?;
    ensure!(text == page, "another page arrived: {text:?}");
    println!(
        "    curl http://bob.example.net: {} after {:.1} ms: {}",
        fetched.status,
        fetched.seconds * 1000.0,
        text.trim()
    );
    heading("What it keeps of that: raddle ctl show nat64 sessions");
    show(&daemon.ctl("show nat64 sessions")?);
    show(&daemon.ctl("show nat64 summary")?);
    daemon.stop()
}
