//! `trace add`, `show trace`, `clear trace`.

use std::fmt::Write;
use std::future::Future;

use raddle_plugin_api::command::{NoArguments, Output};
use raddle_plugin_api::{Control, Failure, command};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::filter::{Filter, compile_aside};
use crate::host::methods::{PacketReport, TraceReport};

/// Packets that are shown unless more are asked for.
const DEFAULT_PACKETS: u32 = 50;

#[derive(Deserialize)]
struct Add {
    node: Option<String>,
    count: u32,
    filter: Option<String>,
}

/// What the host is asked for.
#[derive(Serialize)]
struct Wanted {
    node: Option<String>,
    count: u32,
    filter: Option<Filter>,
}

fn add(
    control: &mut Control<'_>,
    arguments: Add,
) -> Result<impl Future<Output = Result<(), Failure>> + use<>, Failure> {
    let Add { node, count, filter } = arguments;
    let task = control.for_task();
    Ok(async move {
        let filter = match filter {
            Some(text) => Some(compile_aside(text).await?),
            None => None,
        };
        task.with(|control| control.call("trace.add", &Wanted { node, count, filter }))
    })
}

command! {
    "trace add <node> <count:u32:1..1000> [filter <filter:string>]",
    "follows the next packets that come to a node on their way, so many on each thread; with a filter in tcpdump's \
     language, those that pass it as they come in",
    async add
}

command! {
    "trace drop <count:u32:1..1000> [filter <filter:string>]",
    "follows packets from the input on and keeps those that are dropped, so many on each thread, with the reason",
    async add
}

#[derive(Deserialize)]
struct Show {
    max: Option<u32>,
}

impl Output for TraceReport {
    fn text(&self) -> Option<String> {
        if self.packets.is_empty() {
            return Some(
                "no packet was traced; `trace add NODE COUNT` has the next ones traced, \
                 `trace drop COUNT` the next ones that are dropped"
                    .to_owned(),
            );
        }
        let mut text = self.packets.iter().map(packet_text).collect::<Vec<_>>().join("\n\n");
        let left = self.traced - self.packets.len();
        if left > 0 {
            // Writing to a string cannot fail.
            let _ = write!(text, "\n\n… and {left} more; `show trace max {}` shows all", self.traced);
        }
        Some(text)
    }
}

fn packet_text(packet: &PacketReport) -> String {
    let PacketReport { packet: number, time_ns, thread, thread_name, nodes } = packet;
    let (seconds, nanos) = (time_ns / 1_000_000_000, time_ns % 1_000_000_000);
    let mut text = format!("packet {number} at {seconds}.{nanos:09} s, thread {thread} ({thread_name})");
    for stay in nodes {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n  {}", stay.node);
        if let Some(next) = &stay.next {
            let _ = write!(text, " -> {next}");
        }
        if let Some(error) = &stay.error {
            let _ = write!(text, ": {} {} ({})", error.node, error.reason, error.text);
        }
        for line in stay.texts.iter().flat_map(|record| record.lines()) {
            let _ = write!(text, "\n    {line}");
        }
    }
    text
}

fn show(control: &mut Control<'_>, arguments: Show) -> Result<TraceReport, Failure> {
    control.call("trace.list", &json!({"max": arguments.max.unwrap_or(DEFAULT_PACKETS)}))
}

command! { "show trace [max <max:u32>]", "shows the ways of the packets that were traced", show }

fn clear(control: &mut Control<'_>, _: NoArguments) -> Result<(), Failure> {
    control.call("trace.clear", &())
}

command! { "clear trace", "forgets all traces, and those still asked for", clear }
