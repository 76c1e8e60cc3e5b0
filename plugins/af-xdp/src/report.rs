//! What is to be seen of devices: `show af-xdp`, and the details of `show interface … verbose`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use raddle_af_xdp_sys::bpf::AttachMode;
use raddle_af_xdp_sys::{Queue, RingFill};
use raddle_plugin_api::prelude::*;
use serde::{Deserialize, Serialize};

use crate::counts::Counts;
use crate::filter::Rule;
use crate::retry::Retry;
use crate::rx_queue::RxShared;
use crate::tx_queue::SharedSender;

command! { "show af-xdp [<interface:word>]", "shows AF_XDP interfaces: their mode, rings, and what the kernel counts", show }

/// The plugin's devices.
pub struct Devices {
    /// By the names of their interfaces.
    all: Mutex<BTreeMap<String, Arc<Report>>>,
    retry: Arc<Retry>,
}

impl Devices {
    /// No devices.
    ///
    /// # Errors
    /// There are no more descriptors.
    pub fn new() -> Result<Self, Failure> {
        let retry = Retry::new().map_err(|error| failure!("cannot make a timer: {error}"))?;
        Ok(Self { all: Mutex::default(), retry: Arc::new(retry) })
    }

    /// When to call [`Devices::resume`].
    pub fn retry(&self) -> Arc<Retry> {
        Arc::clone(&self.retry)
    }

    /// Has the kernel try again to send what it could not, and sees to a further try if it still cannot.
    pub fn resume(&self, worker: &Worker<'_>) {
        self.retry.clear();
        let mut has_pending = false;
        for report in lock(&self.all).values() {
            for sender in lock(&report.state).iter().flat_map(|state| &state.senders) {
                if sender.has_pending() {
                    sender.resume(worker);
                    has_pending |= sender.has_pending();
                }
            }
        }
        if has_pending {
            self.retry.soon();
        }
    }

    /// Shows a device from now on.
    pub fn add(&self, report: &Arc<Report>) {
        lock(&self.all).insert(report.interface.clone(), Arc::clone(report));
    }

    /// Shows it no more.
    pub fn remove(&self, report: &Arc<Report>) {
        let mut all = lock(&self.all);
        if all.get(&report.interface).is_some_and(|there| Arc::ptr_eq(there, report)) {
            all.remove(&report.interface);
        }
    }
}

/// What can be seen of a device.
pub struct Report {
    interface: String,
    device: String,
    /// What its queues met.
    pub counts: Arc<Counts>,
    state: Mutex<Option<State>>,
}

/// What can be seen of a device whose link is there.
pub struct State {
    /// Its queues.
    pub queues: Vec<Queue>,
    /// Their receiving ends.
    pub receivers: Vec<Arc<RxShared>>,
    /// Their sending ends.
    pub senders: Vec<Arc<SharedSender>>,
    /// Where the program sits.
    pub mode: AttachMode,
    /// Whether the program goes with this process.
    pub held_by_process: bool,
    /// What stays with the host.
    pub rules: Vec<Rule>,
    /// Whether checksums are looked for that were left to the device.
    pub fills_checksums: bool,
    /// Whether frames can be of several pieces.
    pub in_pieces: bool,
    /// µs of busy polling.
    pub busy_poll_us: u32,
}

/// An answer of `show af-xdp`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Shown {
    interface: String,
    device: String,
    /// `copy` or `zero-copy`; `none` while the link is not there.
    mode: &'static str,
    /// `native` or `generic`.
    program: &'static str,
    /// `process` or `link`.
    held_by: &'static str,
    leave_to_host: Vec<String>,
    fills_checksums: bool,
    several_buffers_a_frame: bool,
    busy_poll_us: u32,
    queues: Vec<ShownQueue>,
    counts: serde_json::Value,
}

/// A queue in it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct ShownQueue {
    queue: usize,
    rx_frames: u64,
    rx_ring: String,
    fill_ring: String,
    tx_ring: String,
    completion_ring: String,
    tx_buffers: usize,
    rx_dropped: u64,
    rx_ring_full: u64,
    fill_ring_empty: u64,
    rx_invalid: u64,
    tx_invalid: u64,
    tx_ring_empty: u64,
}

impl Report {
    /// A device whose link is not there yet.
    pub fn new(interface: &str, device: &str) -> Self {
        Self {
            interface: interface.to_owned(),
            device: device.to_owned(),
            counts: Arc::default(),
            state: Mutex::default(),
        }
    }

    /// Its link is there.
    pub fn set(&self, state: State) {
        *lock(&self.state) = Some(state);
    }

    /// Its link is gone, or let go of: no queue is held from here.
    pub fn clear(&self) {
        lock(&self.state).take();
    }

    /// What there is to be seen.
    pub fn read(&self) -> Shown {
        let state = lock(&self.state);
        let state = state.as_ref();
        let copies = state.and_then(|state| state.queues.first()).map(|queue| !queue.is_zero_copy());
        Shown {
            interface: self.interface.clone(),
            device: self.device.clone(),
            mode: copies.map_or("none", |copies| if copies { "copy" } else { "zero-copy" }),
            program: state.map_or("none", |state| match state.mode {
                AttachMode::Native => "native",
                AttachMode::Generic => "generic",
            }),
            held_by: state.map_or("none", |state| if state.held_by_process { "process" } else { "link" }),
            leave_to_host: state
                .map(|state| state.rules.iter().map(ToString::to_string).collect())
                .unwrap_or_default(),
            fills_checksums: state.is_some_and(|state| state.fills_checksums),
            several_buffers_a_frame: state.is_some_and(|state| state.in_pieces),
            busy_poll_us: state.map_or(0, |state| state.busy_poll_us),
            queues: state.map(State::queues).unwrap_or_default(),
            counts: serde_json::to_value(&*self.counts).unwrap_or_default(),
        }
    }
}

impl State {
    fn queues(&self) -> Vec<ShownQueue> {
        let fill = |ring: RingFill| format!("{} of {}", ring.entries, ring.size);
        let one = |(number, (queue, sender)): (usize, (&Queue, &Arc<SharedSender>))| {
            let [rx, fill_ring, tx, completion] = queue.fills();
            // A link that goes away just now counts nothing any more.
            let counts = queue.statistics().unwrap_or_default();
            ShownQueue {
                queue: number,
                rx_frames: self.receivers.get(number).map_or(0, |receiver| receiver.frames()),
                rx_ring: fill(rx),
                fill_ring: fill(fill_ring),
                tx_ring: fill(tx),
                completion_ring: fill(completion),
                tx_buffers: sender.under_way(),
                rx_dropped: counts.rx_dropped,
                rx_ring_full: counts.rx_ring_full,
                fill_ring_empty: counts.fill_ring_empty,
                rx_invalid: counts.rx_invalid,
                tx_invalid: counts.tx_invalid,
                tx_ring_empty: counts.tx_ring_empty,
            }
        };
        self.queues.iter().zip(&self.senders).enumerate().map(one).collect()
    }
}

#[derive(Debug, Deserialize)]
struct Wanted {
    interface: Option<String>,
}

fn show(control: &mut Control<'_>, wanted: Wanted) -> Result<Vec<Shown>, Failure> {
    let devices = control.resource::<Devices>()?;
    let all = lock(&devices.all);
    let is_wanted = |name: &str| wanted.interface.as_deref().is_none_or(|wanted| wanted == name);
    let shown: Vec<_> =
        all.iter().filter(|(name, _)| is_wanted(name)).map(|(_, report)| report.read()).collect();
    if let (Some(name), true) = (wanted.interface, shown.is_empty()) {
        bail!("there is no AF_XDP interface `{name}`");
    }
    Ok(shown)
}

/// Nothing that is written halfway is ever behind these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
