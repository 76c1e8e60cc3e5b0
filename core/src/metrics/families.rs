//! The families of raddle itself, in the order in which they are written.

use std::collections::BTreeMap;

use raddle_plugin_api::abi::{ABI_MAJOR, ABI_MINOR};

use super::text::{Kind, Text};
use crate::host::methods::{BarrierReport, ProcessReport};
use crate::host::{InterfaceState, NodeSample, PluginSample, Snapshot, ThreadSample};
use crate::runtime::NodeTotals;

const STATES: [&str; 3] = ["active", "quarantined", "refused"];

/// Bounds of the buckets of the barrier's holds: powers of two, in ns; 1 µs to 1 s.
const HOLD_BOUNDS: std::ops::Range<u32> = 10..31;

/// A counter of many: its name and help, and how it is read.
type Counted<T> = (&'static str, &'static str, fn(&T) -> u64);

/// Writes all of them.
pub fn write(text: &mut Text, snapshot: &Snapshot) {
    write_engine(text, snapshot);
    write_interfaces(text, &snapshot.interfaces);
    write_threads(text, &snapshot.threads);
    write_nodes(text, &snapshot.nodes, &snapshot.threads);
    let mut drops =
        text.family("raddle_drops", Kind::Counter, "", "Packets that were dropped, by node and reason");
    for (node, reason, count) in &snapshot.drops {
        drops.sample(&[("node", node), ("reason", reason)], count);
    }
    write_buffers(text, snapshot);
    if let Some(barrier) = &snapshot.barrier {
        write_barrier(text, barrier);
    }
    write_handoffs(text, snapshot);
    write_plugins(text, &snapshot.plugins);
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

fn write_engine(text: &mut Text, snapshot: &Snapshot) {
    let abi = format!("{ABI_MAJOR}.{ABI_MINOR}");
    text.family("raddle_build", Kind::Info, "", "Which raddle this is").sample(
        &[
            ("version", env!("CARGO_PKG_VERSION")),
            ("plugin_abi", &abi),
            ("built_with", raddle_plugin_api::BUILT_WITH),
        ],
        1,
    );
    text.family("raddle_uptime_seconds", Kind::Gauge, "seconds", "Time since the start")
        .sample(&[], seconds(snapshot.uptime_ns));
    text.family("raddle_clock_hertz", Kind::Gauge, "hertz", "Rate of the clock by which nodes are measured")
        .sample(&[], snapshot.clocks_per_second.round());
    text.family("raddle_processes", Kind::Gauge, "", "Tasks of the main thread")
        .sample(&[], snapshot.processes.len());
    write_processes(text, &snapshot.processes);
}

/// Tasks of one name are one series: a plugin may start one for each of its peers.
fn write_processes(text: &mut Text, processes: &[ProcessReport]) {
    let mut sums: BTreeMap<(&str, &str), (u64, u64)> = BTreeMap::new();
    for process in processes {
        let sum = sums.entry((&process.name, &process.plugin)).or_default();
        *sum = (sum.0 + process.wakes, sum.1 + process.spent_ns);
    }
    let help = "How often the tasks that run were woken, and suspended themselves again";
    let mut wakes = text.family("raddle_process_suspends", Kind::Gauge, "", help);
    for ((name, plugin), (count, _)) in &sums {
        wakes.sample(&[("process", name), ("plugin", plugin)], count);
    }
    let help = "Time of the main thread that the tasks that run took";
    let mut spent = text.family("raddle_process_spent_seconds", Kind::Gauge, "seconds", help);
    for ((name, plugin), (_, spent_ns)) in &sums {
        spent.sample(&[("process", name), ("plugin", plugin)], seconds(*spent_ns));
    }
}

type Count = fn(&InterfaceState) -> u64;

fn write_interfaces(text: &mut Text, interfaces: &[InterfaceState]) {
    let counters: [(&str, &str, &str, Count); 6] = [
        ("rx_packets", "", "Packets received", |interface| interface.rx_packets),
        ("rx_bytes", "bytes", "Bytes received", |interface| interface.rx_bytes),
        ("rx_lost", "", "Packets lost before they could be received", |interface| interface.rx_lost),
        ("tx_packets", "", "Packets sent", |interface| interface.tx_packets),
        ("tx_bytes", "bytes", "Bytes sent", |interface| interface.tx_bytes),
        ("tx_lost", "", "Packets that the device did not take", |interface| interface.tx_lost),
    ];
    for (name, unit, help, count) in counters {
        let mut family = text.family(&format!("raddle_interface_{name}"), Kind::Counter, unit, help);
        for interface in interfaces {
            family.sample(&[("interface", &interface.name)], count(interface));
        }
    }
    let gauges: [(&str, &str, &str, Count); 3] = [
        ("admin_up", "", "1 if the operator wants it up", |interface| interface.admin_up.into()),
        ("link_up", "", "1 if its link is up", |interface| interface.link_up.into()),
        ("mtu_bytes", "bytes", "Largest packet, without the layer 2 header", |interface| {
            interface.mtu.into()
        }),
    ];
    for (name, unit, help, value) in gauges {
        let mut family = text.family(&format!("raddle_interface_{name}"), Kind::Gauge, unit, help);
        for interface in interfaces {
            family.sample(&[("interface", &interface.name), ("driver", &interface.driver)], value(interface));
        }
    }
}

fn write_threads(text: &mut Text, threads: &[ThreadSample]) {
    let counters: [Counted<ThreadSample>; 4] = [
        ("passes", "Passes of its loop", |thread| thread.report.passes),
        ("rx_packets", "Packets that came in on it", |thread| thread.packets),
        ("clocks", "Clocks of all its nodes", |thread| thread.clocks),
        ("buffers_exhausted", "Buffers that it asked for in vain", |thread| thread.exhausted),
    ];
    for (name, help, count) in counters {
        let mut family = text.family(&format!("raddle_thread_{name}"), Kind::Counter, "", help);
        for thread in threads {
            family.sample(&[("thread", &thread.report.name)], count(thread));
        }
    }
    let mut family =
        text.family("raddle_thread_asleep", Kind::Gauge, "", "1 while it sleeps, 0 while it polls");
    for thread in threads {
        family.sample(&[("thread", &thread.report.name)], u8::from(thread.report.state == "asleep"));
    }
}

fn write_nodes(text: &mut Text, nodes: &[NodeSample], threads: &[ThreadSample]) {
    let counters: [Counted<NodeTotals>; 3] = [
        ("calls", "Calls of the node", |totals| totals.calls),
        ("packets", "Packets that the node dealt with", |totals| totals.packets),
        ("clocks", "Clocks that the node took", |totals| totals.clocks),
    ];
    for (name, help, count) in counters {
        let mut family = text.family(&format!("raddle_node_{name}"), Kind::Counter, "", help);
        for node in nodes {
            for (thread, totals) in &node.threads {
                let thread = threads.get(*thread).map_or("", |thread| &thread.report.name);
                let labels = [("node", node.name.as_str()), ("plugin", &node.plugin), ("thread", thread)];
                family.sample(&labels, count(totals));
            }
        }
    }
}

fn write_buffers(text: &mut Text, snapshot: &Snapshot) {
    let (total, free, bytes) = snapshot.buffers;
    let cached: u64 = snapshot.threads.iter().map(|thread| thread.cached).sum();
    // The figures are not of one moment.
    let in_use = total.saturating_sub(free).saturating_sub(cached);
    for (name, help, count) in [
        ("raddle_buffers", "Packet buffers", total),
        ("raddle_buffers_free", "Packet buffers that wait in the pool", free),
        ("raddle_buffers_cached", "Packet buffers that wait in the threads' caches", cached),
        ("raddle_buffers_in_use", "Packet buffers that hold packets", in_use),
    ] {
        text.family(name, Kind::Gauge, "", help).sample(&[], count);
    }
    text.family("raddle_buffer_memory_bytes", Kind::Gauge, "bytes", "Memory of the packet buffers")
        .sample(&[], bytes);
}

fn write_barrier(text: &mut Text, barrier: &BarrierReport) {
    let mut holds =
        text.family("raddle_barrier_holds", Kind::Counter, "", "How often the workers had to stand");
    for cause in &barrier.causes {
        holds.sample(&[("cause", &cause.cause)], cause.holds);
    }
    let help = "How long the workers stood at a hold of the barrier";
    let mut held = text.family("raddle_barrier_held_seconds", Kind::Histogram, "seconds", help);
    let bounds: Vec<f64> = HOLD_BOUNDS.map(|power| seconds(1_u64 << power)).collect();
    // The same buckets in each scrape: those that have no holds too, and one for all that were longer.
    let mut counts = vec![0; bounds.len() + 1];
    for band in &barrier.histogram {
        let power = band.below_ns.ilog2().clamp(HOLD_BOUNDS.start, HOLD_BOUNDS.end);
        counts[(power - HOLD_BOUNDS.start) as usize] += band.holds;
    }
    let total = barrier.causes.iter().map(|cause| cause.total_ns).sum();
    held.histogram(&[], &bounds, &counts, seconds(total));
}

fn write_handoffs(text: &mut Text, snapshot: &Snapshot) {
    let help = "Packets that one thread handed to another";
    let mut family = text.family("raddle_handoff_packets", Kind::Counter, "", help);
    for way in &snapshot.handoffs {
        family.sample(&[("from", &way.from), ("to", &way.to)], way.packets);
    }
    let help = "Packets that found the way from one thread to another full";
    let mut family = text.family("raddle_handoff_congested", Kind::Counter, "", help);
    for way in &snapshot.handoffs {
        family.sample(&[("from", &way.from), ("to", &way.to)], way.congested);
    }
}

fn write_plugins(text: &mut Text, plugins: &[PluginSample]) {
    let mut info = text.family("raddle_plugin", Kind::Info, "", "The plugins; the core is one");
    for plugin in plugins {
        info.sample(&[("plugin", &plugin.name), ("version", &plugin.version)], 1);
    }
    let mut states = text.family("raddle_plugin_state", Kind::StateSet, "", "What has become of a plugin");
    for plugin in plugins {
        for state in STATES {
            let labels = [("plugin", plugin.name.as_str()), ("raddle_plugin_state", state)];
            states.sample(&labels, u8::from(plugin.state == state));
        }
    }
    let counters: [Counted<NodeTotals>; 3] = [
        ("calls", "Calls of all nodes of the plugin", |totals| totals.calls),
        ("packets", "Packets that the nodes of the plugin dealt with; one at each node", |totals| {
            totals.packets
        }),
        ("clocks", "Clocks that all nodes of the plugin took", |totals| totals.clocks),
    ];
    for (name, help, count) in counters {
        let mut family = text.family(&format!("raddle_plugin_{name}"), Kind::Counter, "", help);
        for plugin in plugins {
            family.sample(&[("plugin", &plugin.name)], count(&plugin.totals));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::methods::{BarrierBand, BarrierCause};

    #[test]
    fn holds_of_the_barrier_are_a_cumulative_histogram_in_seconds() {
        let mut text = Text::default();
        let causes = vec![BarrierCause {
            cause: "splice".to_owned(),
            holds: 3,
            mean_ns: 1,
            longest_ns: 1,
            total_ns: 4_000,
            mean_wait_ns: 1,
            longest_wait_ns: 1,
        }];
        let histogram = vec![
            BarrierBand { from_ns: 512, below_ns: 1024, holds: 1 },
            BarrierBand { from_ns: 2048, below_ns: 4096, holds: 2 },
        ];
        write_barrier(&mut text, &BarrierReport { holds: 3, causes, histogram, late: 0, last_late: None });
        let text = text.finish();
        for line in [
            "raddle_barrier_holds_total{cause=\"splice\"} 3",
            "raddle_barrier_held_seconds_bucket{le=\"1.024e-6\"} 1",
            "raddle_barrier_held_seconds_bucket{le=\"4.096e-6\"} 3",
            "raddle_barrier_held_seconds_bucket{le=\"+Inf\"} 3",
            "raddle_barrier_held_seconds_sum 0.000004",
            "raddle_barrier_held_seconds_count 3",
        ] {
            assert!(text.contains(line), "{line} not in {text}");
        }
    }

    #[test]
    fn a_plugin_is_in_one_state() {
        let mut text = Text::default();
        let totals = NodeTotals { calls: 1, packets: 2, clocks: 3, largest: 2 };
        let name = "acl".to_owned();
        write_plugins(
            &mut text,
            &[PluginSample { name, version: "1".to_owned(), state: "quarantined", totals }],
        );
        let text = text.finish();
        let states: Vec<&str> =
            text.lines().filter(|line| line.starts_with("raddle_plugin_state{")).collect();
        assert_eq!(states.iter().filter(|line| line.ends_with(" 1")).count(), 1);
        assert!(
            states[1].contains("\"quarantined\"")
                && text.contains("raddle_plugin_clocks_total{plugin=\"acl\"} 3")
        );
    }
}
