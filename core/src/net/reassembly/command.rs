//! `show reassembly`.

use std::fmt::Write as _;

use raddle_plugin_api::prelude::*;
use serde::Serialize;

use super::service::{Family, Kind, Reassembly, TABLES};

command! { "show reassembly", "shows the datagrams of which not all fragments have come, and what became of others", show }

/// All tables.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Shown {
    tables: Vec<ShownTable>,
}

/// A table, as `show reassembly` shows it.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
struct ShownTable {
    /// `ip4` or `ip6`.
    family: &'static str,
    /// `full` or `virtual`.
    kind: &'static str,
    /// Seconds in which all fragments have to come.
    timeout_seconds: u64,
    /// Datagrams in progress, those that were given up among them until their time is over.
    datagrams: usize,
    /// Buffers held.
    buffers: usize,
    /// Bytes of packets held.
    bytes: usize,
    /// Datagrams of which a fragment came.
    started: u64,
    /// Datagrams of which all fragments came.
    completed: u64,
    /// Datagrams that were not complete in time.
    timed_out: u64,
    /// Datagrams that went in want of room.
    evicted: u64,
    /// Datagrams that were given up for what their fragments said.
    condemned: u64,
}

impl CommandOutput for Shown {
    fn text(&self) -> Option<String> {
        let mut text = String::from(
            "family  kind     timeout  datagrams  buffers      bytes    started  completed  timed-out    evicted  condemned\n",
        );
        for row in &self.tables {
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "{:<6}  {:<7}  {:>5} s  {:>9}  {:>7}  {:>9}  {:>9}  {:>9}  {:>9}  {:>9}  {:>9}",
                row.family,
                row.kind,
                row.timeout_seconds,
                row.datagrams,
                row.buffers,
                row.bytes,
                row.started,
                row.completed,
                row.timed_out,
                row.evicted,
                row.condemned,
            );
        }
        text.pop();
        Some(text)
    }
}

fn show(control: &mut Control<'_>, _: NoArguments) -> Result<Shown, Failure> {
    let reassembly = control.resource::<Reassembly>()?;
    let row = |(family, kind)| {
        let mut row = ShownTable {
            family: if family == Family::Ip4 { "ip4" } else { "ip6" },
            kind: if kind == Kind::Full { "full" } else { "virtual" },
            timeout_seconds: reassembly.limits(family).timeout_ns / 1_000_000_000,
            ..ShownTable::default()
        };
        for shard in reassembly.table(family, kind).shards() {
            let (holding, counts) = (shard.holding(), shard.counts());
            row.datagrams += shard.len();
            row.buffers += holding.buffers;
            row.bytes += holding.bytes;
            row.started += counts.started;
            row.completed += counts.completed;
            row.timed_out += counts.timed_out;
            row.evicted += counts.evicted;
            row.condemned += counts.condemned;
        }
        row
    };
    Ok(Shown { tables: TABLES.map(row).into() })
}
