//! Seeing inside: traces with filters, traces of what is dropped, capture files, what plugins cost, `raddle top`.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use raddle_tests::command::{Finished, LIMIT, finish, run};
use raddle_tests::daemon::ctl_on;
use raddle_tests::{Daemon, DaemonConfig, Judge, Need, Topology, UdpFlow, ping, raddle, requirement, wait};
use serde_json::{Value, json};

const NEEDS: &[Need] = &[Need::Raddle, Need::Ping, Need::Libpcap];

/// A command whose words may hold blanks.
fn ctl(daemon: &Daemon<'_>, words: &[&str]) -> Result<Finished> {
    ctl_on(daemon.socket(), words)
}

fn must(daemon: &Daemon<'_>, words: &[&str]) -> Result<String> {
    let Finished { code, stdout, stderr } = ctl(daemon, words)?;
    anyhow::ensure!(code == Some(0), "{words:?}: {stderr}{stdout}");
    Ok(stdout)
}

fn nodes(packet: &Value) -> Vec<&str> {
    packet["nodes"].as_array().into_iter().flatten().filter_map(|stay| stay["node"].as_str()).collect()
}

/// Waits until the condition holds.
fn eventually(what: &str, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    wait::wait_for(what, Duration::from_secs(60), || Ok(condition()?.then_some(())))
}

#[test]
fn a_filter_lets_the_wanted_packets_through_and_no_others() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology))?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    assert!(ping(&alice.namespace, bob.spec.ipv4, 2)?.is_complete());
    let to_bob = format!("icmp and dst host {}", bob.spec.ipv4);
    must(&daemon, &["trace", "add", "ip4-input", "3", "filter", &to_bob])?;
    // Not what is asked for: another family, and the way back.
    assert!(ping(&alice.namespace, bob.spec.ipv6, 3)?.is_complete());
    assert!(ping(&bob.namespace, alice.spec.ipv4, 1)?.is_complete());
    assert!(ping(&alice.namespace, bob.spec.ipv4, 5)?.is_complete());
    let trace = daemon.ctl_json("show trace")?;
    let packets = trace["packets"].as_array().context("packets")?;
    assert_eq!(packets.len(), 3, "{trace:#}");
    for packet in packets {
        let way = nodes(packet);
        assert_eq!(way[0], "af-packet-input", "followed from the input: {way:?}");
        assert!(way.contains(&"ip4-input") && !way.iter().any(|node| node.starts_with("ip6")), "{way:?}");
        assert!(packet.to_string().contains(&bob.spec.ipv4.to_string()), "{packet:#}");
    }
    let wrong = ctl(&daemon, &["trace", "add", "ip4-input", "3", "filter", "tcp prt 80"])?;
    assert_eq!(wrong.code, Some(1));
    assert!(wrong.stderr.contains("filter `tcp prt 80`: "), "{wrong:?}");
    daemon.stop()
}

#[test]
fn a_trace_of_drops_keeps_what_is_dropped_with_its_way_and_the_reason() -> Result<()> {
    if !requirement::met(&[Need::Raddle, Need::Ping, Need::Python, Need::Scapy]) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology).workers(2))?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    assert!(ping(&alice.namespace, bob.spec.ipv4, 2)?.is_complete());
    must(&daemon, &["trace", "drop", "5"])?;
    assert!(ping(&alice.namespace, bob.spec.ipv4, 5)?.is_complete());
    let quiet = daemon.ctl_json("show trace")?;
    let kept = quiet["packets"].as_array().context("packets")?;
    assert!(!kept.iter().any(|packet| nodes(packet).contains(&"ip4-rewrite")), "forwarded: {quiet:#}");
    // A header whose checksum is wrong (RFC 1812 §4.2.2.5).
    let mut judge = Judge::start(&alice.namespace)?;
    judge.run(
        "from scapy.all import *\n\
         sendp(Ether(dst=getmacbyip(args['router']))/IP(dst=args['bob'], chksum=1)/UDP(dport=9), iface='eth0', verbose=0)\n\
         result = True",
        json!({"router": alice.spec.gateway4.to_string(), "bob": bob.spec.ipv4.to_string()}),
    )?;
    eventually("the drop to be traced", || {
        let trace = daemon.ctl_json("show trace")?;
        let packets = trace["packets"].as_array().context("packets")?;
        Ok(packets.iter().any(|packet| {
            let way = nodes(packet);
            let drop = packet["nodes"].as_array().and_then(|nodes| nodes.last()).cloned().unwrap_or_default();
            way.first() == Some(&"af-packet-input")
                && drop["node"] == "drop"
                && drop["error"]["node"] == "ip4-input"
                && drop["error"]["reason"].as_str().is_some_and(|reason| reason.contains("checksum"))
        }))
    })?;
    assert!(daemon.ctl("show trace")?.contains("checksum"));
    daemon.ctl("clear trace")?;
    assert!(daemon.ctl_json("show trace")?["packets"].as_array().is_some_and(Vec::is_empty));
    daemon.stop()
}

/// Rows of a capture as tshark reads them: these fields of each packet.
fn tshark(file: &Path, fields: &[&str]) -> Result<Vec<Vec<String>>> {
    let mut command = Command::new("tshark");
    command.args(["-n", "-T", "fields", "-E", "separator=|", "-r"]).arg(file);
    for field in fields {
        command.args(["-e", field]);
    }
    let text = run(&mut command)?;
    Ok(text.lines().map(|line| line.split('|').map(str::to_owned).collect()).collect())
}

#[test]
fn a_capture_opens_in_wireshark_with_interfaces_reasons_and_ways() -> Result<()> {
    if !requirement::met(&[Need::Raddle, Need::Ping, Need::Libpcap, Need::Tshark]) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology).workers(2))?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    assert!(ping(&alice.namespace, bob.spec.ipv4, 2)?.is_complete());
    let directory = raddle_tests::scratch::directory()?;
    let file = directory.path().join("a.pcapng");
    let name = file.to_string_lossy().into_owned();
    must(&daemon, &["trace", "add", "af-packet-input", "1000"])?;
    must(&daemon, &["pcap", "trace", "rx", "tx", "filter", "icmp", "file", &name])?;
    let twice = ctl(&daemon, &["pcap", "trace", "rx", "file", &name])?;
    assert!(twice.code == Some(1) && twice.stderr.contains("capture 1 writes"), "{twice:?}");
    assert!(ping(&alice.namespace, bob.spec.ipv4, 4)?.is_complete());
    assert!(ping(&alice.namespace, bob.spec.ipv6, 2)?.is_complete());
    // Another one beside it, which sees its own packets only, and ends first.
    let other = directory.path().join("b.pcapng");
    let other_name = other.to_string_lossy().into_owned();
    must(&daemon, &["pcap", "trace", "rx", "interface", "west", "filter", "icmp6", "file", &other_name])?;
    assert!(ping(&alice.namespace, bob.spec.ipv6, 3)?.is_complete());
    must(&daemon, &["pcap", "trace", "off", "2"])?;
    let ended = ctl(&daemon, &["pcap", "trace", "off", "2"])?;
    assert!(ended.stderr.contains("no capture 2 that is on"), "{ended:?}");
    let replies = tshark(&other, &["frame.interface_name", "icmpv6.type"])?;
    assert!(replies.iter().filter(|row| row[1] == "129").count() >= 3, "{replies:?}");
    assert!(replies.iter().all(|row| row[0] == "west"), "{replies:?}");
    must(&daemon, &["pcap", "trace", "off"])?;
    let shown = &daemon.ctl_json("show pcap")?[0];
    assert_eq!((&shown["active"], &shown["lost"], &shown["packets"]), (&json!(false), &json!(0), &json!(16)));
    let rows = tshark(&file, &["frame.interface_name", "ip.src", "icmp.type", "frame.comment", "eth.type"])?;
    assert_eq!(rows.len(), 16, "4 requests and 4 replies, each in and out: {rows:?}");
    for interface in ["east", "west"] {
        assert_eq!(rows.iter().filter(|row| row[0] == interface).count(), 8, "{interface}: {rows:?}");
    }
    assert!(rows.iter().all(|row| row[2] == "0" || row[2] == "8"), "{rows:?}");
    let with_way = rows.iter().filter(|row| row[3].contains("path: af-packet-input -> ethernet-input"));
    assert!(with_way.count() >= 8, "those that leave have come a way: {rows:?}");

    // A bounded capture ends by itself; drops carry the reason.
    let drops = directory.path().join("drops.pcapng");
    let name = drops.to_string_lossy().into_owned();
    must(&daemon, &["pcap", "trace", "drop", "filter", "icmp", "max", "2", "file", &name])?;
    alice.namespace.run("ip route replace 203.0.113.0/24 via 10.0.1.1")?;
    ping(&alice.namespace, std::net::Ipv4Addr::new(203, 0, 113, 9), 4)?;
    eventually("the capture to end", || Ok(daemon.ctl_json("show pcap")?[2]["active"] == json!(false)))?;
    assert!(daemon.ctl("show pcap")?.contains("as many packets as were asked for"));
    let rows = tshark(&drops, &["ip.dst", "frame.comment"])?;
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert!(
        rows.iter().all(|row| row[0].contains("203.0.113.9") && row[1].contains("dropped by ")),
        "{rows:?}"
    );
    daemon.stop()
}

#[test]
fn a_ring_keeps_the_last_packets_and_loses_no_traffic() -> Result<()> {
    if !requirement::met(&[Need::Raddle, Need::Tshark]) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology).workers(2))?;
    let flow = UdpFlow::start(topology.host("alice"), topology.host("bob"), false, 4000)?;
    let directory = raddle_tests::scratch::directory()?;
    let file = directory.path().join("ring.pcapng");
    let name = file.to_string_lossy().into_owned();
    must(&daemon, &["pcap", "trace", "rx", "interface", "east", "max", "500", "ring", "file", &name])?;
    eventually("the ring to turn", || Ok(daemon.ctl_json("show pcap")?[0]["packets"].as_u64() > Some(2000)))?;
    must(&daemon, &["pcap", "trace", "off"])?;
    let report = flow.stop()?;
    assert!(report.lost.is_empty(), "{} of {} lost", report.lost.len(), report.sent);
    let before = tshark(&directory.path().join("ring.pcapng.1"), &["frame.number"])?.len();
    let now = tshark(&file, &["frame.number"])?.len();
    assert!(before == 500 && now <= 500, "{before} and {now} packets");
    daemon.stop()
}

#[test]
fn what_plugins_cost_and_top_are_shown() -> Result<()> {
    if !requirement::met(&[Need::Raddle, Need::Ping]) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology).workers(1))?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let flow = UdpFlow::start(alice, bob, false, 2000)?;
    let plugins = daemon.ctl_json("show plugins verbose")?;
    let core = &plugins[0]["runtime"];
    assert!(core["packets"].as_u64() > Some(0) && core["clocks"].as_u64() > Some(0), "{plugins:#}");
    assert!(daemon.ctl("show plugins verbose")?.contains("clocks/packet"));
    assert!(daemon.ctl("show runtime plugins")?.contains("100.0"), "the core is all there is");

    let socket = daemon.socket().to_string_lossy().into_owned();
    let top = |arguments: &[&str]| {
        let mut command = Command::new(raddle());
        command.args(["top", "--once", "--socket", &socket]).args(arguments);
        run(&mut command)
    };
    let screen = top(&[])?;
    for word in ["INTERFACE", "east", "west", "THREAD", "worker-1", "NODE", "ip4-input", "DROPPED BY"] {
        assert!(screen.contains(word), "no {word} in\n{screen}");
    }
    assert!(
        screen.lines().count() <= 24 && screen.lines().all(|line| line.chars().count() <= 80),
        "{screen}"
    );
    let interfaces = top(&["interfaces", "--interval", "0.5"])?;
    let east = interfaces.lines().find(|line| line.starts_with("east")).context("no east")?;
    let rate = east.split_whitespace().nth(2).context("no rate")?;
    assert!(rate.ends_with('k'), "about 2000 packets a second come in: {east}");
    for view in ["nodes", "plugins", "drops", "threads"] {
        assert!(top(&[view, "--interval", "0.1"])?.contains(&format!(" {view}]")), "{view}");
    }
    flow.stop()?;
    daemon.stop()?;
    let gone = finish(Command::new(raddle()).args(["top", "--once", "--socket", &socket]), LIMIT)?;
    assert_eq!(gone.code, Some(4), "{gone:?}");
    Ok(())
}

/// Runs a program in a pseudo terminal of 24 by 80; presses keys as words appear, and tells how it ended.
const TERMINAL: &str = "
import fcntl, json, os, pty, select, struct, sys, termios, time
master, slave = pty.openpty()
fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 80, 0, 0))
before = termios.tcgetattr(slave)
child = os.fork()
if child == 0:
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for fd in (0, 1, 2):
        os.dup2(slave, fd)
    os.execve(sys.argv[1], sys.argv[1:], dict(os.environ, TERM='xterm'))
shown, begin = '', time.time()
def read():
    global shown
    assert time.time() - begin < 60, shown
    if select.select([master], [], [], 0.1)[0]:
        shown += os.read(master, 65536).decode(errors='replace')
for word, key in (('INTERFACE', b'3'), (' nodes]', b'\\t'), (' plugins]', b'q')):
    while word not in shown:
        read()
    os.write(master, key)
status = (0, 0)
while status[0] == 0:
    read()
    status = os.waitpid(child, os.WNOHANG)
for _ in range(5):
    read()
print(json.dumps({
    'code': os.waitstatus_to_exitcode(status[1]),
    'restored': termios.tcgetattr(slave) == before,
    'other-screen': [shown.count('\\x1b[?1049h'), shown.count('\\x1b[?1049l')],
}))
";

#[test]
fn top_takes_keys_in_a_terminal_and_leaves_it_as_it_was() -> Result<()> {
    if !requirement::met(&[Need::Raddle, Need::Python]) {
        return Ok(());
    }
    let daemon = Daemon::start_here(&DaemonConfig::new().with("[interface.lo]\ndriver = \"loopback\""))?;
    let mut command = Command::new(raddle_tests::judge::PYTHON);
    command.args(["-c", TERMINAL]).arg(raddle()).args(["top", "--interval", "0.2", "--socket"]);
    let outcome: Value = serde_json::from_str(&run(command.arg(daemon.socket()))?)?;
    assert_eq!(outcome, json!({ "code": 0, "restored": true, "other-screen": [1, 1] }));
    daemon.stop()
}

#[test]
fn a_receive_queue_moves_to_another_worker_while_traffic_flows() -> Result<()> {
    if !requirement::met(&[Need::Raddle]) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology).workers(2))?;
    let flow = UdpFlow::start(topology.host("alice"), topology.host("bob"), false, 2000)?;
    let place = || -> Result<u64> {
        let rows = daemon.ctl_json("show interface rx-placement")?;
        let rows = rows.as_array().context("rows")?;
        let east = rows.iter().find(|row| row["interface"] == "east" && row["queue"] == 0);
        east.and_then(|row| row["thread"].as_u64()).context("no queue of east")
    };
    for _ in 0..4 {
        let to = 3 - place()?;
        daemon.ctl(&format!("set interface rx-placement east queue 0 worker {to}"))?;
        assert_eq!(place()?, to);
        let packets = || -> Result<u64> {
            let runtime = daemon.ctl_json(&format!("show runtime {to}"))?;
            runtime["threads"][0]["packets"].as_u64().context("packets")
        };
        let before = packets()?;
        eventually("packets on the new worker", || Ok(packets()? > before + 200))?;
    }
    let wrong = daemon.try_ctl("set interface rx-placement east queue 99 worker 1")?;
    assert!(wrong.code == Some(1) && wrong.stderr.contains("has no receive queue 99"), "{wrong:?}");
    let wrong = daemon.try_ctl("set interface rx-placement east queue 0 worker 9")?;
    assert!(wrong.code == Some(1) && wrong.stderr.contains("there is no thread 9"), "{wrong:?}");
    let report = flow.stop()?;
    assert!(report.lost.is_empty(), "{} of {} lost", report.lost.len(), report.sent);
    daemon.stop()
}
