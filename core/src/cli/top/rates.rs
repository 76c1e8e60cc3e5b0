//! What was done between two samples, in a second.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::hash::Hash;

use super::sample::Sample;
use crate::host::methods::RuntimeReport;

/// An interface.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct InterfaceRate {
    pub name: String,
    pub state: String,
    pub rx_packets: f64,
    pub rx_bits: f64,
    pub tx_packets: f64,
    pub tx_bits: f64,
    pub lost: f64,
}

/// A node or a plugin.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct CostRate {
    pub name: String,
    /// `active`, `quarantined`, …; of plugins only.
    pub state: String,
    pub calls: f64,
    pub packets: f64,
    pub clocks: f64,
    /// Of the clocks of all, in percent.
    pub share: f64,
}

/// A reason to drop packets.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct DropRate {
    pub node: String,
    pub reason: String,
    pub packets: f64,
    pub total: u64,
}

/// A thread.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ThreadRate {
    pub name: String,
    pub core: Option<usize>,
    pub state: String,
    /// Clocks that nodes took of those that there were, in percent.
    pub load: f64,
    pub packets: f64,
    pub passes: f64,
    pub queues: usize,
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Rates {
    pub seconds: f64,
    pub interfaces: Vec<InterfaceRate>,
    pub nodes: Vec<CostRate>,
    pub plugins: Vec<CostRate>,
    pub drops: Vec<DropRate>,
    pub threads: Vec<ThreadRate>,
    /// Buffers that hold packets, and all.
    pub buffers: (u64, u64),
}

impl Rates {
    /// From one sample to a later one. What was cleared meanwhile counts as nothing done.
    pub(super) fn between(before: &Sample, after: &Sample) -> Self {
        let seconds = after.taken.duration_since(before.taken).as_secs_f64();
        let rate = |now: u64, then: Option<u64>| match then {
            Some(then) if seconds > 0.0 => now.saturating_sub(then) as f64 / seconds,
            _ => 0.0,
        };
        Self {
            seconds,
            interfaces: interfaces(before, after, &rate),
            nodes: nodes(before, after, &rate),
            plugins: plugins(before, after, &rate),
            drops: drops(before, after, &rate),
            threads: threads(before, after, &rate),
            buffers: (after.buffers.in_use, after.buffers.total),
        }
    }

    /// Packets that came in in a second, on all interfaces.
    pub(super) fn rx_packets(&self) -> f64 {
        self.interfaces.iter().map(|interface| interface.rx_packets).sum()
    }
}

type Rate<'r> = &'r dyn Fn(u64, Option<u64>) -> f64;

fn by_key<K: Eq + Hash, V>(rows: impl Iterator<Item = (K, V)>) -> HashMap<K, V> {
    rows.collect()
}

fn interfaces(before: &Sample, after: &Sample, rate: Rate<'_>) -> Vec<InterfaceRate> {
    let old = by_key(before.interfaces.iter().map(|one| (one.name.as_str(), one)));
    let of = |now: &crate::host::InterfaceState| {
        let then = old.get(now.name.as_str());
        InterfaceRate {
            name: now.name.clone(),
            state: now.state.clone(),
            rx_packets: rate(now.rx_packets, then.map(|then| then.rx_packets)),
            rx_bits: 8.0 * rate(now.rx_bytes, then.map(|then| then.rx_bytes)),
            tx_packets: rate(now.tx_packets, then.map(|then| then.tx_packets)),
            tx_bits: 8.0 * rate(now.tx_bytes, then.map(|then| then.tx_bytes)),
            lost: rate(now.rx_lost + now.tx_lost, then.map(|then| then.rx_lost + then.tx_lost)),
        }
    };
    let mut rates: Vec<InterfaceRate> = after.interfaces.iter().map(of).collect();
    // Those with most traffic first; the others stay in their order.
    rates.sort_by(|a, b| (b.rx_packets + b.tx_packets).total_cmp(&(a.rx_packets + a.tx_packets)));
    rates
}

/// Calls, packets and clocks of each node, summed over the threads.
fn node_totals(runtime: &RuntimeReport) -> HashMap<&str, [u64; 3]> {
    let mut totals: HashMap<&str, [u64; 3]> = HashMap::new();
    for node in runtime.threads.iter().flat_map(|thread| &thread.nodes) {
        let sum = totals.entry(&node.name).or_default();
        for (sum, amount) in sum.iter_mut().zip([node.calls, node.packets, node.clocks]) {
            *sum += amount;
        }
    }
    totals
}

fn nodes(before: &Sample, after: &Sample, rate: Rate<'_>) -> Vec<CostRate> {
    let (old, new) = (node_totals(&before.runtime), node_totals(&after.runtime));
    let rows = new.into_iter().map(|(name, now)| (name, String::new(), now, old.get(name).copied()));
    costs(rows, rate)
}

fn plugins(before: &Sample, after: &Sample, rate: Rate<'_>) -> Vec<CostRate> {
    let totals = |plugin: &crate::host::methods::PluginReport| {
        let runtime = &plugin.runtime;
        [runtime.calls, runtime.packets, runtime.clocks]
    };
    let old = by_key(before.plugins.iter().map(|plugin| (plugin.name.as_str(), totals(plugin))));
    let rows = after.plugins.iter().map(|plugin| {
        let then = old.get(plugin.name.as_str()).copied();
        (plugin.name.as_str(), plugin.state.clone(), totals(plugin), then)
    });
    costs(rows, rate)
}

fn costs<'n>(
    rows: impl Iterator<Item = (&'n str, String, [u64; 3], Option<[u64; 3]>)>,
    rate: Rate<'_>,
) -> Vec<CostRate> {
    let mut rates: Vec<CostRate> = rows
        .map(|(name, state, now, then)| CostRate {
            name: name.to_owned(),
            state,
            calls: rate(now[0], then.map(|then| then[0])),
            packets: rate(now[1], then.map(|then| then[1])),
            clocks: rate(now[2], then.map(|then| then[2])),
            share: 0.0,
        })
        .collect();
    let all: f64 = rates.iter().map(|one| one.clocks).sum();
    if all > 0.0 {
        rates.iter_mut().for_each(|one| one.share = one.clocks * 100.0 / all);
    }
    rates.sort_by(|a, b| b.clocks.total_cmp(&a.clocks).then_with(|| a.name.cmp(&b.name)));
    rates
}

fn drops(before: &Sample, after: &Sample, rate: Rate<'_>) -> Vec<DropRate> {
    let old = by_key(before.errors.iter().map(|row| ((row.node.as_str(), row.reason.as_str()), row.count)));
    let mut rates: Vec<DropRate> = (after.errors.iter())
        .map(|row| DropRate {
            node: row.node.clone(),
            reason: row.reason.clone(),
            // A reason without a row had no packets.
            packets: rate(row.count, Some(old.get(&(&*row.node, &*row.reason)).copied().unwrap_or(0))),
            total: row.count,
        })
        .collect();
    rates.sort_by(|a, b| b.packets.total_cmp(&a.packets).then(Reverse(a.total).cmp(&Reverse(b.total))));
    rates
}

fn threads(before: &Sample, after: &Sample, rate: Rate<'_>) -> Vec<ThreadRate> {
    let clocks = |runtime: &RuntimeReport, thread: u32| {
        let thread = runtime.threads.iter().find(|one| one.thread == thread)?;
        Some((thread.nodes.iter().map(|node| node.clocks).sum::<u64>(), thread.packets))
    };
    let per_second = after.runtime.clocks_per_second as f64;
    let of = |now: &crate::host::methods::ThreadReport| {
        let (new, old) = (clocks(&after.runtime, now.thread), clocks(&before.runtime, now.thread));
        let then = before.threads.iter().find(|then| then.thread == now.thread);
        let taken = rate(new.map_or(0, |new| new.0), old.map(|old| old.0));
        ThreadRate {
            name: now.name.clone(),
            core: now.core,
            state: now.state.clone(),
            load: if per_second > 0.0 { (taken * 100.0 / per_second).min(100.0) } else { 0.0 },
            packets: rate(new.map_or(0, |new| new.1), old.map(|old| old.1)),
            passes: rate(now.passes, then.map(|then| then.passes)),
            queues: now.rx_queues.len(),
        }
    };
    after.threads.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use serde_json::json;

    use super::*;

    fn sample(taken: Instant, factor: u64) -> Sample {
        let count = |per_second: u64| per_second * factor;
        let node = |name: &str, clocks: u64| {
            json!({"name": name, "state": "active", "calls": count(1), "packets": count(4), "clocks": count(clocks),
                   "packets-per-call": null, "clocks-per-packet": null, "clocks-per-call": null, "largest-call": 4})
        };
        let from = |value: serde_json::Value| value;
        Sample {
            taken,
            interfaces: Vec::new(),
            runtime: serde_json::from_value(from(json!({"seconds": 1.0, "clocks-per-second": 1000, "threads": [
                {"thread": 0, "name": "main", "passes": count(9), "packets": count(4), "packets-per-second": 0.0,
                 "clocks-per-packet": null, "nodes": [node("drop", 100), node("ip4-input", 300)]}]})))
            .expect("a report"),
            plugins: Vec::new(),
            errors: serde_json::from_value(json!([
                {"node": "a", "reason": "seldom", "count": 7, "text": ""},
                {"node": "a", "reason": "often", "count": count(5), "text": ""}]))
            .expect("rows"),
            buffers: serde_json::from_value(json!({"total": 10, "free": 8, "cached": 0, "in-use": 2, "exhausted": 0,
                "buffer-bytes": 1, "bytes": 10, "pages": "4 KiB pages", "threads": []}))
            .expect("a report"),
            threads: serde_json::from_value(json!([{"thread": 0, "name": "main", "core": null, "state": "polling",
                "passes": count(9), "node": null, "rx-queues": []}]))
            .expect("rows"),
        }
    }

    #[test]
    fn rates_are_differences_in_a_second_and_the_costliest_is_first() {
        let start = Instant::now();
        let rates = Rates::between(&sample(start, 1), &sample(start + Duration::from_secs(2), 3));
        let nodes: Vec<_> = rates.nodes.iter().map(|node| (&*node.name, node.clocks, node.share)).collect();
        assert_eq!(nodes, [("ip4-input", 300.0, 75.0), ("drop", 100.0, 25.0)]);
        assert_eq!((rates.drops[0].reason.as_str(), rates.drops[0].packets), ("often", 5.0));
        assert_eq!((rates.threads[0].load, rates.threads[0].packets), (40.0, 4.0));
        assert_eq!(rates.buffers, (2, 10));
    }

    #[test]
    fn what_was_cleared_meanwhile_is_no_rate() {
        let start = Instant::now();
        let rates = Rates::between(&sample(start, 9), &sample(start + Duration::from_secs(1), 1));
        assert!(rates.nodes.iter().all(|node| node.clocks == 0.0 && node.share == 0.0));
        let same = sample(start, 1);
        assert_eq!(Rates::between(&same, &same).threads[0].load, 0.0);
    }
}
