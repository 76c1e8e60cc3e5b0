//! `cargo xtask soak`: raddle under traffic, commands, interfaces that come and go, and plugins, for minutes on end.
//!
//! Hosts in namespaces send through it, and so do packet generators, while everything that can change changes, in an
//! order that a seed decides. At its end every buffer is back in the pool, memory has not grown, the log has no error, and
//! nothing is left behind. Needs root; it is no part of the tests, which it would hold up.

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use raddle_tests::observe::buffers_in_use;
use raddle_tests::wait::wait_for;
use raddle_tests::{Daemon, DaemonConfig, HostSpec, Topology, UdpFlow, ping};
use rustix::process::Signal;

use crate::supervise::Supervisor;
use crate::{build, packages};

/// How long, and on what.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How long it runs
    #[arg(long, value_name = "N", default_value_t = 10.0)]
    minutes: f64,
    /// What decides the order of the changes; printed at the start
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
    /// The optimised daemon
    #[arg(long)]
    release: bool,
    /// Run itself: the stage was set
    #[arg(long, hide = true)]
    on_stage: bool,
}

/// Memory that may come on top of what the daemon has after the first fifth of the time.
const GROWTH_BYTES: u64 = 32 << 20;
const PATIENCE: Duration = Duration::from_secs(60);
/// Datagrams a second from host to host.
const RATE: u32 = 1000;

/// What each change is told as, and what it does.
type Change<'a> = (&'static str, fn(&Soak<'a>, u64) -> Result<()>);

/// All that changes. Each leaves things as it found them, or nearly so.
fn changes<'a>() -> [Change<'a>; 14] {
    [
        ("a flap of an interface", Soak::flap),
        ("an interface that comes and goes", Soak::passing_interface),
        ("a device that vanishes", Soak::lost_device),
        ("routes", Soak::routes),
        ("neighbours", Soak::neighbors),
        ("addresses", Soak::addresses),
        ("receive modes and places", Soak::receive),
        ("features of plugins", Soak::features),
        ("plugins", Soak::plugins),
        ("generated traffic", Soak::generate),
        ("traces", Soak::traces),
        ("captures", Soak::captures),
        ("everything that can be shown", Soak::shows),
        ("a reload", Soak::reload),
    ]
}

/// Builds, then soaks in a supervised child, so that nothing is left however it ends.
///
/// # Errors
/// When the build fails, or it is not run by root.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    ensure!((0.1..=1e5).contains(&arguments.minutes), "a soak of {} minutes", arguments.minutes);
    if arguments.on_stage {
        soak(arguments)?;
        return Ok(ExitCode::SUCCESS);
    }
    ensure!(packages::is_root(), "a soak needs root, for network namespaces");
    packages::ensure_installed(&[packages::IPROUTE2, packages::PING])?;
    let built = build::build(arguments.release)?;
    let supervisor = Supervisor::new()?;
    let mut child = Command::new(std::env::current_exe().context("this program has no path")?);
    child.args(std::env::args_os().skip(1)).arg("--on-stage").env("RADDLE", &built.raddle);
    Ok(supervisor.run(&mut child)?.exit_code())
}

struct Soak<'a> {
    topology: &'a Topology,
    daemon: &'a Daemon<'a>,
    plugin: std::path::PathBuf,
    scratch: &'a std::path::Path,
}

fn soak(arguments: &Arguments) -> Result<()> {
    let seed = arguments.seed.unwrap_or_else(|| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(1, |since| since.as_nanos() as u64)
    });
    println!("{} minutes, --seed {seed}", arguments.minutes);
    let topology = Topology::create([
        HostSpec::new("alice", "east", 1),
        HostSpec::new("bob", "west", 2),
        HostSpec::new("carol", "north", 3),
    ])?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let plugins = build::plugins_directory(arguments.release);
    let config = DaemonConfig::routed(&topology).workers(2).with(
        "[interface.gen]\ndriver = \"packet-generator\"\nmac = \"02:fe:00:00:00:01\"\n\
         addresses = [\"10.8.0.1/24\"]\nqueues = 2\n\
         [metrics]\nlisten = \"9100\"",
    );
    // The other plugin is loaded and switched by command.
    let config =
        config.with(&format!("[plugins]\npath = \"{}\"\ndisable = [\"ttl-guard\"]", plugins.display()));
    let daemon = Daemon::start(&topology.router, &config)?;
    wait_for("a way between the hosts", PATIENCE, || {
        Ok((ping(&alice.namespace, bob.spec.ipv4, 1)?.received > 0).then_some(()))
    })?;
    let scratch = raddle_tests::scratch::directory()?;
    let plugin = plugins.join("libminimal.so");
    let soak = Soak { topology: &topology, daemon: &daemon, plugin, scratch: scratch.path() };
    let flows = [UdpFlow::start(alice, bob, false, RATE)?, UdpFlow::start(bob, alice, true, RATE)?];

    let changes = changes();
    let (begin, length) = (Instant::now(), Duration::from_secs_f64(arguments.minutes * 60.0));
    let (mut random, mut rounds, mut settled) = (seed, 0_u64, None);
    while begin.elapsed() < length {
        let word = next(&mut random);
        let (what, change) = changes[(word % changes.len() as u64) as usize];
        change(&soak, word / changes.len() as u64)
            .with_context(|| format!("{what}, round {rounds}, after {:.0?}", begin.elapsed()))?;
        rounds += 1;
        if settled.is_none() && begin.elapsed() > length / 5 {
            settled = Some(resident_bytes(daemon.pid())?);
        }
        if rounds.is_multiple_of(50) {
            let resident = resident_bytes(daemon.pid())? >> 20;
            println!("  {:4.0} s: {rounds} changes, {resident} MB", begin.elapsed().as_secs_f64());
        }
    }

    let mut report = Vec::new();
    for (name, flow) in ["alice to bob, IPv4", "bob to alice, IPv6"].into_iter().zip(flows) {
        let flow = flow.stop()?;
        report.push(format!("{name}: {} of {} lost", flow.lost.len(), flow.sent));
        // Changes elsewhere cost no packets, but for a machine that does not keep up.
        ensure!(flow.lost.len() as u64 <= flow.sent / 100, "{}", report.last().map_or("", String::as_str));
    }
    // It may have none.
    let _ = daemon.try_ctl("packet-generator stop gen")?;
    let (settled, end) = (settled.unwrap_or(u64::MAX), resident_bytes(daemon.pid())?);
    ensure!(end <= settled.saturating_add(GROWTH_BYTES), "memory grew from {settled} to {end} bytes");
    // Queues keep buffers ready to receive into: without interfaces all are back.
    for name in interfaces(&daemon)? {
        daemon.ctl(&format!("interface delete {name}"))?;
    }
    wait_for("every buffer to be back in the pool", PATIENCE, || {
        Ok((buffers_in_use(&daemon)? == 0).then_some(()))
    })
    .with_context(|| daemon.ctl("show buffers").unwrap_or_default())?;
    let log = daemon.log();
    if let Some(line) = log.lines().find(|line| line.contains("ERROR") || line.contains("panicked")) {
        bail!("the log has an error: {line}");
    }
    let late = daemon.ctl_json("show barrier")?["late"].clone();
    println!("{rounds} changes; {}; {} MB resident; workers late {late} times", report.join("; "), end >> 20);
    daemon.stop()?;
    println!("every buffer came back, and nothing is left");
    Ok(())
}

impl Soak<'_> {
    /// Runs lines; each must succeed.
    fn run(&self, lines: &[&str]) -> Result<()> {
        lines.iter().try_for_each(|line| self.daemon.ctl(line).map(drop))
    }

    fn flap(&self, _: u64) -> Result<()> {
        self.run(&["set interface state north down", "set interface state north up"])
    }

    fn passing_interface(&self, word: u64) -> Result<()> {
        let driver = ["loopback", "tap device soak0", "packet-generator"][(word % 3) as usize];
        self.run(&[
            &format!("interface create passing driver {driver} up"),
            "set interface address passing add 10.9.0.1/24",
            "interface delete passing",
        ])
    }

    fn lost_device(&self, _: u64) -> Result<()> {
        let carol = self.topology.host("carol");
        carol.cut()?;
        carol.connect(&self.topology.router)?;
        wait_for("the device to be used again", PATIENCE, || {
            let rows = self.daemon.ctl_json("show interface north")?;
            Ok((rows[0]["state"] == "up").then_some(()))
        })
    }

    fn routes(&self, word: u64) -> Result<()> {
        let count = 1 + word % 2000;
        let file = self.scratch.join("routes");
        let lines = |number: u64| format!("10.{}.{}.0/24 via 10.0.2.2\n", 64 + number / 256, number % 256);
        std::fs::write(&file, (0..count).map(lines).collect::<String>())?;
        self.run(&[
            &format!("route load {}", file.display()),
            "show fib ip4",
            &format!("route unload {}", file.display()),
            "route add 198.51.100.0/24 via 10.0.2.2",
            "route add 198.51.100.0/24 via 10.0.1.2",
            "route del 198.51.100.0/24 via 10.0.1.2",
            "route del 198.51.100.0/24 via 10.0.2.2",
        ])
    }

    fn neighbors(&self, word: u64) -> Result<()> {
        let address = format!("10.0.3.{}", 10 + word % 200);
        self.run(&[
            &format!("neighbor add north {address} 02:00:00:00:00:99"),
            &format!("neighbor del north {address}"),
            "clear neighbors north",
        ])
    }

    fn addresses(&self, word: u64) -> Result<()> {
        let address = format!("10.7.{}.1/24", word % 256);
        self.run(&[
            &format!("set interface address north add {address}"),
            &format!("set interface address north del {address}"),
        ])
    }

    fn receive(&self, word: u64) -> Result<()> {
        let mode = ["polling", "interrupt", "adaptive"][(word % 3) as usize];
        self.run(&[
            &format!("set interface rx-mode east {mode}"),
            &format!("set interface rx-placement west queue 0 worker {}", 1 + word / 3 % 2),
            &format!("set interface rx-placement gen queue 1 worker {}", 1 + word / 6 % 2),
        ])
    }

    fn features(&self, word: u64) -> Result<()> {
        let state = ["on", "off"][(word % 2) as usize];
        self.run(&[&format!("set interface feature north flow-count {state}")])
    }

    /// Loads a plugin; where it can be unloaded, it goes again, else its feature is switched.
    fn plugins(&self, _: u64) -> Result<()> {
        let listed = self.daemon.ctl("show plugins")?;
        let is_loaded = listed.lines().any(|line| line.contains("ttl-guard") && line.contains("active"));
        if !is_loaded {
            self.run(&[&format!("plugin load {}", self.plugin.display())])?;
        }
        self.run(&["set interface feature north ttl-guard on", "set interface feature north ttl-guard off"])?;
        if self.daemon.ctl("help")?.contains("plugin unload") {
            self.run(&["plugin unload ttl-guard"])?;
        }
        Ok(())
    }

    fn generate(&self, word: u64) -> Result<()> {
        let size = 64 + word % 1400;
        let destination = ["10.0.2.2", "10.0.3.2", "10.8.0.77", "192.0.2.1"][(word / 1400 % 4) as usize];
        let packet = format!(
            "\"eth 02:00:00:00:00:01 > 02:fe:00:00:00:01 / ip4 10.8.0.2 > {destination} / udp 1000-1999 > 2000\""
        );
        // They may be there from a round before.
        let _ = self.daemon.try_ctl("packet-generator stop gen")?;
        let _ = self.daemon.try_ctl("packet-generator del gen soak")?;
        let words =
            ["packet-generator", "add", "gen", "soak", &packet, "count", "5000", "size", &size.to_string()];
        let line = words.join(" ");
        let added = raddle_tests::daemon::ctl_on(self.daemon.socket(), &[&line])?;
        ensure!(added.code == Some(0), "{line}: {}", added.stderr);
        self.run(&["packet-generator start gen"])
    }

    fn traces(&self, word: u64) -> Result<()> {
        self.run(&[
            &format!("trace add af-packet-input {}", 1 + word % 50),
            "trace drop 10",
            "show trace",
            "clear trace",
        ])
    }

    fn captures(&self, word: u64) -> Result<()> {
        let file = self.scratch.join("capture.pcapng");
        let which = ["rx", "tx", "drop", "rx tx drop"][(word % 4) as usize];
        self.run(&[&format!("pcap trace {which} max 1000 file {}", file.display())])?;
        // It may have ended by itself.
        let _ = self.daemon.try_ctl("pcap trace off")?;
        self.run(&["show pcap"])
    }

    fn shows(&self, _: u64) -> Result<()> {
        self.run(&[
            "show interface verbose",
            "show runtime verbose",
            "show errors",
            "show buffers",
            "show barrier",
            "show processes",
            "show threads",
            "show handoff",
            "show interface rx-placement",
            "show neighbors",
            "show fib",
            "show adjacency",
            "show config",
            "show metrics",
            "show plugins verbose",
            "flow-count show",
            "clear runtime",
            "clear errors",
        ])
    }

    fn reload(&self, _: u64) -> Result<()> {
        self.daemon.signal(Signal::HUP)
    }
}

/// Names of all interfaces.
fn interfaces(daemon: &Daemon<'_>) -> Result<Vec<String>> {
    let rows = daemon.ctl_json("show interface")?;
    let names = rows.as_array().into_iter().flatten().filter_map(|row| row["name"].as_str());
    Ok(names.map(str::to_owned).collect())
}

/// Resident memory of a process that is its own (`RssAnon` of proc_pid_status(5)).
fn resident_bytes(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    Ok(kilobytes.with_context(|| format!("the state of process {pid}: {status}"))? << 10)
}

/// SplitMix64.
fn next(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*seed ^ (*seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
