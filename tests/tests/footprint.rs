//! What a running raddle takes from its machine when nothing happens.

use std::fs;

use anyhow::{Context, Result};
use raddle_tests::{Daemon, DaemonConfig, Need, Topology, requirement, target_dir};

/// Resident memory in KiB of a kind, such as `RssAnon` (`/proc/PID/status`).
fn resident_kib(pid: u32, kind: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(kind)?.strip_prefix(':'));
    let number = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok());
    number.with_context(|| format!("no {kind} in {status}"))
}

#[test]
fn plugins_that_have_nothing_to_do_take_next_to_no_memory() -> Result<()> {
    if !requirement::met(&[Need::Raddle]) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let config = DaemonConfig::routed(&topology).workers(2).plugins(&target_dir().join("plugins"));
    let daemon = Daemon::start(&topology.router, &config)?;
    let loaded = daemon.ctl_json("show plugins")?;
    let active = loaded.as_array().into_iter().flatten().filter(|plugin| plugin["state"] == "active");
    let names: Vec<_> = active.filter_map(|plugin| plugin["name"].as_str()).collect();
    for name in ["acl", "af-xdp", "nat64", "tuntap", "ipsec"] {
        assert!(names.contains(&name), "{name} is not among {names:?}");
    }
    // Code is the files' own and shared with whoever runs it too; packet buffers are shared memory of a size that is
    // configured. The rest is what raddle takes.
    let anonymous = resident_kib(daemon.pid(), "RssAnon")?;
    assert!(anonymous < 30 << 10, "{anonymous} KiB with {names:?}");
    daemon.stop()
}
