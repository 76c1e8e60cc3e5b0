//! Receive modes: what an interface's thread does under load, after it, and while nothing happens.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use raddle_tests::observe::thread_cpu;
use raddle_tests::ping::ping_with;
use raddle_tests::topology::Link;
use raddle_tests::{
    Daemon, DaemonConfig, Host, HostSpec, Need, Topology, ping, requirement, wait, wait_until,
};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);

/// The row of a receive queue in `show interface rx-placement`.
fn placement(daemon: &Daemon<'_>, interface: &str, queue: u64) -> Result<Value> {
    let rows = daemon.ctl_json("show interface rx-placement")?;
    let mut all = rows.as_array().into_iter().flatten();
    let row = all.find(|row| row["interface"] == interface && row["queue"] == queue);
    row.cloned().ok_or_else(|| anyhow!("no queue {queue} of {interface}: {rows}"))
}

fn wait_for_state(daemon: &Daemon<'_>, interface: &str, state: &str) -> Result<()> {
    wait::wait_for(&format!("{interface} to be in state {state}"), PATIENCE, || {
        Ok((placement(daemon, interface, 0)?["state"] == state).then_some(()))
    })
}

/// Datagrams as fast as they can be sent.
struct Load {
    sending: Arc<AtomicBool>,
    sender: JoinHandle<u64>,
}

impl Load {
    fn start(from: &Host, to: &Host) -> Result<Self> {
        let socket = from.namespace.udp("0.0.0.0:0")?;
        socket.connect((to.spec.ipv4, 9))?;
        let sending = Arc::new(AtomicBool::new(true));
        let going_on = Arc::clone(&sending);
        let sender = std::thread::spawn(move || {
            let mut sent = 0;
            while going_on.load(Ordering::Relaxed) {
                // Nobody listens there, of which ICMP tells now and then: that is no reason to stop.
                sent += u64::from(socket.send(b"load").is_ok());
            }
            sent
        });
        Ok(Self { sending, sender })
    }

    fn stop(self) -> Result<()> {
        self.sending.store(false, Ordering::Relaxed);
        let sent = self.sender.join().map_err(|_| anyhow!("the sender panicked"))?;
        ensure!(sent > 0, "nothing was sent");
        Ok(())
    }
}

#[test]
fn adaptive_queue_is_polled_under_load_and_slept_on_after_it() -> Result<()> {
    if !requirement::met(&[Need::Ping, Need::AfXdp, Need::Raddle]) {
        return Ok(());
    }
    for (link, workers) in [(Link::Veth, 0), (Link::Veth, 1), (Link::AfXdp, 0), (Link::AfXdp, 1)] {
        let topology = Topology::two_hosts_by(link)?;
        let (alice, bob) = (topology.host("alice"), topology.host("bob"));
        let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology).workers(workers))?;
        wait_until("bob to be reached", PATIENCE, || reaches(alice, bob))?;
        for side in ["east", "west"] {
            assert_eq!(placement(&daemon, side, 0)?["mode"], "adaptive");
            wait_for_state(&daemon, side, "interrupt")?;
        }
        let load = Load::start(alice, bob)?;
        wait_for_state(&daemon, "east", "polling")?;
        assert_ne!(placement(&daemon, "east", 0)?["switches"], 0);
        load.stop()?;
        wait_for_state(&daemon, "east", "interrupt")?;
        // What sleeps still wakes for a packet.
        assert!(reaches(alice, bob));
        daemon.stop()?;
    }
    Ok(())
}

#[test]
fn modes_are_set_by_queue_and_forward_all_the_same() -> Result<()> {
    if !requirement::met(&[Need::Ping, Need::Raddle]) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let config = DaemonConfig::new()
        .workers(1)
        .interface(&alice.spec, "rx-mode = \"interrupt\"\n")
        .interface(&bob.spec, "queues = 2\nrx-modes = [\"adaptive\", \"polling\"]\n");
    let daemon = Daemon::start(&topology.router, &config)?;
    wait_until("bob to be reached", PATIENCE, || reaches(alice, bob))?;
    let modes = || -> Result<Vec<Value>> {
        let rows = [("east", 0), ("west", 0), ("west", 1)];
        rows.into_iter().map(|(name, queue)| Ok(placement(&daemon, name, queue)?["mode"].clone())).collect()
    };
    assert_eq!(modes()?, ["interrupt", "adaptive", "polling"]);
    let before = daemon.ctl_json("show barrier")?["holds"].clone();
    for (line, expected) in [
        ("set interface rx-mode west interrupt queue 1", ["interrupt", "adaptive", "interrupt"]),
        ("set interface rx-mode east polling", ["polling", "adaptive", "interrupt"]),
        ("set interface rx-mode west polling", ["polling", "polling", "polling"]),
        ("set interface rx-mode west adaptive queue 0", ["polling", "adaptive", "polling"]),
    ] {
        daemon.ctl(line)?;
        assert_eq!(modes()?, expected, "{line}");
        let report = ping(&alice.namespace, bob.spec.ipv4, 3)?;
        assert!(report.is_complete(), "{line}: {}", report.text);
    }
    assert_eq!(daemon.ctl_json("show barrier")?["holds"], before, "a mode was set behind the barrier");
    let running = daemon.ctl("show config")?;
    assert!(running.contains("rx-mode = \"polling\"\nrx-modes = [\"adaptive\"]"), "{running}");
    let refused = daemon.try_ctl("set interface rx-mode west polling queue 2")?;
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("`west` has no receive queue 2; it has 2"), "{refused:?}");
    daemon.stop()
}

#[test]
fn taps_forward_in_every_mode_beside_a_queue_that_keeps_their_thread_busy() -> Result<()> {
    if !requirement::met(&[Need::Ping, Need::Raddle]) {
        return Ok(());
    }
    let topology = Topology::create([
        HostSpec::new("alice", "east", 1).with_tap(),
        HostSpec::new("bob", "west", 2).with_tap(),
    ])?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let lo = "[interface.lo]\ndriver = \"loopback\"\nrx-mode = \"polling\"\nup = true";
    let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology).workers(1).with(lo))?;
    topology.await_taps()?;
    for mode in ["adaptive", "interrupt", "polling"] {
        for side in ["east", "west"] {
            daemon.ctl(&format!("set interface rx-mode {side} {mode}"))?;
        }
        wait_until("bob to be reached", PATIENCE, || reaches(alice, bob))?;
        let report = ping(&alice.namespace, bob.spec.ipv6, 5)?;
        assert!(report.is_complete(), "{mode}: {}", report.text);
    }
    daemon.stop()
}

#[test]
fn idle_threads_sleep_with_ten_interfaces_up() -> Result<()> {
    if !requirement::met(&[Need::Raddle]) {
        return Ok(());
    }
    const WINDOW: Duration = Duration::from_secs(5);
    let topology = Topology::create([])?;
    let container = raddle_tests::Namespace::create("container")?;
    let taps = (0..10).fold(DaemonConfig::new().workers(2), |config, number| {
        config.with(&format!(
            "[interface.lan{number}]\ndriver = \"tap\"\ndevice = \"lan{number}\"\nnamespace = \"{}\"\n\
             addresses = [\"10.0.{number}.1/24\"]\nup = true",
            container.name()
        ))
    });
    let daemon = Daemon::start(&topology.router, &taps)?;
    wait::wait_for("all links to be up", PATIENCE, || {
        let rows = daemon.ctl_json("show interface")?;
        let up = rows.as_array().map_or(0, |rows| rows.iter().filter(|row| row["state"] == "up").count());
        Ok((up == 10).then_some(()))
    })?;
    // The first windows may have what the host says on new links, and addresses being tried.
    wait::wait_for("every thread to take less than 1 % of a core", 3 * PATIENCE, || {
        let before = thread_cpu(daemon.pid())?;
        std::thread::sleep(WINDOW);
        let after = thread_cpu(daemon.pid())?;
        let most = after
            .iter()
            .map(|(thread, time)| (time.saturating_sub(*before.get(thread).unwrap_or(time)), thread))
            .max()
            .context("no threads")?;
        eprintln!("the busiest thread, {}, took {:?} of {WINDOW:?}", most.1, most.0);
        Ok((most.0 < WINDOW / 100).then_some(()))
    })?;
    let threads = daemon.ctl_json("show threads")?;
    let states: Vec<_> = threads.as_array().into_iter().flatten().map(|row| &row["state"]).collect();
    assert_eq!(states, ["asleep"; 3], "{threads}");
    daemon.stop()
}

/// Median round trip of pings that are far enough apart for all to sleep in between.
fn median_rtt(from: &Host, to: &Host) -> Result<Duration> {
    let report = ping_with(&from.namespace, to.spec.ipv4, &["-c", "41", "-i", "0.05"])?;
    let mut times: Vec<f64> = (report.text.lines())
        .filter_map(|line| line.split_once("time=")?.1.split_whitespace().next()?.parse().ok())
        .collect();
    ensure!(times.len() > 30, "{}", report.text);
    times.sort_by(f64::total_cmp);
    Ok(Duration::from_secs_f64(times[times.len() / 2] / 1e3))
}

#[test]
fn first_packet_after_idle_is_nearly_as_fast_as_one_that_is_polled_for() -> Result<()> {
    if !requirement::met(&[Need::Ping, Need::Raddle]) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology).workers(1))?;
    wait_until("bob to be reached", PATIENCE, || reaches(alice, bob))?;
    // Both are measured beside whatever else the machine does; each pair is of the same moment.
    wait::wait_for("a median within a millisecond of polling", 2 * PATIENCE, || {
        let mut medians = [Duration::ZERO; 2];
        for (mode, median) in ["polling", "adaptive"].into_iter().zip(&mut medians) {
            for side in ["east", "west"] {
                daemon.ctl(&format!("set interface rx-mode {side} {mode}"))?;
            }
            *median = median_rtt(alice, bob)?;
        }
        let [polled, slept] = medians;
        eprintln!("median round trip: {polled:?} polled, {slept:?} after idle");
        // A round trip wakes raddle twice.
        Ok((slept < polled + Duration::from_millis(2)).then_some(()))
    })?;
    assert_eq!(placement(&daemon, "east", 0)?["switches"], json!(0), "pings are no load");
    daemon.stop()
}

fn reaches(from: &Host, to: &Host) -> bool {
    ping(&from.namespace, to.spec.ipv4, 1).is_ok_and(|report| report.is_complete())
}
