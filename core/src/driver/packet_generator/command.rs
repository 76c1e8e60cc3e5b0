//! Commands of the packet generator.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::task;
use serde::Deserialize;

use super::generator::{Generator, Generators};
use super::options::StreamOptions;
use super::report::{Received, Report, StreamReport, per_second};
use super::stream::Stream;

/// How often a run that is waited for is looked at.
const LOOK: Duration = Duration::from_millis(5);
/// Packets on their way are waited for until none has come for this long, or
const QUIET: Duration = Duration::from_millis(30);
/// for this long at most.
const SETTLE: Duration = Duration::from_secs(1);

command! {
    "packet-generator start <interface:interface> [<stream>]",
    "starts a stream of a packet generator, or all: those that were stopped go on, those that are complete begin anew",
    start
}
command! {
    "packet-generator stop <interface:interface> [<stream>]",
    "stops a stream of a packet generator, or all",
    stop
}
command! {
    "packet-generator add <interface:interface> <name> <packet:string> [count <count:u64>] [rate <rate>] [size <size>] [in-step]",
    "adds a stream made of a template, as \"eth A > B / ip4 C > D-E / udp 1 > 2-9 random\"",
    add
}
command! {
    "packet-generator replay <interface:interface> <name> <file:path> [loops <loops:u64>] [count <count:u64>] [rate <rate>]",
    "adds a stream made of the packets of a pcap or pcapng file",
    replay
}
command! {
    "packet-generator del <interface:interface> <stream>",
    "deletes a stream of a packet generator",
    del
}
command! {
    "packet-generator run <interface:interface> [timeout <timeout:duration>]",
    "runs all streams of a packet generator from their start to their end, and tells what came back",
    async run_streams
}
command! {
    "show packet-generator [<interface:interface>]",
    "shows the streams of packet generators",
    show
}

#[derive(Deserialize)]
struct Selection {
    interface: String,
    #[serde(default)]
    stream: Option<String>,
}

fn start(control: &mut Control<'_>, arguments: Selection) -> Result<(), Failure> {
    let generator = find(control, &arguments.interface)?;
    generator.select(arguments.stream.as_deref())?.iter().for_each(|stream| stream.start());
    generator.tell_queues();
    Ok(())
}

fn stop(control: &mut Control<'_>, arguments: Selection) -> Result<(), Failure> {
    let generator = find(control, &arguments.interface)?;
    generator.select(arguments.stream.as_deref())?.iter().for_each(|stream| stream.stop());
    generator.tell_queues();
    if let Some(capture) = generator.capture() {
        capture.flush();
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Add {
    interface: String,
    name: String,
    packet: String,
    #[serde(default)]
    count: Option<u64>,
    #[serde(default)]
    rate: Option<String>,
    #[serde(default)]
    size: Option<String>,
    #[serde(default)]
    in_step: bool,
}

fn add(control: &mut Control<'_>, arguments: Add) -> Result<(), Failure> {
    let keys = serde_json::json!({
        "name": arguments.name,
        "packet": arguments.packet,
        "count": arguments.count,
        "rate": arguments.rate,
        "size": arguments.size,
        "in-step": arguments.in_step,
    });
    add_stream(control, &arguments.interface, keys)
}

#[derive(Deserialize)]
struct Replay {
    interface: String,
    name: String,
    file: PathBuf,
    #[serde(default)]
    loops: Option<u64>,
    #[serde(default)]
    count: Option<u64>,
    #[serde(default)]
    rate: Option<String>,
}

fn replay(control: &mut Control<'_>, arguments: Replay) -> Result<(), Failure> {
    let keys = serde_json::json!({
        "name": arguments.name,
        "pcap": arguments.file,
        "loops": arguments.loops,
        "count": arguments.count,
        "rate": arguments.rate,
    });
    add_stream(control, &arguments.interface, keys)
}

/// Adds a stream by the same keys as in the configuration, so that the same is refused with the same words.
fn add_stream(control: &Control<'_>, interface: &str, keys: serde_json::Value) -> Result<(), Failure> {
    let generator = find(control, interface)?;
    let options: StreamOptions = serde_json::from_value(keys)?;
    generator.add(options.open(generator.queue_count())?)
}

#[derive(Deserialize)]
struct Delete {
    interface: String,
    stream: String,
}

fn del(control: &mut Control<'_>, arguments: Delete) -> Result<(), Failure> {
    find(control, &arguments.interface)?.remove(&arguments.stream)
}

#[derive(Deserialize)]
struct Show {
    #[serde(default)]
    interface: Option<String>,
}

fn show(control: &mut Control<'_>, arguments: Show) -> Result<Vec<StreamReport>, Failure> {
    let generators = match &arguments.interface {
        Some(name) => vec![find(control, name)?],
        None => control.resource::<Generators>()?.all(),
    };
    let mut reports = Vec::new();
    for generator in generators {
        reports.extend(generator.streams().iter().map(|stream| StreamReport::of(&generator, stream)));
    }
    Ok(reports)
}

#[derive(Deserialize)]
struct Run {
    interface: String,
    /// In ns.
    #[serde(default)]
    timeout: Option<u64>,
}

fn run_streams(
    control: &mut Control<'_>,
    arguments: Run,
) -> Result<impl Future<Output = Result<Report, Failure>> + use<>, Failure> {
    let table = control.resource::<Generators>()?;
    let generator = table.find(&arguments.interface)?;
    let streams = generator.select(None)?;
    if !control.interface(generator.name())?.admin_up {
        bail!("interface {} is down; set it up first", generator.name());
    }
    if arguments.timeout.is_none()
        && let Some(endless) = streams.iter().find(|stream| stream.plan().count.is_none())
    {
        bail!("stream {} has no end; give a timeout", endless.plan().name);
    }
    let before: Vec<(Arc<Generator>, u64)> =
        table.all().into_iter().map(|generator| (generator.clone(), generator.taken())).collect();
    streams.iter().for_each(|stream| stream.restart());
    generator.tell_queues();
    let limit = arguments.timeout.map_or(Duration::MAX, Duration::from_nanos);
    Ok(async move {
        let complete = wait_for_end(&table, &generator, &streams, limit).await?;
        wait_for_quiet(&before).await;
        Ok(report(&generator, &streams, &before, complete))
    })
}

/// Waits until all streams are complete, or stops them when the time is over.
async fn wait_for_end(
    table: &Generators,
    generator: &Arc<Generator>,
    streams: &[Arc<Stream>],
    limit: Duration,
) -> Result<bool, Failure> {
    let mut waited = Duration::ZERO;
    loop {
        if streams.iter().all(|stream| stream.is_complete()) {
            return Ok(true);
        }
        if !table.all().iter().any(|known| Arc::ptr_eq(known, generator)) {
            bail!("interface {} was deleted during the run", generator.name());
        }
        let present = generator.streams();
        let stays = |stream: &&Arc<Stream>| !present.iter().any(|known| Arc::ptr_eq(known, stream));
        if let Some(gone) = streams.iter().find(stays) {
            bail!("stream {} was deleted during the run", gone.plan().name);
        }
        if let Some(stopped) = streams.iter().find(|stream| !stream.order().1 && !stream.is_complete()) {
            bail!("stream {} was stopped during the run", stopped.plan().name);
        }
        if waited >= limit {
            streams.iter().for_each(|stream| stream.stop());
            generator.tell_queues();
            return Ok(false);
        }
        let step = LOOK.min(limit - waited);
        task::sleep(step).await;
        waited += step;
    }
}

/// Waits until no packet comes any more.
async fn wait_for_quiet(generators: &[(Arc<Generator>, u64)]) {
    let taken = || generators.iter().map(|(generator, _)| generator.taken()).sum::<u64>();
    let (mut last, mut quiet, mut waited) = (taken(), Duration::ZERO, Duration::ZERO);
    while quiet < QUIET && waited < SETTLE {
        task::sleep(LOOK).await;
        waited += LOOK;
        let now = taken();
        quiet = if now == last { quiet + LOOK } else { Duration::ZERO };
        last = now;
    }
}

fn report(
    generator: &Generator,
    streams: &[Arc<Stream>],
    before: &[(Arc<Generator>, u64)],
    complete: bool,
) -> Report {
    let progress: Vec<_> = streams.iter().map(|stream| stream.progress()).collect();
    let sent = progress.iter().map(|progress| progress.packets).sum::<u64>();
    let first = progress.iter().filter_map(|progress| progress.first_ns).min().unwrap_or(0);
    let last = progress.iter().map(|progress| progress.last_ns).max().unwrap_or(0);
    let time_ns = last.saturating_sub(first);
    let mut received = Vec::new();
    for (generator, count) in before {
        if let Some(capture) = generator.capture() {
            capture.flush();
        }
        let packets = generator.taken().saturating_sub(*count);
        received.push(Received { interface: generator.name().to_owned(), packets });
    }
    let came = received.iter().map(|received| received.packets).sum();
    Report {
        interface: generator.name().to_owned(),
        complete,
        sent,
        bytes: progress.iter().map(|progress| progress.bytes).sum(),
        time_ns,
        rate: per_second(sent, time_ns),
        received,
        lost: sent.saturating_sub(came),
    }
}

fn find(control: &Control<'_>, interface: &str) -> Result<Arc<Generator>, Failure> {
    control.resource::<Generators>()?.find(interface)
}
