//! What takes the barrier, and what does not: holds are counted under traffic.

use anyhow::{Context, Result};
use raddle_tests::{Daemon, DaemonConfig, Need, Topology, UdpFlow, requirement};

/// The page of all commands, which a test of the core keeps up to date.
const COMMANDS: &str = include_str!("../../docs/reference/commands.md");

/// Every command that shows something, without what may be left out, and with names where a name is needed.
fn show_commands() -> Vec<String> {
    let usages = COMMANDS.lines().filter_map(|line| line.strip_prefix("- `")?.split_once('`'));
    let shows = usages.map(|(usage, _)| usage).filter(|usage| usage.starts_with("show "));
    shows.filter_map(line).collect()
}

/// A line that the usage allows; `None` where it asks for what the router of this test has not.
fn line(usage: &str) -> Option<String> {
    let mut words = Vec::new();
    let mut depth = 0;
    for word in usage.split_whitespace() {
        let (opens, closes) = (word.matches('[').count(), word.matches(']').count());
        if depth == 0 && opens == 0 {
            words.push(match word {
                "<prefix>" => "10.0.2.0/24",
                word if word.starts_with('<') => return None,
                word => word.split('|').next()?,
            });
        }
        depth = (depth + opens).checked_sub(closes)?;
    }
    Some(words.join(" "))
}

#[test]
fn shows_routes_neighbours_and_addresses_do_not_take_the_barrier() -> Result<()> {
    if !requirement::met(&[Need::Raddle]) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology).workers(2))?;
    let flow = UdpFlow::start(alice, bob, false, 2000)?;
    let holds = || daemon.ctl_json("show barrier")?["holds"].as_u64().context("a count of holds");
    let before = holds()?;
    assert!(before > 0, "interfaces were made");
    let shows = show_commands();
    assert!(shows.len() > 30, "{shows:?}");
    for show in &shows {
        daemon.ctl(show).with_context(|| show.clone())?;
        assert_eq!(holds()?, before, "`{show}` took the barrier");
    }
    for change in [
        "route add 198.51.100.0/24 via 10.0.2.2",
        "route add 198.51.100.0/24 via 10.0.2.3 weight 2",
        "route add 2001:db8:f::/48 via 2001:db8:2::2",
        "route add 203.0.113.0/24 blackhole",
        "route del 198.51.100.0/24 via 10.0.2.3",
        "route del 203.0.113.0/24 blackhole",
        "route flush",
        "neighbor add west 10.0.2.77 02:00:00:00:00:77",
        "neighbor add west 2001:db8:2::77 02:00:00:00:00:77",
        "neighbor del west 10.0.2.77",
        "clear neighbors east",
        "set interface address west add 10.9.0.1/24",
        "set interface address west add 2001:db8:99::1/64",
        "set interface address west del 10.9.0.1/24",
        "set interface urpf east ip4 strict",
        "set interface urpf east ip4 off",
        "clear errors",
        "clear runtime",
        "clear interface counters",
        "trace add af-packet-input 3",
        "clear trace",
        "set interface rx-mode east interrupt",
        "set interface rx-mode east adaptive",
    ] {
        daemon.ctl(change).with_context(|| change.to_owned())?;
        assert_eq!(holds()?, before, "`{change}` took the barrier");
    }
    // The count is alive: what changes queues does take it.
    daemon.ctl("interface create extra driver loopback")?;
    assert!(holds()? > before);
    let barrier = daemon.ctl("show barrier")?;
    assert!(barrier.contains("interface queues") && barrier.contains("longest wait"), "{barrier}");
    let report = flow.stop()?;
    assert!(report.lost.is_empty(), "{} of {} lost", report.lost.len(), report.sent);
    daemon.stop()
}
