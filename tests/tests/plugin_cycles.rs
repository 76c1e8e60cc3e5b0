//! Loading, upgrading and unloading over and over, under traffic: nothing is lost, and nothing grows.
//!
//! `RADDLE_PLUGIN_CYCLES` sets the number of cycles; a thousand take some minutes.

use std::fs;

use anyhow::{Context, Result};
use raddle_tests::{Daemon, DaemonConfig, Need, TestPlugin, Topology, UdpFlow, requirement, scratch};

const NEEDS: &[Need] = &[Need::Raddle, Need::TestPlugins];
/// Cycles when nobody says how many.
const CYCLES: u32 = 40;
/// Cycles after which everything has been there once: all that is kept for good is made by then.
const WARM: u32 = 10;
/// What the allocator may keep more than before, in KiB: a cycle that lost one page would lose 4,000 in a thousand.
const SLACK_KIB: u64 = 16 << 10;

/// What a process holds on to.
#[derive(Debug, Clone, Copy)]
struct Holdings {
    resident_kib: u64,
    mappings: usize,
    descriptors: usize,
    threads: usize,
}

impl Holdings {
    fn of(daemon: &Daemon<'_>) -> Result<Self> {
        let proc = format!("/proc/{}", daemon.pid());
        let status = fs::read_to_string(format!("{proc}/status"))?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
        Ok(Self {
            resident_kib: resident.trim().trim_end_matches(" kB").parse()?,
            mappings: fs::read_to_string(format!("{proc}/maps"))?.lines().count(),
            descriptors: fs::read_dir(format!("{proc}/fd"))?.count(),
            threads: fs::read_dir(format!("{proc}/task"))?.count(),
        })
    }
}

#[test]
fn cycles_of_load_upgrade_and_unload_lose_no_packet_and_take_no_memory() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let cycles = std::env::var("RADDLE_PLUGIN_CYCLES").ok().and_then(|text| text.parse().ok());
    let cycles = cycles.unwrap_or(CYCLES).max(2 * WARM);
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let directory = scratch::directory()?;
    let (one, two) = (directory.path().join("one.file"), directory.path().join("two.file"));
    TestPlugin::read("faulty")?.write(&one)?;
    TestPlugin::faulty("2.0.710")?.write(&two)?;
    let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology).workers(1))?;
    let streams = [UdpFlow::start(alice, bob, false, 2000)?, UdpFlow::start(bob, alice, true, 200)?];
    let mut warm = None;
    for cycle in 0..cycles {
        let step = |command: &str| -> Result<()> {
            daemon.ctl(command).map(drop).with_context(|| format!("cycle {cycle}"))
        };
        step(&format!("plugin load {}", one.display()))?;
        step("set interface feature east faulty on")?;
        step(&format!("plugin upgrade {}", two.display()))?;
        step(&format!("plugin upgrade {}", one.display()))?;
        step("set interface feature east faulty off")?;
        step("plugin unload faulty")?;
        if cycle + 1 == WARM {
            warm = Some(Holdings::of(&daemon)?);
        }
    }
    let (warm, now) = (warm.context("more cycles than warm ones")?, Holdings::of(&daemon)?);
    eprintln!("{cycles} cycles: {warm:?} after {WARM}, {now:?} at the end");
    assert!(now.resident_kib <= warm.resident_kib + SLACK_KIB, "memory grows: {warm:?}, {now:?}");
    assert!(now.mappings <= warm.mappings + 64, "mappings grow: {warm:?}, {now:?}");
    assert!(now.descriptors <= warm.descriptors + 4, "descriptors grow: {warm:?}, {now:?}");
    // Each of the commands has a thread of the control socket's, which may have been there still.
    assert!(now.threads <= warm.threads + 2, "threads grow: {warm:?}, {now:?}");
    for stream in streams {
        let report = stream.stop()?;
        eprintln!("{} sent, longest gap {:?}", report.sent, report.longest_gap);
        report.demand_no_loss()?;
    }
    let nodes = daemon.ctl("show node")?;
    assert!(!nodes.contains("faulty"), "{nodes}");
    eprintln!("{}", daemon.ctl("show barrier")?);
    daemon.stop()
}
