//! `cargo xtask bench tuntap`: packets a second to the host and back, bulk TCP with a server there, and routes a second of a mirror.
//! Needs root.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, UdpSocket};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use raddle_tests::command::words;
use raddle_tests::iperf::Direction;
use raddle_tests::wait::wait_for;
use raddle_tests::{Daemon, DaemonConfig, HostSpec, IperfServer, Namespace, Topology, iperf, ping, raddle};
use serde_json::json;

use crate::bench_tcp::Plan;

const WAIT: Duration = Duration::from_secs(60);
const ROUTES: u32 = 100_000;
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
    println!(
        "\nbest of {} rounds, {} workers:\nto the host   {:.0} packets/s\nand back      {:.0} packets/s\n\
         taken over    {added:.0} routes/s\nwithdrawn     {withdrawn:.0} routes/s\nTCP           {gbit:.2} Gbit/s",
        plan.rounds, plan.workers, best.0, best.1
    );
    if let Some(file) = plan.json {
        let figures = json!({
            "to-host-packets-per-second": best.0, "back-packets-per-second": best.1,
            "routes-added-per-second": added, "routes-withdrawn-per-second": withdrawn,
            "tcp-gbit-per-second": gbit,
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
    let mut text = String::new();
    for number in 0..ROUTES {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "route add {}/32 via 10.0.0.2", Ipv4Addr::from(0x1400_0000 + number));
    }
    let directory = raddle_tests::scratch::directory()?;
    let file = directory.path().join("routes");
    std::fs::write(&file, text)?;
    let in_sync = |count: u32| {
        wait_for("the mirror to be in sync", WAIT, || {
            let mirror = &daemon.ctl_json("show tuntap")?["mirrors"][0];
            Ok((mirror["in-sync"] == count && mirror["kernel"] == count && mirror["pending"] == 0)
                .then_some(()))
        })
    };
    // They are put there while raddle stands still, or it would be `ip` that is measured.
    daemon.signal(rustix::process::Signal::STOP)?;
    let mut command = words(&format!("ip -n {} -batch {}", host.name(), file.display()));
    ensure!(command.stdout(Stdio::null()).status()?.success(), "ip -batch failed");
    daemon.signal(rustix::process::Signal::CONT)?;
    let begin = Instant::now();
    in_sync(ROUTES)?;
    let added = f64::from(ROUTES) / begin.elapsed().as_secs_f64();
    daemon.signal(rustix::process::Signal::STOP)?;
    host.ip("route flush root 20.0.0.0/8")?;
    daemon.signal(rustix::process::Signal::CONT)?;
    let begin = Instant::now();
    in_sync(0)?;
    Ok((added, f64::from(ROUTES) / begin.elapsed().as_secs_f64()))
}
