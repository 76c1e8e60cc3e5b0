//! The commands `flow-count show` and `flow-count clear`.

use std::collections::HashMap;
use std::fmt::Write as _;

use raddle_plugin_api::prelude::*;
use serde::{Deserialize, Serialize};

use crate::counts::{Counts, Family};
use crate::flow::{Flow, Key};

/// Flows that are shown unless the operator says how many.
const TOP: u32 = 10;

/// Arguments of `flow-count show`.
#[derive(Debug, Deserialize)]
pub struct ShowArguments {
    count: Option<u32>,
}

/// What was counted.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    interfaces: Vec<InterfaceReport>,
    /// The busiest flows, by bytes.
    flows: Vec<FlowReport>,
    /// Flows that are known in all.
    known_flows: usize,
    /// Packets of flows for which there was no room.
    packets_without_flow: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct InterfaceReport {
    name: String,
    ip4_packets: u64,
    ip4_bytes: u64,
    ip6_packets: u64,
    ip6_bytes: u64,
}

#[derive(Debug, Serialize)]
struct FlowReport {
    #[serde(flatten)]
    flow: Flow,
    packets: u64,
    bytes: u64,
}

/// Runs `flow-count show`: interfaces that counted something, and the busiest flows.
pub fn show(control: &mut Control<'_>, arguments: ShowArguments) -> Result<Report, Failure> {
    let counts = control.resource::<Counts>()?;
    let mut interfaces = Vec::new();
    for interface in control.interfaces()? {
        let [ip4, ip6] = [Family::Ip4, Family::Ip6].map(|family| counts.amount(interface.index, family));
        if ip4.packets > 0 || ip6.packets > 0 || counts.is_wanted(&interface.name) {
            interfaces.push(InterfaceReport {
                name: interface.name,
                ip4_packets: ip4.packets,
                ip4_bytes: ip4.bytes,
                ip6_packets: ip6.packets,
                ip6_bytes: ip6.bytes,
            });
        }
    }
    let mut flows = flows(&counts);
    let known_flows = flows.len();
    flows.sort_by_key(|flow| std::cmp::Reverse((flow.bytes, flow.packets)));
    flows.truncate(arguments.count.unwrap_or(TOP) as usize);
    Ok(Report { interfaces, flows, known_flows, packets_without_flow: counts.refused() })
}

/// Runs `flow-count clear`.
pub fn clear(control: &mut Control<'_>, _: NoArguments) -> Result<(), Failure> {
    control.resource::<Counts>()?.clear();
    Ok(())
}

/// All flows: packets of one may have been counted by several threads.
fn flows(counts: &Counts) -> Vec<FlowReport> {
    let mut sums: HashMap<Key, (u64, u64)> = HashMap::new();
    for table in counts.tables() {
        for counted in table.flows(counts.generation()) {
            let sum = sums.entry(counted.key).or_default();
            *sum = (sum.0 + counted.packets, sum.1 + counted.bytes);
        }
    }
    let report = |(key, (packets, bytes))| FlowReport { flow: Flow::from_key(key), packets, bytes };
    sums.into_iter().map(report).collect()
}

impl CommandOutput for Report {
    fn text(&self) -> Option<String> {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{:<16} {:>12} {:>14} {:>12} {:>14}",
            "interface", "ip4 packets", "bytes", "ip6 packets", "bytes"
        );
        for interface in &self.interfaces {
            let InterfaceReport { name, ip4_packets, ip4_bytes, ip6_packets, ip6_bytes } = interface;
            let _ = writeln!(
                text,
                "{name:<16} {ip4_packets:>12} {ip4_bytes:>14} {ip6_packets:>12} {ip6_bytes:>14}"
            );
        }
        let _ = writeln!(text, "\n{:>12} {:>14}  busiest of {} flows", "packets", "bytes", self.known_flows);
        for FlowReport { flow, packets, bytes } in &self.flows {
            let _ = writeln!(text, "{packets:>12} {bytes:>14}  {flow}");
        }
        if self.packets_without_flow > 0 {
            let _ = writeln!(text, "{:>12} packets of flows without room", self.packets_without_flow);
        }
        Some(text)
    }
}
