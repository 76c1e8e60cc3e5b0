//! The demo without root: the same graph, fed by the packet generator.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use raddle_tests::wait::wait_for;
use raddle_tests::{Daemon, DaemonConfig};

use crate::demo_story::{heading, show};

/// The configuration: streams of packets in place of hosts.
const CONFIG: &str = "conf/demo-packet-generator.toml";

/// What the demo adds to it, so that the plugin sees the packets.
const PLUGIN: &str = "\n[flow-count]\ninterfaces = [\"left\"]\n";

/// Packets that are waited for, so that there is something to show.
const PACKETS: u64 = 500;

/// The node at which the trace of a packet begins.
const FIRST_NODE: &str = "packet-generator-input";

/// Tells the story.
///
/// # Errors
/// When raddle does not start or a command fails.
pub(crate) fn tell() -> Result<()> {
    heading("Without root there are no hosts: raddle makes the packets itself");
    println!("  As root this demo puts raddle between two hosts. Here its packet generator feeds the same");
    println!("  graph, plugin included, from {CONFIG}:\n");
    let path = crate::cargo::root().join(CONFIG);
    let streams = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let config =
        DaemonConfig::new().plugins(&crate::build::plugins_directory(true)).with(&streams).with(PLUGIN);
    let daemon = Daemon::start_here(&config)?;
    show(&fs::read_to_string(daemon.config_file())?);

    heading("The plugins it found: raddle ctl show plugins");
    show(&daemon.ctl("show plugins")?);
    heading("One packet's way through the graph: trace add, show trace");
    daemon.ctl(&format!("trace add {FIRST_NODE} 1"))?;
    let trace = wait_for("a packet to be traced", Duration::from_secs(10), || {
        let text = daemon.ctl("show trace")?;
        Ok(text.contains(FIRST_NODE).then_some(text))
    })?;
    show(&trace);
    wait_for("packets to pass", Duration::from_secs(10), || {
        let interfaces = daemon.ctl_json("show interface")?;
        let seen = interfaces
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|row| row["rx-packets"].as_u64())
            .sum::<u64>();
        Ok((seen >= PACKETS).then_some(()))
    })?;
    heading("What each node of the graph did: raddle ctl show runtime");
    show(&daemon.ctl("show runtime")?);
    heading("What the plugin saw: raddle ctl flow-count show");
    show(&daemon.ctl("flow-count show")?);

    heading("raddle stops");
    daemon.stop()?;
    println!("  SIGTERM: gone, with its socket. Nothing is left.\n");
    Ok(())
}
