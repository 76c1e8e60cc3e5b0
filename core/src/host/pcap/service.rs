//! The captures that are on, and those that were last: started, ended and told of by the main thread.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use raddle_plugin_api::{Failure, bail, failure};
use serde::{Deserialize, Serialize};

use super::file::CaptureFile;
use super::names::Names;
use super::writer::Writer;
use crate::filter::Filter;
use crate::host::Engine;
use crate::runtime::{Capture, CaptureOptions, Direction};

/// Bytes that are captured of a packet: whole GSO packets too.
const SNAP_BYTES: u32 = 65_535 + 64;
/// Packets that are captured unless another number is asked for.
const DEFAULT_MAX: u64 = 10_000;

/// Captures that can be on at a time; and those that have ended of which is still told.
const MOST: usize = 8;

/// What is to be captured.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PcapRequest {
    directions: Vec<Direction>,
    interface: Option<String>,
    filter: Option<Filter>,
    max: Option<u64>,
    #[serde(default)]
    ring: bool,
    file: PathBuf,
}

/// What `show pcap` shows.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PcapReport {
    /// Its number, by which it is ended.
    pub number: u32,
    /// Whether packets are captured now.
    pub active: bool,
    /// Where packets are captured.
    pub directions: Vec<Direction>,
    /// Of which interface; `None`: of all.
    pub interface: Option<String>,
    /// Which packets; `None`: all.
    pub filter: Option<String>,
    /// Packets that are captured at most, or that a file of a ring has.
    pub max: u64,
    /// Whether the file is begun anew when it is full, and the one before kept as `FILE.1`.
    pub ring: bool,
    /// The file.
    pub file: String,
    /// Packets written.
    pub packets: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Packets that were not captured: they came faster than they could be written.
    pub lost: u64,
    /// Why it has ended by itself.
    pub ended: Option<String>,
}

struct Running {
    capture: Arc<Capture>,
    writer: Option<Writer>,
    report: PcapReport,
}

/// The captures that are on, and those that were last, in the order of their numbers.
#[derive(Default)]
pub struct PcapService {
    all: Vec<Running>,
    last: u32,
}

impl PcapService {
    /// The captures that the threads are to serve.
    fn attached(&self) -> Arc<[Arc<Capture>]> {
        let active = self.all.iter().filter(|running| running.report().active);
        active.map(|running| Arc::clone(&running.capture)).collect()
    }

    /// Forgets the oldest that have ended, if they are too many.
    fn forget_old(&mut self) {
        let ended = self.all.iter().filter(|running| !running.report().active).count();
        let mut over = ended.saturating_sub(MOST);
        self.all.retain(|running| {
            let goes = over > 0 && !running.report().active;
            over -= usize::from(goes);
            !goes
        });
    }
}

impl Running {
    fn report(&self) -> PcapReport {
        let mut report = self.report.clone();
        report.lost = self.capture.lost();
        if let Some(writer) = &self.writer {
            let progress = &writer.progress;
            report.packets = progress.packets.load(Ordering::Relaxed);
            report.bytes = progress.bytes.load(Ordering::Relaxed);
            report.ended = progress.ended.lock().unwrap_or_else(PoisonError::into_inner).clone();
            report.active = report.ended.is_none();
        }
        report
    }

    /// Has what waits written, and the file closed.
    fn finish(&mut self) {
        self.capture.close();
        if let Some(writer) = self.writer.take() {
            let progress = Arc::clone(&writer.progress);
            drop(writer);
            self.report.packets = progress.packets.load(Ordering::Relaxed);
            self.report.bytes = progress.bytes.load(Ordering::Relaxed);
            self.report.ended = progress.ended.lock().unwrap_or_else(PoisonError::into_inner).clone();
        }
        self.report.active = false;
    }
}

impl Engine {
    /// Captures packets to a file from now on.
    ///
    /// # Errors
    /// Too many are on; the file cannot be made, or one writes it already; there is no such interface.
    pub fn start_pcap(&self, request: PcapRequest) -> Result<(), Failure> {
        let PcapRequest { directions, interface, filter, max, ring, file } = request;
        let name = file.display().to_string();
        let active: Vec<PcapReport> = self.pcap_reports().into_iter().filter(|one| one.active).collect();
        if let Some(same) = active.iter().find(|one| one.file == name) {
            bail!("capture {} writes {name} already; `pcap trace off {}` ends it", same.number, same.number);
        }
        if active.len() >= MOST {
            bail!("{MOST} captures are on already; `pcap trace off` ends them");
        }
        if directions.is_empty() {
            bail!("say which packets: `rx`, `tx`, `drop`, or several of them");
        }
        let index = interface.as_deref().map(|name| self.find_interface(name)).transpose()?;
        let max = max.unwrap_or(DEFAULT_MAX);
        let text = filter.as_ref().map(|filter| filter.text().to_owned());
        let open = CaptureFile::create(&file, SNAP_BYTES, text.as_deref())
            .map_err(|error| failure!("cannot make {}: {error}", file.display()))?;
        let wants = |direction| directions.contains(&direction);
        let capture = Arc::new(Capture::new(CaptureOptions {
            rx: wants(Direction::Rx),
            tx: wants(Direction::Tx),
            drop: wants(Direction::Drop),
            interface: index,
            filter,
            snap_bytes: SNAP_BYTES as usize,
            max: (!ring).then_some(max),
        }));
        let number = {
            let mut service = self.pcap.borrow_mut();
            service.last += 1;
            service.last
        };
        let report = PcapReport {
            number,
            active: true,
            directions,
            interface,
            filter: text,
            max,
            ring,
            file: name,
            packets: 0,
            bytes: 0,
            lost: 0,
            ended: None,
        };
        let (remote, names, own) = (self.remote(), self.names(), Arc::clone(&capture));
        let ended = move || remote.run(move |engine| engine.pcap_has_ended(&own));
        let writer = Writer::start(Arc::clone(&capture), open, names, ring.then_some(max), ended)
            .map_err(|error| failure!("cannot start a thread to write the capture: {error}"))?;
        {
            let mut service = self.pcap.borrow_mut();
            service.all.push(Running { capture, writer: Some(writer), report });
            service.forget_old();
        }
        self.attach_pcaps();
        Ok(())
    }

    /// Ends the capture with this number, or all of them; what they were stays to be shown.
    ///
    /// # Errors
    /// None is on, or not this one.
    pub fn stop_pcap(&self, number: Option<u32>) -> Result<Vec<PcapReport>, Failure> {
        let mut ended = Vec::new();
        let chosen = |running: &&mut Running| {
            running.writer.is_some() && number.is_none_or(|number| number == running.report.number)
        };
        for running in self.pcap.borrow_mut().all.iter_mut().filter(chosen) {
            running.finish();
            ended.push(running.report());
        }
        self.attach_pcaps();
        match number {
            Some(number) if ended.is_empty() => bail!("there is no capture {number} that is on"),
            None if ended.is_empty() => bail!("no packets are being captured"),
            _ => Ok(ended),
        }
    }

    /// What is, and what was last captured.
    pub fn pcap_reports(&self) -> Vec<PcapReport> {
        self.pcap.borrow().all.iter().map(Running::report).collect()
    }

    /// A capture has ended by itself.
    fn pcap_has_ended(&self, capture: &Arc<Capture>) {
        capture.close();
        self.attach_pcaps();
    }

    /// Has the threads look at packets for the captures that are on.
    fn attach_pcaps(&self) {
        let captures = self.pcap.borrow().attached();
        let threads = self.threads.borrow();
        threads.all_shared().for_each(|shared| shared.trace.set_captures(Arc::clone(&captures)));
    }

    fn names(&self) -> Names {
        let (graph, interfaces) = (self.graph.borrow(), self.interfaces.borrow());
        Names {
            interfaces: interfaces.iter().map(|(index, interface)| (index, interface.name.clone())).collect(),
            nodes: graph.nodes().iter().map(|node| node.name.clone()).collect(),
            errors: (graph.errors().iter())
                .map(|error| (error.node.clone(), error.name.clone(), error.text.clone()))
                .collect(),
        }
    }
}
