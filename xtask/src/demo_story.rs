//! The demo as root: two hosts in network namespaces, raddle between them, a plugin on the packets' way.

use std::fs;
use std::net::IpAddr;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use raddle_tests::iperf::Direction;
use raddle_tests::{Daemon, DaemonConfig, Host, IperfServer, Topology, WebServer, fetch, iperf, ping};

/// What the interfaces do besides forwarding: the example plugin's features.
const FEATURES: &str = "features = [\"flow-count\"]\n";

/// The node at which the trace of a packet begins.
const FIRST_NODE: &str = "af-packet-input";

/// Length of each bulk transfer, in seconds.
const TRANSFER: u32 = 2;

/// Tells the story.
///
/// # Errors
/// When anything in it does not happen as told.
pub(crate) fn tell() -> Result<()> {
    heading("Two hosts with nothing between them but raddle");
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    print_map(alice, bob);

    heading("raddle starts, with a plugin that counts flows");
    let begin = Instant::now();
    let config = DaemonConfig::new()
        .plugins(&crate::build::plugins_directory(true))
        .interface(&alice.spec, FEATURES)
        .interface(&bob.spec, FEATURES);
    let daemon = Daemon::start(&topology.router, &config)?;
    show(&fs::read_to_string(daemon.config_file())?);
    println!("  It answers after {:.0} ms. The plugins it found:\n", begin.elapsed().as_secs_f64() * 1000.0);
    show(&daemon.ctl("show plugins")?);

    let families = [IpAddr::from(bob.spec.ipv4), IpAddr::from(bob.spec.ipv6)];
    heading("alice pings bob");
    for address in families {
        tell_ping(alice, address)?;
    }
    heading("alice reads a page from bob's web server");
    tell_web(alice, bob, &families)?;
    heading("alice and bob move bulk data over TCP, one connection");
    let server = IperfServer::start(&bob.namespace)?;
    for address in families {
        tell_bulk(alice, address)?;
    }
    drop(server);

    heading("What the plugin saw: raddle ctl flow-count show");
    show(&daemon.ctl("flow-count show")?);
    heading("What went through the interfaces: raddle ctl show interface");
    show(&daemon.ctl("show interface")?);
    heading("What each node of the graph did: raddle ctl show runtime");
    show(&daemon.ctl("show runtime")?);
    heading("One packet's way through the graph: trace add, a ping, show trace");
    daemon.ctl(&format!("trace add {FIRST_NODE} 1"))?;
    ensure!(ping(&alice.namespace, bob.spec.ipv4, 1)?.is_complete(), "the traced ping was lost");
    show(&daemon.ctl("show trace")?);

    heading("raddle stops");
    let begin = Instant::now();
    daemon.stop()?;
    println!("  SIGTERM: gone after {:.0} ms, with its socket.", begin.elapsed().as_secs_f64() * 1000.0);
    drop(topology);
    crate::demo_nat64::tell()?;
    let left = own_namespaces();
    ensure!(left.is_empty(), "namespaces are left: {}", left.join(", "));
    println!("  The namespaces are gone too: nothing is left.\n");
    Ok(())
}

/// Prints what a part of the story is about.
pub(crate) fn heading(text: &str) {
    println!("\n▸ {text}\n");
}

/// Prints what a program said, set off from the story.
pub(crate) fn show(text: &str) {
    for line in text.trim_end().lines() {
        println!("    {line}");
    }
    println!();
}

fn print_map(alice: &Host, bob: &Host) {
    let (a, b) = (&alice.spec, &bob.spec);
    let row =
        |left: IpAddr, line: &str, right: IpAddr| println!("    {:>15}  {line}  {right}", left.to_string());
    println!("    {:>15}  ═══════ {} ┌────────┐ {} ═══════  bob", "alice", a.interface, b.interface);
    row(a.ipv4.into(), "             │ raddle │             ", b.ipv4.into());
    row(a.ipv6.into(), "             └────────┘             ", b.ipv6.into());
    println!();
    println!("  Each host is a network namespace, each line a veth pair, offloads left on. The kernel");
    println!("  between them forwards nothing: every packet goes through raddle, a plain process.");
}

fn tell_ping(alice: &Host, address: IpAddr) -> Result<()> {
    let report = ping(&alice.namespace, address, 5)?;
    ensure!(report.received > 0, "no ping to {address} was answered:\n{}", report.text);
    let times = report.text.lines().rfind(|line| line.starts_with("rtt")).unwrap_or_default();
    println!("    {address}: {} of {} answered, {times}", report.received, report.sent);
    Ok(())
}

fn tell_web(alice: &Host, bob: &Host, families: &[IpAddr]) -> Result<()> {
    let folder = raddle_tests::scratch::directory()?;
    let page = "Hello alice, this is bob, through raddle.\n";
    fs::write(folder.path().join("index.txt"), page)?;
    let _server = WebServer::start(&bob.namespace, folder.path())?;
    for &address in families {
        let to = folder.path().join("fetched");
        let fetched = fetch(&alice.namespace, address, "index.txt", &to)?;
        let text = fs::read_to_string(&to).context("the page did not arrive")?;
        ensure!(text == page, "another page arrived: {text:?}");
        let milliseconds = fetched.seconds * 1000.0;
        println!("    {address}: {} after {milliseconds:.1} ms: {}", fetched.status, text.trim());
    }
    Ok(())
}

fn tell_bulk(alice: &Host, address: IpAddr) -> Result<()> {
    let sum = iperf(&alice.namespace, address, Direction::Upload, TRANSFER)?;
    let gigabytes = sum.len_bytes as f64 / 1e9;
    println!("    {address}: {gigabytes:.2} GB in {TRANSFER} s, {:.1} Gbit/s", sum.gbit_per_second);
    Ok(())
}

/// The namespaces this process has made and not yet removed.
fn own_namespaces() -> Vec<String> {
    let prefix = format!("{}{}-", raddle_tests::sweep::PREFIX, std::process::id());
    raddle_tests::sweep::namespaces().into_iter().filter(|name| name.starts_with(&prefix)).collect()
}
