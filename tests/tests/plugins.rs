//! Plugins from a directory: loaded, refused with a sentence, and loaded while traffic flows.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use raddle_tests::command::finish;
use raddle_tests::{
    Daemon, DaemonConfig, Host, Need, Topology, UdpFlow, ping, raddle, requirement, scratch, target_dir,
    wait_until,
};

const NEEDS: &[Need] = &[Need::Ping, Need::Raddle, Need::FlowCount];

/// What the example plugin's interfaces are given.
const FEATURES: &str = "features = [\"flow-count\"]\n";

fn flow_count() -> PathBuf {
    target_dir().join("plugins/libflow_count.so")
}

/// The C library: a sound shared library that is no plugin.
fn other_library() -> Result<PathBuf> {
    let maps = fs::read_to_string("/proc/self/maps")?;
    let path =
        maps.lines().filter_map(|line| line.split_whitespace().nth(5)).find(|path| path.contains("/libc.so"));
    path.map(PathBuf::from).ok_or_else(|| anyhow!("this program has no C library mapped"))
}

fn routed_with_features(topology: &Topology) -> DaemonConfig {
    topology.hosts().iter().fold(DaemonConfig::new(), |config, host| config.interface(&host.spec, FEATURES))
}

fn demand_reach(from: &Host, to: &Host) -> Result<()> {
    for address in [to.spec.ipv4.into(), std::net::IpAddr::from(to.spec.ipv6)] {
        let report = ping(&from.namespace, address, 10)?;
        assert!(report.received >= 5, "{address}: {}", report.text);
    }
    Ok(())
}

#[test]
fn plugin_in_the_directory_is_on_the_packets_way() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let directory = scratch::directory()?;
    fs::copy(flow_count(), directory.path().join("libflow_count.so"))?;
    for workers in [0, 1, 2] {
        let config = routed_with_features(&topology).plugins(directory.path()).workers(workers);
        let daemon = Daemon::start(&topology.router, &config)?;
        demand_reach(alice, bob)?;
        let plugins = daemon.ctl("show plugins")?;
        assert!(plugins.contains("flow-count"), "{plugins}");
        let flows = daemon.ctl("flow-count show")?;
        for address in [bob.spec.ipv4.to_string(), bob.spec.ipv6.to_string()] {
            assert!(flows.contains(&address), "{workers} workers: no flow with {address} in:\n{flows}");
        }
        let trace = {
            daemon.ctl("trace add af-packet-input 1")?;
            assert!(ping(&alice.namespace, bob.spec.ipv4, 1)?.is_complete());
            daemon.ctl("show trace")?
        };
        assert!(trace.contains("flow-count"), "{trace}");
        daemon.stop()?;
    }
    Ok(())
}

#[test]
fn file_that_is_no_plugin_is_refused_with_its_name_and_harms_nothing() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let directory = scratch::directory()?;
    let whole = fs::read(flow_count())?;
    fs::write(directory.path().join("libflow_count.so"), &whole)?;
    let bad: [(&str, Vec<u8>); 6] = [
        ("libempty.so", Vec::new()),
        ("libtext.so", b"this is not a shared library\n".to_vec()),
        ("libhead.so", whole[..64].to_vec()),
        ("libhalf.so", whole[..whole.len() / 2].to_vec()),
        ("libmachine.so", with_byte(&whole, 18, 0xb7)),
        ("libother.so", fs::read(other_library()?)?),
    ];
    for (name, bytes) in &bad {
        fs::write(directory.path().join(name), bytes)?;
    }
    fs::create_dir(directory.path().join("folder.so"))?;
    std::os::unix::fs::symlink("/nowhere", directory.path().join("libdangling.so"))?;
    let daemon = Daemon::start(&topology.router, &routed_with_features(&topology).plugins(directory.path()))?;
    demand_reach(alice, bob)?;
    assert!(daemon.ctl("flow-count show")?.contains(&bob.spec.ipv4.to_string()));
    let log = daemon.log();
    for (name, _) in &bad {
        assert!(log.lines().any(|line| line.contains(name)), "no sentence about {name} in:\n{log}");
        let refused = daemon.try_ctl(&format!("plugin load {}", directory.path().join(name).display()))?;
        assert_eq!(refused.code, Some(1), "{name}: {refused:?}");
        assert_eq!(
            refused.stderr.trim().lines().count(),
            1,
            "{name} is refused with one sentence: {refused:?}"
        );
        assert!(refused.stderr.contains(name), "{name}: {refused:?}");
    }
    let absent = daemon.try_ctl("plugin load /nowhere/libabsent.so")?;
    assert_eq!(absent.code, Some(1), "{absent:?}");
    assert!(absent.stderr.contains("libabsent.so"), "{absent:?}");
    demand_reach(alice, bob)?;
    daemon.stop()
}

fn with_byte(bytes: &[u8], offset: usize, value: u8) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[offset] = value;
    bytes
}

#[test]
fn plugin_loaded_under_traffic_loses_no_packet() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    for workers in [0, 1, 2] {
        let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology).workers(workers))?;
        demand_reach(alice, bob)?;
        let streams = [
            UdpFlow::start(alice, bob, false, 5000)?,
            UdpFlow::start(bob, alice, false, 1000)?,
            UdpFlow::start(alice, bob, true, 1000)?,
        ];
        daemon.ctl(&format!("plugin load {}", flow_count().display()))?;
        assert!(daemon.ctl("show plugins")?.contains("flow-count"));
        for side in ["east", "west"] {
            daemon.ctl(&format!("set interface feature {side} flow-count on"))?;
        }
        let again = daemon.try_ctl(&format!("plugin load {}", flow_count().display()))?;
        assert_eq!(again.code, Some(1), "the same plugin twice: {again:?}");
        for stream in &streams {
            stream.wait_for_more(1000)?;
        }
        for stream in streams {
            let report = stream.stop()?;
            eprintln!("{workers} workers: {} sent, longest gap {:?}", report.sent, report.longest_gap);
            report.demand_no_loss().with_context(|| format!("{workers} workers"))?;
        }
        let flows = daemon.ctl("flow-count show")?;
        assert!(flows.contains(&bob.spec.ipv4.to_string()), "{flows}");
        daemon.stop()?;
    }
    Ok(())
}

#[test]
fn file_overwritten_on_disk_does_not_touch_the_running_plugin() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let directory = scratch::directory()?;
    let file = directory.path().join("libflow_count.so");
    fs::copy(flow_count(), &file)?;
    let daemon = Daemon::start(&topology.router, &routed_with_features(&topology).plugins(directory.path()))?;
    demand_reach(alice, bob)?;
    // In place, as a careless copy does it: the same file, other content.
    let len = usize::try_from(fs::metadata(&file)?.len())?;
    fs::write(&file, vec![0xcc; len])?;
    demand_reach(alice, bob)?;
    assert!(daemon.ctl("flow-count show")?.contains(&bob.spec.ipv4.to_string()));
    daemon.stop()
}

#[test]
fn configuration_says_which_plugins_are_loaded() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let directory = scratch::directory()?;
    fs::copy(flow_count(), directory.path().join("libflow_count.so"))?;
    let section = |line: &str| format!("[plugins]\npath = \"{}\"\n{line}", directory.path().display());
    for (line, loaded) in [
        ("", true),
        ("only = [\"flow-count\"]", true),
        ("require = [\"flow-count\"]", true),
        ("disable = [\"flow-count\"]", false),
        ("only = [\"another\"]", false),
    ] {
        let daemon = Daemon::start(&topology.router, &DaemonConfig::new().with(&section(line)))?;
        let works = daemon.try_ctl("flow-count show")?.code == Some(0);
        assert_eq!(works, loaded, "{line}: {}", daemon.ctl("show plugins")?);
        daemon.stop()?;
    }
    Ok(())
}

#[test]
fn required_plugin_that_is_missing_or_broken_prevents_the_start() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let whole = fs::read(flow_count())?;
    for (what, bytes) in [("missing", None), ("broken", Some(&whole[..whole.len() / 2]))] {
        let directory = scratch::directory()?;
        if let Some(bytes) = bytes {
            fs::write(directory.path().join("libflow_count.so"), bytes)?;
        }
        let (code, log, socket) = run_to_failure(&topology, directory.path())?;
        assert!(code.is_some_and(|code| code != 0), "{what}: ended with {code:?}:\n{log}");
        assert!(log.contains("flow-count"), "{what}: the log does not name it:\n{log}");
        assert!(!socket, "{what}: the socket is left");
    }
    Ok(())
}

/// Runs a daemon that requires the example plugin in `plugins`; returns exit code, log, and whether its socket is left.
fn run_to_failure(topology: &Topology, plugins: &Path) -> Result<(Option<i32>, String, bool)> {
    let directory = scratch::directory()?;
    let socket = directory.path().join("raddle.sock");
    let section = format!("[plugins]\npath = \"{}\"\nrequire = [\"flow-count\"]", plugins.display());
    let file = directory.path().join("raddle.toml");
    fs::write(&file, DaemonConfig::new().with(&section).render(&socket))?;
    let mut command = topology.router.command(&raddle().to_string_lossy());
    let finished = finish(command.args(["run", "-c"]).arg(&file), Duration::from_secs(60))?;
    // The socket goes before the process does, but be sure of it.
    let left = wait_until("no socket", Duration::from_secs(1), || !socket.exists()).is_err();
    Ok((finished.code, finished.stdout + &finished.stderr, left))
}
