//! Access lists that change while packets pass: by command, by the file, and with the plugin itself.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use raddle_tests::wait::wait_for;
use raddle_tests::{
    Daemon, DaemonConfig, Need, Topology, UdpFlow, ping, requirement, scratch, target_dir, wait_until,
};
use serde_json::Value;

const NEEDS: &[Need] = &[Need::Ping, Need::Raddle, Need::Acl];
const LIMIT: Duration = Duration::from_secs(30);

/// Only this plugin, from a directory, with what is said of it.
fn with_acl(config: DaemonConfig, plugins: &Path, section: &str) -> DaemonConfig {
    let plugins =
        format!("[plugins]\npath = \"{}\"\nrequire = [\"acl\"]\nonly = [\"acl\"]\n", plugins.display());
    config.with(&plugins).with(section)
}

/// Packets that one list and the other judge alike, each by a rule that stands elsewhere: what met rules of both would be judged
/// otherwise.
#[test]
fn each_packet_meets_the_old_list_or_the_new_one_while_workers_go_on() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    // Good packets go to port 7, bad ones to port 9; of both there are flows enough for all workers.
    let stream = |name: &str, port: u16| {
        format!(
            "{{ name = \"{name}\", start = true, rate = \"20kpps\", size = 64, packet = \"eth 02:00:00:00:00:01 > \
             02:fe:00:00:00:01 / ip4 10.0.8.2 > 10.0.9.2 / udp 1000-1999 > {port}\" }}"
        )
    };
    // Of each list the rule that another one has at the same place does the opposite, and so do those about.
    let filler = |action: &str, count: usize| {
        let rules = (0..count).map(|at| format!("{action} udp to 10.0.{}.{}", 100 + at / 250, at % 250));
        rules.collect::<Vec<_>>()
    };
    let list = |before: usize, begins: &str| {
        let mut rules = filler("permit", before);
        rules.extend(["deny udp to any port 9".to_owned(), format!("{begins} udp to any port 7")]);
        rules.extend(filler("deny", 300 - before));
        rules.push("deny ip".to_owned());
        rules
    };
    for begins in ["permit", "reflect"] {
        let lists = [list(10, begins), list(170, begins), list(299, begins)];
        let config = format!(
            r#"
            [interface.in]
            driver = "packet-generator"
            mac = "02:fe:00:00:00:01"
            addresses = ["10.0.8.1/24"]
            queues = 2
            streams = [{}, {}]

            [interface.out]
            driver = "packet-generator"
            mac = "02:fe:00:00:00:02"
            addresses = ["10.0.9.1/24"]

            [[neighbor]]
            interface = "out"
            address = "10.0.9.2"
            mac = "02:00:00:00:00:02"

            [acl.lists]
            l = {:?}

            [acl.interface.in]
            in = ["l"]
            "#,
            stream("good", 7),
            stream("bad", 9),
            lists[0],
        );
        let config = with_acl(DaemonConfig::new(), &target_dir().join("plugins"), &config).workers(2);
        let daemon = Daemon::start(&topology.router, &config)?;
        let sent = || -> Result<u64> {
            Ok(raddle_tests::observe::interface(&daemon, "out")?.context("no interface out")?.tx_packets)
        };
        // Good ones pass by their rule, bad ones are dropped by theirs: no other rule ever meets any.
        let demand_whole = |round: usize| -> Result<()> {
            let shown = daemon.ctl_json("show acl l")?;
            for rule in shown[0]["rules"].as_array().context("rules")? {
                let text = rule["text"].as_str().context("its text")?;
                let is_meant = text.ends_with("port 9") || text.ends_with("port 7");
                assert!(is_meant || rule["packets"] == 0, "{begins}, round {round}: {rule}");
            }
            Ok(())
        };
        for round in 0..40 {
            let rules = lists[round % lists.len()].join(";");
            daemon.ctl(&format!("acl replace l rules {rules}"))?;
            demand_whole(round)?;
        }
        let before = sent()?;
        wait_until("packets to pass still", LIMIT, || sent().is_ok_and(|now| now > before + 1000))?;
        demand_whole(40)?;
        let errors = daemon.ctl("show errors")?;
        assert!(errors.contains("denied") && !errors.contains("no-match"), "{begins}: {errors}");
        daemon.stop()?;
    }
    Ok(())
}

const INSIDE_OUT: &str = "
[acl.lists]
to-west = ['reflect ip']
from-west = ['permit icmp6 type 133-136', 'deny ip']
[acl.interface.west]
in = ['from-west']
out = ['to-west']
";

#[test]
fn sessions_outlive_an_upgrade_under_traffic_and_no_packet_is_lost() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    for workers in [0, 2] {
        let directory = scratch::directory()?;
        let file = directory.path().join("libraddle_acl.so");
        fs::copy(target_dir().join("plugins/libraddle_acl.so"), &file)?;
        let config = with_acl(DaemonConfig::routed(&topology), directory.path(), INSIDE_OUT).workers(workers);
        let daemon = Daemon::start(&topology.router, &config)?;
        let flow = UdpFlow::start(alice, bob, false, 2000)?;
        let sessions = |daemon: &Daemon<'_>| daemon.ctl_json("show acl sessions protocol udp");
        let before = sessions(&daemon)?;
        // From now on no session begins that is not there already.
        daemon.ctl("acl replace to-west rules permit icmp6; deny ip")?;
        for round in 0..3 {
            flow.wait_for_more(200)?;
            // Another file, so that it is other code that goes on.
            let mut bytes = fs::read(&file)?;
            bytes.push(round);
            let next = directory.path().join(format!("next-{round}.so"));
            fs::write(&next, bytes)?;
            let told = daemon.ctl(&format!("plugin upgrade {}", next.display()))?;
            assert!(told.contains("with its state"), "{told}");
        }
        flow.wait_for_more(200)?;
        let after = sessions(&daemon)?;
        let ports = |sessions: &Value| {
            let all = sessions.as_array().into_iter().flatten();
            let mut ports: Vec<_> = all.map(|session| session["source-port"].to_string()).collect();
            ports.sort();
            ports
        };
        assert_eq!(ports(&after), ports(&before), "{workers} workers");
        assert!(ping(&alice.namespace, bob.spec.ipv4, 2)?.received == 0, "nothing new begins");
        flow.stop()?.demand_no_loss().with_context(|| format!("{workers} workers"))?;
        daemon.stop()?;
    }
    Ok(())
}

#[test]
fn sighup_takes_up_the_lists_as_the_file_has_them_and_sessions_stay() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let config = with_acl(DaemonConfig::routed(&topology), &target_dir().join("plugins"), INSIDE_OUT);
    let daemon = Daemon::start(&topology.router, &config.workers(2))?;
    let flow = UdpFlow::start(alice, bob, false, 1000)?;
    assert!(ping(&alice.namespace, bob.spec.ipv4, 2)?.received > 0);
    assert_eq!(ping(&bob.namespace, alice.spec.ipv4, 2)?.received, 0);
    daemon.ctl("acl replace by-command rules permit ip")?;
    let text = fs::read_to_string(daemon.config_file())?;
    let reload = |text: &str, part: &str| -> Result<()> {
        fs::write(daemon.config_file(), text)?;
        alice.namespace.run(&format!("kill -HUP {}", daemon.pid()))?;
        wait_for("the lists of the file", LIMIT, || Ok(daemon.ctl("show acl")?.contains(part).then_some(())))
    };
    let other = text
        .replace("'reflect ip'", "'permit icmp6', 'deny icmp', 'deny ip dscp 63'")
        .replace("'permit icmp6 type 133-136', 'deny ip'", "'permit icmp', 'permit icmp6'");
    reload(&other, "dscp")?;
    assert!(!daemon.ctl("show acl")?.contains("by-command"), "the file has all there is");
    // Judged by the lists of now: of the stream only the session is left.
    assert_eq!(ping(&alice.namespace, bob.spec.ipv4, 2)?.received, 0);
    flow.wait_for_more(300)?;
    // What is wrong changes nothing.
    fs::write(daemon.config_file(), other.replace("'deny icmp'", "'deny imcp'"))?;
    alice.namespace.run(&format!("kill -HUP {}", daemon.pid()))?;
    wait_for("the mistake to be told", LIMIT, || Ok(daemon.log().contains("imcp").then_some(())))?;
    assert!(daemon.ctl("show acl")?.contains("deny icmp"));
    flow.wait_for_more(300)?;
    reload(&text, "reflect ip")?;
    assert!(ping(&alice.namespace, bob.spec.ipv4, 2)?.received > 0);
    flow.stop()?.demand_no_loss()?;
    daemon.stop()
}
