//! `cargo xtask bench tuntap`: packets a second to the host and back, bulk TCP with a server there, routes a second of a mirror, and a
//! million routes withdrawn at once under traffic. Needs root.

use std::fmt;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use raddle_tests::host_side::{batch, in_sync, many};
use raddle_tests::iperf::Direction;
use raddle_tests::wait::wait_for;
use raddle_tests::{
    Daemon, DaemonConfig, HostSpec, IperfServer, Namespace, Topology, UdpFlow, iperf, ping, raddle,
};
use rustix::process::Signal;
use serde::Serialize;
use serde_json::json;

use crate::bench_tcp::Plan;

const WAIT: Duration = Duration::from_secs(60);
const ROUTES: u32 = 100_000;
const MANY: u32 = 1_000_000;
/// Datagrams a second while many routes come and go.
const PACED: u32 = 2000;
/// Threads that answer on the host.
const ECHOES: usize = 2;

/// Packets for raddle's own address, which the host answers; the limit is out of their way.
const CONFIG: &str = r#"
[punt.udp]
rate = 10000000
burst = 1000000

[interface.in]
driver = "packet-generator"
mac = "02:00:00:00:00:01"
addresses = ["10.0.0.1/24"]
neighbor.dad = false
streams = [{ name = "udp", packet = "eth 02:00:00:00:00:02 > 02:00:00:00:00:01 / ip4 10.0.0.2 > 10.0.0.1 / udp 1000 > 2000", size = 64 }]

[tuntap.interface.in]
[[tuntap.mirror]]
"#;

/// Measures and prints.
///
/// # Errors
/// When something does not work, or the file cannot be written.
pub(crate) fn measure(plan: &Plan<'_>) -> Result<()> {
    let (router, host) = (Namespace::create("router")?, Namespace::create("host")?);
    let plugins = raddle().with_file_name("plugins");
    let config = DaemonConfig::new().workers(plan.workers).plugins(&plugins).with(&CONFIG.replace(
        "[tuntap.interface.in]",
        &format!("[tuntap]\nnamespace = \"{}\"\n[tuntap.interface.in]", host.name()),
    ));
    let daemon = Daemon::start(&router, &config)?;
    wait_for("the tap", WAIT, || {
        let there = host.interfaces()?.iter().any(|name| name == "in");
        Ok((there && host.ip("address show in")?.contains("10.0.0.1/24")).then_some(()))
    })?;
    host.ip("neighbor replace 10.0.0.2 lladdr 02:00:00:00:00:02 dev in nud permanent")?;
    let mut best = (0.0_f64, 0.0_f64);
    for round in 1..=plan.rounds {
        let (to, back) = packets(&daemon, &host, plan.seconds)?;
        println!("round {round}: {to:.0} packets/s to the host, {back:.0} packets/s back");
        best = (best.0.max(to), best.1.max(back));
    }
    let (mut added, mut withdrawn) = (0.0_f64, 0.0_f64);
    for round in 1..=plan.rounds {
        let (add, withdraw) = routes(&daemon, &host)?;
        println!("round {round}: {add:.0} routes/s taken over, {withdraw:.0} routes/s withdrawn");
        (added, withdrawn) = (added.max(add), withdrawn.max(withdraw));
    }
    daemon.stop()?;
    drop((router, host));
    let mut gbit = 0.0_f64;
    for round in 1..=plan.rounds {
        let rate = tcp(plan)?;
        println!("round {round}: {rate:.2} Gbit/s of TCP from a neighbour's tap to a server on the host");
        gbit = gbit.max(rate);
    }
    let million = million(plan)?;
    println!(
        "\nbest of {} rounds, {} workers:\nto the host   {:.0} packets/s\nand back      {:.0} packets/s\n\
         taken over    {added:.0} routes/s\nwithdrawn     {withdrawn:.0} routes/s\nTCP           {gbit:.2} Gbit/s\n{million}",
        plan.rounds, plan.workers, best.0, best.1
    );
    if let Some(file) = plan.json {
        let figures = json!({
            "to-host-packets-per-second": best.0, "back-packets-per-second": best.1,
            "routes-added-per-second": added, "routes-withdrawn-per-second": withdrawn,
            "tcp-gbit-per-second": gbit, "million": million,
        });
        let text = serde_json::to_string_pretty(&figures)? + "\n";
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

/// Bulk TCP from a neighbour behind a tap to a server on the host, in Gbit/s: two taps, as between neighbours in `bench tcp`.
fn tcp(plan: &Plan<'_>) -> Result<f64> {
    let topology = Topology::create([HostSpec::new("alice", "east", 1).with_tap()])?;
    let (alice, host) = (topology.host("alice"), Namespace::create("host")?);
    let config = DaemonConfig::routed(&topology)
        .workers(plan.workers)
        .plugins(&raddle().with_file_name("plugins"))
        .with(&format!("[tuntap]\nnamespace = \"{}\"\n[tuntap.interface.east]", host.name()));
    let daemon = Daemon::start(&topology.router, &config)?;
    topology.await_taps()?;
    wait_for("the host to be reached", WAIT, || {
        let there = host.interfaces()?.iter().any(|name| name == "east");
        Ok((there && ping(&host, alice.spec.ipv4, 1)?.received > 0).then_some(()))
    })?;
    let server = IperfServer::start(&host)?;
    let transfer = iperf(&alice.namespace, alice.spec.gateway4, Direction::Upload, plan.seconds)?;
    drop(server);
    daemon.stop()?;
    Ok(transfer.gbit_per_second)
}

/// Packets a second that the host gets, and that come back by its tap.
fn packets(daemon: &Daemon<'_>, host: &Namespace, seconds: u32) -> Result<(f64, f64)> {
    let stop = AtomicBool::new(false);
    let socket = host.udp("10.0.0.1:2000")?;
    socket.set_read_timeout(Some(Duration::from_millis(50)))?;
    std::thread::scope(|scope| {
        for _ in 0..ECHOES {
            let socket = socket.try_clone()?;
            let stop = &stop;
            scope.spawn(move || echo(&socket, stop));
        }
        let outcome = (|| {
            daemon.ctl("packet-generator start in udp")?;
            let (begin, before) = (Instant::now(), counts(daemon)?);
            // The window itself.
            std::thread::sleep(Duration::from_secs(seconds.into()));
            let (elapsed, after) = (begin.elapsed().as_secs_f64(), counts(daemon)?);
            daemon.ctl("packet-generator stop in udp")?;
            Ok(((after.0 - before.0) as f64 / elapsed, (after.1 - before.1) as f64 / elapsed))
        })();
        stop.store(true, Ordering::Relaxed);
        outcome
    })
}

fn echo(socket: &UdpSocket, stop: &AtomicBool) {
    let mut bytes = [0; 2048];
    while !stop.load(Ordering::Relaxed) {
        let Ok((length, from)) = socket.recv_from(&mut bytes) else { continue };
        // What the tap has no room for is lost, as on any device.
        let _ = socket.send_to(&bytes[..length], from);
    }
}

/// Packets punted to the host, and packets that the host sent back out.
fn counts(daemon: &Daemon<'_>) -> Result<(u64, u64)> {
    let interfaces = daemon.ctl_json("show interface")?;
    let of = |name: &str, count: &str| {
        let row = interfaces.as_array()?.iter().find(|row| row["name"] == name)?;
        row[count].as_u64()
    };
    let to = of("host-in", "tx-packets").context("a count of the tap")?;
    Ok((to, of("in", "tx-packets").context("a count of the interface")?))
}

/// Routes a second that a mirror takes over when they are there at once, and that it withdraws.
fn routes(daemon: &Daemon<'_>, host: &Namespace) -> Result<(f64, f64)> {
    // They are put there while raddle stands still, or it would be `ip` that is measured.
    daemon.signal(Signal::STOP)?;
    batch(host, &many(ROUTES, "add", "via 10.0.0.2"))?;
    daemon.signal(Signal::CONT)?;
    let begin = Instant::now();
    in_sync(daemon, ROUTES.into(), ROUTES.into())?;
    let added = f64::from(ROUTES) / begin.elapsed().as_secs_f64();
    daemon.signal(Signal::STOP)?;
    host.ip("route flush root 20.0.0.0/8")?;
    daemon.signal(Signal::CONT)?;
    let begin = Instant::now();
    in_sync(daemon, 0, 0)?;
    Ok((added, f64::from(ROUTES) / begin.elapsed().as_secs_f64()))
}

/// What a million routes cost that are withdrawn at once, while datagrams that have nothing to do with them are forwarded.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Million {
    added_seconds: f64,
    withdrawn_seconds: f64,
    datagrams: u64,
    lost: usize,
    /// Memory of the daemon without them, with them, at most, and at the end.
    megabytes: [u64; 4],
}

impl fmt::Display for Million {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { added_seconds, withdrawn_seconds, datagrams, lost, megabytes } = self;
        let [without, with, most, end] = megabytes;
        write!(
            f,
            "a million     taken over in {added_seconds:.1} s, withdrawn in {withdrawn_seconds:.1} s; {lost} of {datagrams} datagrams \
             lost meanwhile; {without} MB without, {with} MB with them, {most} MB at most, {end} MB at the end"
        )
    }
}

fn million(plan: &Plan<'_>) -> Result<Million> {
    let (topology, host) = (Topology::two_hosts()?, Namespace::create("host")?);
    let config = DaemonConfig::routed(&topology)
        .workers(plan.workers)
        .plugins(&raddle().with_file_name("plugins"))
        .with(&format!(
            "[tuntap]\nnamespace = \"{}\"\n[tuntap.interface.east]\n[[tuntap.mirror]]\n",
            host.name()
        ));
    let daemon = Daemon::start(&topology.router, &config)?;
    let gateway = topology.host("alice").spec.ipv4;
    wait_for("the host to be reached", WAIT, || {
        let there = host.interfaces()?.iter().any(|name| name == "east");
        Ok((there && ping(&host, gateway, 1)?.received > 0).then_some(()))
    })?;
    let without = megabytes(&daemon, "VmRSS")?;
    // One object for all, so that the kernel drops them at once.
    host.ip(&format!("nexthop add id 1 via {gateway} dev east"))?;
    daemon.signal(Signal::STOP)?;
    batch(&host, &many(MANY, "add", "nhid 1"))?;
    daemon.signal(Signal::CONT)?;
    let flow = UdpFlow::start(topology.host("alice"), topology.host("bob"), false, PACED)?;
    let begin = Instant::now();
    in_sync(&daemon, MANY.into(), MANY.into())?;
    let added = begin.elapsed();
    let with = megabytes(&daemon, "VmRSS")?;
    host.ip("nexthop del id 1")?;
    let begin = Instant::now();
    in_sync(&daemon, 0, 0)?;
    let withdrawn = begin.elapsed();
    let report = flow.stop()?;
    let most = megabytes(&daemon, "VmHWM")?;
    let end = megabytes(&daemon, "VmRSS")?;
    daemon.stop()?;
    Ok(Million {
        added_seconds: added.as_secs_f64(),
        withdrawn_seconds: withdrawn.as_secs_f64(),
        datagrams: report.sent,
        lost: report.lost.len(),
        megabytes: [without, with, most, end],
    })
}

/// Memory of the daemon's, by the kernel's word for it.
fn megabytes(daemon: &Daemon<'_>, word: &str) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid()))?;
    let line = status.lines().find_map(|line| line.strip_prefix(word)?.strip_prefix(':'));
    let kilobytes: u64 = line.and_then(|line| line.split_whitespace().next()).context("memory")?.parse()?;
    Ok(kilobytes / 1024)
}
