//! `pcap trace …`, `show pcap`.

use std::fmt::Write;
use std::future::Future;

use raddle_plugin_api::command::{NoArguments, Output};
use raddle_plugin_api::{Control, Failure, command};
use serde::{Deserialize, Serialize};

use crate::filter::{Filter, compile_aside};
use crate::host::PcapReport;
use crate::runtime::Direction;

#[derive(Deserialize)]
struct Start {
    #[serde(default)]
    rx: bool,
    #[serde(default)]
    tx: bool,
    #[serde(default)]
    drop: bool,
    interface: Option<String>,
    filter: Option<String>,
    max: Option<u64>,
    #[serde(default)]
    ring: bool,
    file: String,
}

/// What the host is asked for.
#[derive(Serialize)]
struct Request {
    directions: Vec<Direction>,
    interface: Option<String>,
    filter: Option<Filter>,
    max: Option<u64>,
    ring: bool,
    file: String,
}

fn start(
    control: &mut Control<'_>,
    arguments: Start,
) -> Result<impl Future<Output = Result<(), Failure>> + use<>, Failure> {
    let Start { rx, tx, drop, interface, filter, max, ring, file } = arguments;
    let wanted = [(rx, Direction::Rx), (tx, Direction::Tx), (drop, Direction::Drop)];
    let directions =
        wanted.into_iter().filter_map(|(wanted, direction)| wanted.then_some(direction)).collect();
    let task = control.for_task();
    Ok(async move {
        let filter = match filter {
            Some(text) => Some(compile_aside(text).await?),
            None => None,
        };
        let request = Request { directions, interface, filter, max, ring, file };
        task.with(|control| control.call("pcap.start", &request))
    })
}

command! {
    "pcap trace [rx] [tx] [drop] [interface <interface>] [filter <filter:string>] [max <max:u64:1..1000000000>] [ring] file <file:path>",
    "captures packets to a pcapng file where raddle runs: as they come in, leave, or are dropped; up to `max`, or with \
     `ring` the last ones",
    async start
}

/// Captures.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Shown(Vec<PcapReport>);

impl Output for Shown {
    fn text(&self) -> Option<String> {
        if self.0.is_empty() {
            return Some("no packets were captured".to_owned());
        }
        Some(self.0.iter().map(report_text).collect::<Vec<_>>().join("\n"))
    }
}

fn report_text(report: &PcapReport) -> String {
    let words: Vec<&str> = (report.directions.iter())
        .map(|direction| match direction {
            Direction::Rx => "rx",
            Direction::Tx => "tx",
            Direction::Drop => "drop",
        })
        .collect();
    let mut text = format!("{}: {} packets", report.number, words.join(" and "));
    // Writing to a string cannot fail.
    if let Some(interface) = &report.interface {
        let _ = write!(text, " of {interface}");
    }
    if let Some(filter) = &report.filter {
        let _ = write!(text, " that pass `{filter}`");
    }
    let state = match (&report.ended, report.active) {
        (Some(reason), _) => format!("ended: {reason}"),
        (None, true) => "being captured".to_owned(),
        (None, false) => "ended".to_owned(),
    };
    let bound = if report.ring { "the last" } else { "at most" };
    let _ = write!(
        text,
        "\n   to {}, {bound} {}: {state}\n   {} packets and {} bytes written, {} lost",
        report.file, report.max, report.packets, report.bytes, report.lost
    );
    text
}

#[derive(Deserialize)]
struct Stop {
    capture: Option<u32>,
}

fn stop(control: &mut Control<'_>, arguments: Stop) -> Result<Shown, Failure> {
    control.call("pcap.stop", &arguments.capture)
}

command! { "pcap trace off [<capture:u32>]", "ends the capture with this number, or all", stop }

fn show(control: &mut Control<'_>, _: NoArguments) -> Result<Shown, Failure> {
    control.call("pcap.show", &())
}

command! { "show pcap", "shows the captures of packets that are on, and the last that were", show }
