//! Metrics: OpenMetrics text over HTTP and a Unix socket, held against the parser of the Prometheus project.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use raddle_tests::command::run;
use raddle_tests::judge::PYTHON;
use raddle_tests::{Daemon, DaemonConfig, Namespace, Need, Topology, UdpFlow, ping, requirement, wait};
use rustix::process::Signal;
use serde_json::Value;

const NEEDS: &[Need] = &[Need::Raddle, Need::Python, Need::Curl, Need::PrometheusClient];

/// Parses the text on standard input and prints a list of samples: family, type, name, labels, value.
const PARSER: &str = "
import json, sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse
samples = []
for family in parse(sys.stdin.read()):
    for sample in family.samples:
        samples.append([family.name, family.type, sample.name, sample.labels, sample.value])
print(json.dumps(samples))
";

/// One sample.
#[derive(Debug)]
struct Sample {
    family: String,
    kind: String,
    name: String,
    labels: Value,
    value: f64,
}

/// The samples of a text, as the Prometheus project reads it.
fn parse(text: &str) -> Result<Vec<Sample>> {
    let directory = raddle_tests::scratch::directory()?;
    let file = directory.path().join("metrics");
    std::fs::write(&file, text)?;
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" -c \"$1\" < \"$2\"", PYTHON, PARSER]).arg(&file);
    let list: Vec<(String, String, String, Value, f64)> =
        serde_json::from_str(&run(&mut command).context(text.to_owned())?)?;
    let sample = |(family, kind, name, labels, value)| Sample { family, kind, name, labels, value };
    Ok(list.into_iter().map(sample).collect())
}

fn get(namespace: &Namespace, arguments: &[&str]) -> Result<String> {
    let mut command = namespace.command("curl");
    command
        .args(["--silent", "--show-error", "--fail", "--max-time", "30", "--noproxy", "*"])
        .args(arguments);
    run(&mut command)
}

fn value(samples: &[Sample], name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let of = |sample: &&Sample| {
        sample.name == name && labels.iter().all(|(label, value)| sample.labels[*label] == *value)
    };
    samples.iter().find(of).map(|sample| sample.value)
}

fn metrics_config(topology: &Topology, section: &str) -> DaemonConfig {
    DaemonConfig::routed(topology).workers(2).with(section)
}

/// Waits until the condition holds.
fn eventually(what: &str, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    wait::wait_for(what, Duration::from_secs(60), || Ok(condition()?.then_some(())))
}

#[test]
fn a_scrape_under_load_is_open_metrics_and_stops_no_worker() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let directory = raddle_tests::scratch::directory()?;
    let socket = directory.path().join("metrics.sock");
    let section = format!("[metrics]\nlisten = \"9100\"\nsocket = \"{}\"\n", socket.display());
    let daemon = Daemon::start(&topology.router, &metrics_config(&topology, &section))?;
    let flow = UdpFlow::start(topology.host("alice"), topology.host("bob"), false, 5000)?;

    let holds = |daemon: &Daemon<'_>| anyhow::Ok(daemon.ctl_json("show barrier")?["holds"].clone());
    let before = holds(&daemon)?;
    let scrape = || parse(&get(&topology.router, &["http://127.0.0.1:9100/metrics"])?);
    let first = scrape()?;
    let rx = |samples: &[Sample]| {
        value(samples, "raddle_interface_rx_packets_total", &[("interface", "east")]).unwrap_or(0.0)
    };
    eventually("packets to be counted", || Ok(rx(&scrape()?) > rx(&first) + 1000.0))?;
    let last = scrape()?;
    assert_eq!(holds(&daemon)?, before, "a scrape held the workers");

    for family in [
        "raddle_interface_tx_bytes",
        "raddle_thread_passes",
        "raddle_node_clocks",
        "raddle_drops",
        "raddle_plugin_clocks",
        "process_cpu_seconds",
    ] {
        let found: Vec<_> = last.iter().filter(|sample| sample.family == family).collect();
        assert!(
            !found.is_empty() && found.iter().all(|sample| sample.kind == "counter"),
            "{family}: {found:?}"
        );
    }
    // A counter never goes down, and each series of the first scrape is still there.
    for old in first.iter().filter(|sample| sample.kind == "counter") {
        let labels: Vec<(&str, &str)> = (old.labels.as_object().into_iter().flatten())
            .filter_map(|(label, value)| Some((label.as_str(), value.as_str()?)))
            .collect();
        let now = value(&last, &old.name, &labels);
        assert!(now >= Some(old.value), "{old:?} became {now:?}");
    }
    assert_eq!(value(&last, "raddle_interface_link_up", &[("interface", "west")]), Some(1.0));
    assert_eq!(value(&last, "raddle_plugin_state", &[("raddle_plugin_state", "active")]), Some(1.0));
    assert!(value(&last, "raddle_neighbors", &[("interface", "west")]) > Some(0.0));
    assert!(value(&last, "raddle_routes", &[("family", "ip4")]) > Some(0.0));
    assert!(value(&last, "raddle_barrier_held_seconds_count", &[]) > Some(0.0));
    let workers = ["worker-1", "worker-2"]
        .map(|thread| value(&last, "raddle_thread_rx_packets_total", &[("thread", thread)]).unwrap_or(0.0));
    assert!(workers.iter().sum::<f64>() > 1000.0, "{workers:?}");

    let by_socket =
        get(&topology.router, &["--unix-socket", &socket.to_string_lossy(), "http://raddle/metrics"])?;
    assert!(rx(&parse(&by_socket)?) >= rx(&last));
    parse(&(daemon.ctl("show metrics")?.trim_end().to_owned() + "\n"))?;
    let head = get(&topology.router, &["--include", "http://127.0.0.1:9100/metrics"])?;
    assert!(head.contains("application/openmetrics-text; version=1.0.0; charset=utf-8"), "{head}");

    let report = flow.stop()?;
    assert!(report.lost.is_empty(), "{} of {} lost", report.lost.len(), report.sent);
    daemon.stop()?;
    assert!(!socket.exists());
    Ok(())
}

#[test]
fn metrics_are_off_until_a_reload_turns_them_on_and_an_address_in_use_is_told() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let daemon = Daemon::start(&topology.router, &metrics_config(&topology, ""))?;
    let url = "http://127.0.0.1:9100/metrics";
    ensure!(get(&topology.router, &[url]).is_err(), "somebody serves metrics");
    let file = daemon.config_file();
    let plain = std::fs::read_to_string(&file)?;
    let reload = |section: &str| -> Result<()> {
        std::fs::write(&file, format!("{plain}\n{section}"))?;
        let pid = rustix::process::Pid::from_raw(daemon.pid() as i32).context("a process")?;
        Ok(rustix::process::kill_process(pid, Signal::HUP)?)
    };
    reload("[metrics]\nlisten = \"127.0.0.1:9100\"\n")?;
    eventually("metrics after the reload", || Ok(get(&topology.router, &[url]).is_ok()))?;
    assert!(daemon.ctl("show config")?.contains("listen = \"127.0.0.1:9100\""));

    // A second raddle cannot have the same address; it says so, and forwards all the same.
    let other = Daemon::start(
        &topology.router,
        &DaemonConfig::new().with("[metrics]\nlisten = \"127.0.0.1:9100\"\n"),
    )?;
    eventually("the complaint", || {
        Ok(other.log().contains("metrics: cannot listen on 127.0.0.1:9100: another process listens there"))
    })?;
    other.stop()?;

    reload("")?;
    eventually("no metrics after the reload", || Ok(get(&topology.router, &[url]).is_err()))?;
    let bob = topology.host("bob");
    assert!(ping(&topology.host("alice").namespace, bob.spec.ipv4, 3)?.is_complete());
    daemon.stop()
}

#[test]
fn the_dashboard_asks_for_metrics_that_there_are() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf/grafana/raddle.json");
    let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(file)?)?;
    let daemon = Daemon::start_here(&DaemonConfig::new().with("[interface.lo0]\ndriver = \"loopback\"\n"))?;
    let text = daemon.ctl("show metrics")?;
    let mut count = 0;
    for panel in dashboard["panels"].as_array().context("no panels")? {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().context("no expression")?;
            let names = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            for name in names.filter(|name| name.starts_with("raddle_") || name.starts_with("process_")) {
                let family = ["_total", "_bucket", "_info", "_sum", "_count"]
                    .iter()
                    .find_map(|end| name.strip_suffix(end))
                    .unwrap_or(name);
                let is_there = [family, name].iter().any(|name| text.contains(&format!("# TYPE {name} ")));
                assert!(is_there, "{}: there is no metric {name}", panel["title"]);
                count += 1;
            }
        }
    }
    assert!(count > 10, "the dashboard asks for {count} metrics only");
    daemon.stop()
}
