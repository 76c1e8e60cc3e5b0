//! What an operator meets: the config check, exit codes, signals, one instance a socket, and an idle process.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use raddle_tests::command::{Finished, LIMIT, finish};
use raddle_tests::daemon::ctl_on;
use raddle_tests::{
    Daemon, DaemonConfig, Namespace, Need, Process, Topology, raddle, requirement, scratch, wait_until,
};
use rustix::process::Signal;

const NEEDS: &[Need] = &[Need::Raddle];

/// Exit codes of the program, as the operator guide has them.
const BAD_CONFIG: i32 = 2;
const BAD_USAGE: i32 = 2;
const COMMAND_FAILED: i32 = 1;
const UNREACHABLE: i32 = 4;

fn check(file: &Path) -> Result<Finished> {
    finish(Command::new(raddle()).args(["config", "check"]).arg(file), LIMIT)
}

#[test]
fn config_error_is_told_with_line_column_and_nearest_name() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let directory = scratch::directory()?;
    let file = directory.path().join("raddle.toml");
    for (text, position, words) in [
        ("[runtime]\nworkerz = 1\n", "2:1", &["workerz", "workers"][..]),
        ("[runtime]\nworkers = \"two\"\n", "2:11", &["workers"]),
        ("[runtime]\nworkers = 1\nworkers = 2\n", "3:1", &["workers"]),
        ("[runtim]\nworkers = 1\n", "1:2", &["runtim", "runtime"]),
        ("[interface.east]\ndriver = \"af-paket\"\n", "2:10", &["af-paket", "af-packet"]),
        (
            "[interface.east]\ndriver = \"loopback\"\naddresses = [\"10.0.0.1/24\", \"10.0.0.300/24\"]\n",
            "3:29",
            &["10.0.0.300/24"],
        ),
        (
            "[interface.east]\ndriver = \"loopback\"\naddresses = [\"10.0.0.1/33\"]\n",
            "3:14",
            &["10.0.0.1/33"],
        ),
        (
            "[interface.east]\ndriver = \"loopback\"\n\n[[route]]\nprefix = \"10.0.0.0/8\"\nvia = \"10.0.0.1\"\ninterface = \"eats\"\n",
            "7:13",
            &["eats", "east"],
        ),
        (
            "[interface.east]\ndriver = \"loopback\"\n[interface.east]\ndriver = \"loopback\"\n",
            "3:",
            &["east"],
        ),
        ("[interface.east\n", "1:", &[]),
    ] {
        fs::write(&file, text)?;
        let checked = check(&file)?;
        assert_eq!(checked.code, Some(BAD_CONFIG), "{text}{checked:?}");
        let place = format!("{}:{position}", file.display());
        assert!(checked.stderr.contains(&place), "{text}no {place} in: {}", checked.stderr);
        for word in words {
            assert!(checked.stderr.contains(word), "{text}no {word} in: {}", checked.stderr);
        }
        let run = finish(Command::new(raddle()).args(["run", "-c"]).arg(&file), LIMIT)?;
        assert_eq!(run.code, Some(BAD_CONFIG), "run with\n{text}{run:?}");
        assert!(run.stderr.contains(&place), "run with\n{text}{run:?}");
    }
    let absent = check(&directory.path().join("absent.toml"))?;
    assert_eq!(absent.code, Some(BAD_CONFIG), "{absent:?}");
    assert!(absent.stderr.contains("absent.toml"), "{absent:?}");
    Ok(())
}

#[test]
fn empty_file_is_a_configuration() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let directory = scratch::directory()?;
    let file = directory.path().join("raddle.toml");
    fs::write(&file, "")?;
    let checked = check(&file)?;
    assert_eq!(checked.code, Some(0), "{checked:?}");
    let namespace = Namespace::create("empty")?;
    Daemon::start(&namespace, &DaemonConfig::new())?.stop()
}

#[test]
fn every_ready_configuration_passes_the_check() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../conf");
    let mut count = 0;
    for entry in fs::read_dir(&folder).context("conf/")? {
        let file = entry?.path();
        if file.extension().is_some_and(|extension| extension == "toml") {
            let checked = check(&file)?;
            assert_eq!(checked.code, Some(0), "{}: {checked:?}", file.display());
            count += 1;
        }
    }
    assert!(count > 0, "conf/ has no configuration");
    Ok(())
}

#[test]
fn second_instance_on_the_socket_is_refused_and_the_first_goes_on() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology))?;
    let mut command = topology.router.command(&raddle().to_string_lossy());
    let second = finish(command.args(["run", "-c"]).arg(daemon.config_file()), LIMIT)?;
    assert!(second.code.is_some_and(|code| code != 0), "{second:?}");
    assert!(second.stderr.contains(&daemon.socket().display().to_string()), "{second:?}");
    assert!(daemon.ctl("show interface")?.contains("east"));
    daemon.stop()
}

#[test]
fn socket_that_a_killed_instance_left_is_taken_over() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let namespace = Namespace::create("crash")?;
    let directory = scratch::directory()?;
    let socket = directory.path().join("raddle.sock");
    let file = directory.path().join("raddle.toml");
    fs::write(&file, DaemonConfig::new().render(&socket))?;
    let start = || -> Result<Process> {
        let mut process =
            Process::start(namespace.command(&raddle().to_string_lossy()).args(["run", "-c"]).arg(&file))?;
        process.wait_until("raddle to answer", LIMIT, |_| {
            ctl_on(&socket, &["show", "plugins"]).is_ok_and(|finished| finished.code == Some(0))
        })?;
        Ok(process)
    };
    let mut first = start()?;
    first.signal(Signal::KILL)?;
    first.wait(LIMIT)?;
    assert!(socket.exists(), "a killed process cannot tidy up: this test would show nothing");
    let mut second = start()?;
    second.signal(Signal::INT)?;
    let status = second.wait(LIMIT)?;
    assert_eq!(status.code(), Some(0), "SIGINT ends it as SIGTERM does: {status}\n{}", second.log());
    assert!(!socket.exists());
    Ok(())
}

#[test]
fn command_line_tells_failure_from_absence() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let namespace = Namespace::create("ctl")?;
    let daemon = Daemon::start(&namespace, &DaemonConfig::new())?;
    for (command, code, words) in [
        ("show interfce", BAD_USAGE, &["interface"][..]),
        ("trace add", BAD_USAGE, &["trace add"]),
        ("trace add no-such-node 1", COMMAND_FAILED, &["no-such-node"]),
        ("set interface state nowhere up", COMMAND_FAILED, &["nowhere"]),
        ("route add 10.0.0.0/8 via 10.0.0.300", BAD_USAGE, &["10.0.0.300"]),
    ] {
        let failed = daemon.try_ctl(command)?;
        assert_eq!(failed.code, Some(code), "{command}: {failed:?}");
        for word in words {
            assert!(failed.stderr.contains(word), "{command}: no {word} in {failed:?}");
        }
    }
    for command in [
        "show interface",
        "show runtime",
        "show errors",
        "show fib",
        "show neighbors",
        "show plugins",
        "show features",
    ] {
        assert!(!daemon.ctl(command)?.is_empty(), "{command} says nothing");
        daemon.ctl_json(command)?;
    }
    let socket = daemon.socket().to_owned();
    daemon.stop()?;
    let unreachable = ctl_on(&socket, &["show", "plugins"])?;
    assert_eq!(unreachable.code, Some(UNREACHABLE), "{unreachable:?}");
    assert!(unreachable.stderr.contains(&socket.display().to_string()), "{unreachable:?}");
    Ok(())
}

#[test]
fn sigterm_under_traffic_leaves_nothing() -> Result<()> {
    if !requirement::met(&[Need::Ping, Need::Raddle]) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    for workers in [0, 2] {
        let tap = "[interface.lan]\ndriver = \"tap\"\ndevice = \"lan0\"\nup = true";
        let config = DaemonConfig::routed(&topology).workers(workers).with(tap);
        let daemon = Daemon::start(&topology.router, &config)?;
        let address = bob.spec.ipv4.to_string();
        let mut command = alice.namespace.command("ping");
        let mut flood = Process::start(command.args(["-f", "-q", "-c", "1000000", &address]))?;
        wait_until("traffic", LIMIT, || {
            let row = raddle_tests::observe::interface(&daemon, "west");
            row.is_ok_and(|row| row.is_some_and(|row| row.tx_packets > 1000))
        })?;
        daemon.stop().with_context(|| format!("{workers} workers"))?;
        assert!(flood.ended()?.is_none(), "the traffic should have outlived raddle");
    }
    Ok(())
}

#[test]
fn idle_process_uses_under_one_percent_of_a_core() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let tap = "[interface.lan]\ndriver = \"tap\"\ndevice = \"lan0\"\nup = true";
    for workers in [0, 2] {
        let daemon =
            Daemon::start(&topology.router, &DaemonConfig::routed(&topology).workers(workers).with(tap))?;
        // What the start itself costs ends soon: the best of several seconds shows the idle state.
        let begin = Instant::now();
        let mut best = Duration::MAX;
        while best > Duration::from_millis(40) && begin.elapsed() < Duration::from_secs(60) {
            let before = cpu_time(daemon.pid())?;
            std::thread::sleep(Duration::from_secs(4));
            best = best.min(cpu_time(daemon.pid())? - before);
        }
        assert!(best <= Duration::from_millis(40), "{workers} workers: {best:?} of CPU in 4 s of idleness");
        daemon.stop()?;
    }
    Ok(())
}

/// Processor time of all threads of a process until now (proc_pid_stat(5)), in steps of 10 ms.
fn cpu_time(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').context("no name in stat")?;
    // Fields 14 and 15, counted from 1 with two before the bracket's end.
    let ticks: u64 =
        fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap_or(0)).sum();
    Ok(Duration::from_secs(ticks) / u32::try_from(rustix::param::clock_ticks_per_second())?)
}
