//! `cargo xtask bench drivers`: packets a second that raddle sends by a driver and receives by it again, and what its two nodes cost.
//!
//! Both ends of a veth pair are raddle's: a packet generator sends into the one, and what comes out of the other is counted. What
//! the kernel does in between is in the figures: it is done in the system calls of the two nodes. The drivers take turns, so that
//! each meets the same state of the machine; the best run of each counts. Needs root.

use std::time::Duration;

use anyhow::{Context, Result};
use raddle_tests::wait::wait_for;
use raddle_tests::{Daemon, DaemonConfig, Namespace, raddle};
use serde_json::{Value, json};

use crate::bench_tcp::Plan;

const DRIVERS: [&str; 2] = ["af-packet", "af-xdp"];
/// Bytes of a frame, the checksum of Ethernet not counted.
const SIZES: [u32; 2] = [64, 1500];
const WAIT: Duration = Duration::from_secs(60);

/// One window.
#[derive(Debug, Clone, Copy)]
struct Run {
    /// Packets that came out at the other end, in a second.
    rate: f64,
    /// Of those that were sent, how many did not.
    lost: f64,
    /// Clocks a packet of the node that receives, and of the one that sends.
    clocks: [f64; 2],
}

/// Measures all drivers and prints a table.
///
/// # Errors
/// When a driver does not work, or the file cannot be written.
pub(crate) fn measure(plan: &Plan<'_>) -> Result<()> {
    let mut figures = Vec::new();
    for size in SIZES {
        let mut best: [Option<Run>; DRIVERS.len()] = [None; DRIVERS.len()];
        for round in 1..=plan.rounds {
            for (driver, best) in DRIVERS.iter().zip(&mut best) {
                let run = run(driver, size, plan).with_context(|| format!("{driver}, round {round}"))?;
                println!("round {round}: {}", line(driver, size, &run));
                if best.is_none_or(|best| run.rate > best.rate) {
                    *best = Some(run);
                }
            }
        }
        println!("\nbest of {} runs of {} s, {} workers:", plan.rounds, plan.seconds, plan.workers);
        for (driver, run) in DRIVERS.iter().zip(best.iter().flatten()) {
            println!("{}", line(driver, size, run));
            let Run { rate, lost, clocks: [rx, tx] } = run;
            figures.push(json!({
                "driver": driver, "bytes": size, "packets-per-second": rate, "lost": lost,
                "rx-clocks-per-packet": rx, "tx-clocks-per-packet": tx,
            }));
        }
        println!();
    }
    if let Some(file) = plan.json {
        let text = serde_json::to_string_pretty(&figures)? + "\n";
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

fn line(driver: &str, size: u32, run: &Run) -> String {
    let [rx, tx] = run.clocks;
    format!(
        "{driver:<9} {size:4} B {:6.3} Mpps sent and received, {:.1} % lost; {rx:5.0} clocks/packet to receive, {tx:5.0} to send",
        run.rate / 1e6,
        run.lost * 100.0
    )
}

fn run(driver: &str, size: u32, plan: &Plan<'_>) -> Result<Run> {
    let router = Namespace::create("router")?;
    router.set("ipv6/conf/default/disable_ipv6", "1")?;
    router.ip("link add left type veth peer name right")?;
    let plugins = raddle().with_file_name("plugins");
    let config = DaemonConfig::new().workers(plan.workers).with(&format!(
        r#"
[plugins]
path = "{}"
only = ["af-xdp"]

[interface.source]
driver = "packet-generator"
mac = "02:00:00:00:00:01"
l2-xconnect = "left"
streams = [{{ name = "udp", packet = "eth 02:00:00:00:00:02 > 02:00:00:00:00:01 / ip4 10.0.0.2 > 10.0.0.1 / udp 1000 > 2000", size = {size} }}]

[interface.left]
driver = "{driver}"
device = "left"
l2-xconnect = "source"

[interface.right]
driver = "{driver}"
device = "right"
l2-xconnect = "sink"

[interface.sink]
driver = "packet-generator"
l2-xconnect = "right"
"#,
        plugins.display()
    ));
    let daemon = Daemon::start(&router, &config)?;
    wait_for("the pair to carry", WAIT, || {
        let rows = daemon.ctl_json("show interface")?;
        let up = |name: &str| {
            rows.as_array().into_iter().flatten().any(|row| row["name"] == name && row["state"] == "up")
        };
        Ok((up("left") && up("right")).then_some(()))
    })?;
    daemon.ctl("packet-generator start source udp")?;
    wait_for(
        "packets to come",
        WAIT,
        || Ok((count(&daemon, "right", "rx-packets")? > 10_000).then_some(())),
    )?;
    daemon.ctl("clear runtime")?;
    let before = [count(&daemon, "right", "rx-packets")?, count(&daemon, "left", "tx-packets")?];
    let begin = std::time::Instant::now();
    // The window itself.
    std::thread::sleep(Duration::from_secs(plan.seconds.into()));
    let after = [count(&daemon, "right", "rx-packets")?, count(&daemon, "left", "tx-packets")?];
    let elapsed = begin.elapsed().as_secs_f64();
    let runtime = daemon.ctl_json("show runtime")?;
    daemon.ctl("packet-generator stop source udp")?;
    daemon.stop()?;
    let [received, sent] = [after[0] - before[0], after[1] - before[1]];
    Ok(Run {
        rate: received as f64 / elapsed,
        // The two counts are not of the same moment.
        lost: (1.0 - received as f64 / (sent as f64).max(1.0)).max(0.0),
        clocks: [clocks(&runtime, &format!("{driver}-input")), clocks(&runtime, &format!("{driver}-tx"))],
    })
}

fn count(daemon: &Daemon<'_>, interface: &str, count: &str) -> Result<u64> {
    let rows = daemon.ctl_json("show interface")?;
    let row = rows.as_array().into_iter().flatten().find(|row| row["name"] == interface);
    row.and_then(|row| row[count].as_u64()).with_context(|| format!("no {count} of {interface}: {rows}"))
}

/// Clocks a packet of a node, over all threads.
fn clocks(runtime: &Value, node: &str) -> f64 {
    let threads = runtime["threads"].as_array().into_iter().flatten();
    let rows = threads.flat_map(|thread| thread["nodes"].as_array().into_iter().flatten());
    let (mut clocks, mut packets) = (0, 0);
    for row in rows.filter(|row| row["name"] == node) {
        clocks += row["clocks"].as_u64().unwrap_or(0);
        packets += row["packets"].as_u64().unwrap_or(0);
    }
    clocks as f64 / (packets as f64).max(1.0)
}
