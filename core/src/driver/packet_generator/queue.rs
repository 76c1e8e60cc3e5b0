//! A receive queue: its share of each stream, in turn.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use raddle_plugin_api::driver::{Receive, RxQueue};

use super::generator::Generator;
use super::pace::Pace;
use super::program::Cursor;
use super::replay::Replay;
use super::stream::{Source, Stream};

/// Waits shorter than this are polled through: a sleep and a wake-up take about as long.
const POLL_NS: u64 = 50_000;

/// Where packets go.
pub trait Sink {
    /// Packets that there is still room for.
    fn room(&self) -> usize;
    /// Puts in a packet with these bytes, after `finish` has changed them; `false` if it could not be.
    fn push(&mut self, bytes: &[u8], finish: impl FnOnce(&mut [u8])) -> bool;
}

impl Sink for Receive<'_> {
    #[inline(always)]
    fn room(&self) -> usize {
        Receive::room(self)
    }

    #[inline(always)]
    fn push(&mut self, bytes: &[u8], finish: impl FnOnce(&mut [u8])) -> bool {
        // Headers lie in the first buffer: templates have fewer bytes of them than a buffer has.
        Receive::push(self, bytes, |packet| finish(packet.bytes_mut()))
    }
}

/// A receive queue of a packet generator.
#[derive(Debug)]
pub struct GeneratorRx {
    generator: Arc<Generator>,
    queue: u32,
    seen: u64,
    slots: Vec<Slot>,
    /// The slot that is first next time.
    turn: usize,
    polling: bool,
    /// Whether the alarm is set for the next packet's time.
    armed: bool,
}

/// A queue's share of a stream.
#[derive(Debug)]
struct Slot {
    stream: Arc<Stream>,
    share: usize,
    run: u64,
    running: bool,
    left: Option<u64>,
    maker: Maker,
    pace: Option<Pace>,
}

#[derive(Debug)]
enum Maker {
    Template(Box<Cursor>),
    Replay { packets: Arc<Replay>, at: usize, stride: usize },
}

impl GeneratorRx {
    /// Queue number `queue` of the generator.
    pub fn new(generator: Arc<Generator>, queue: u32) -> Self {
        Self { generator, queue, seen: 0, slots: Vec::new(), turn: 0, polling: true, armed: false }
    }

    /// Makes the packets that are due.
    pub fn fill(&mut self, now_ns: u64, sink: &mut impl Sink) {
        let generation = self.generator.generation();
        if generation != self.seen {
            self.look(generation, now_ns);
        }
        let count = self.slots.len();
        if count == 0 {
            return;
        }
        // Streams with a rate come first: what they leave is for those without, which also share what is left when one of
        // them ends.
        for paced in [true, false, false] {
            let room = sink.room();
            let mut waiting =
                self.slots.iter().filter(|slot| slot.is_active() && slot.pace.is_some() == paced).count();
            for step in 0..count {
                let slot = &mut self.slots[(self.turn + step) % count];
                if waiting > 0 && slot.is_active() && slot.pace.is_some() == paced {
                    let most = sink.room().div_ceil(waiting);
                    waiting -= 1;
                    slot.send(now_ns, most, sink);
                }
            }
            // Nothing can be put in any more, or there are no buffers.
            if !paced && sink.room() == room {
                break;
            }
        }
        self.turn = (self.turn + 1) % count;
    }

    /// Takes over what the commands have changed.
    fn look(&mut self, generation: u64, now_ns: u64) {
        let Some(streams) = self.generator.try_streams() else { return };
        let mut old = std::mem::take(&mut self.slots);
        for stream in streams.iter() {
            let Some(share) = stream.plan().queues.iter().position(|&queue| queue == self.queue) else {
                continue;
            };
            let known = old.iter().position(|slot| Arc::ptr_eq(&slot.stream, stream));
            let mut slot =
                known.map_or_else(|| Slot::new(stream.clone(), share, now_ns), |at| old.swap_remove(at));
            slot.obey(now_ns);
            self.slots.push(slot);
        }
        self.turn = 0;
        self.seen = generation;
    }

    /// Decides how the next packet is waited for.
    pub(super) fn settle(&mut self) {
        let active = self.slots.iter().filter(|slot| slot.is_active());
        let wait = active.map(|slot| slot.pace.as_ref().map_or(0, Pace::wait_ns)).min();
        self.polling = match wait {
            None => false,
            Some(wait) if wait < POLL_NS => true,
            Some(wait) => {
                if let Some(alarm) = self.generator.alarm(self.queue).filter(|_| !self.armed) {
                    alarm.set(wait);
                    self.armed = true;
                }
                // Whoever rang before the alarm was set for later is heard here: the number is changed first.
                false
            }
        };
        if self.polling {
            self.armed = false;
        }
    }

    /// Whether it must be called again without waiting.
    pub fn is_busy(&self) -> bool {
        self.polling || self.generator.generation() != self.seen
    }

    pub(super) fn hear_alarm(&mut self) {
        if !self.polling && self.generator.alarm(self.queue).is_some_and(super::generator::Alarm::clear) {
            self.armed = false;
        }
    }
}

impl RxQueue for GeneratorRx {
    fn receive(&mut self, rx: &mut Receive<'_>) {
        let now_ns = rx.worker().now_ns();
        self.hear_alarm();
        self.fill(now_ns, rx);
        self.settle();
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.generator.alarm(self.queue).map(super::generator::Alarm::fd)
    }

    fn wants_polling(&self) -> bool {
        self.is_busy()
    }
}

impl Slot {
    fn new(stream: Arc<Stream>, share: usize, now_ns: u64) -> Self {
        let mut slot = Self {
            maker: Maker::new(&stream, share),
            stream,
            share,
            run: 0,
            running: false,
            left: Some(0),
            pace: None,
        };
        slot.reset(now_ns);
        slot
    }

    #[inline]
    fn is_active(&self) -> bool {
        self.running && self.left != Some(0)
    }

    /// Starts, stops, begins anew, as the stream says.
    fn obey(&mut self, now_ns: u64) {
        let (run, running) = self.stream.order();
        if run != self.run {
            self.run = run;
            self.maker = Maker::new(&self.stream, self.share);
            self.left = self.stream.share_of_count(self.share);
            self.stream.begin(self.share, run);
            self.reset(now_ns);
            if self.left == Some(0) {
                self.stream.end(self.share, run);
            }
        } else if running && !self.running {
            self.reset(now_ns);
        }
        self.running = running && run > 0;
    }

    fn reset(&mut self, now_ns: u64) {
        let plan = self.stream.plan();
        let shares = plan.queues.len() as u32;
        self.pace = plan.rate.map(|rate| Pace::new(rate.share(shares), now_ns));
    }

    /// Sends what is due, at most `most` packets.
    fn send(&mut self, now_ns: u64, most: usize, sink: &mut impl Sink) {
        let most = self.left.map_or(most, |left| most.min(usize::try_from(left).unwrap_or(usize::MAX)));
        if let Some(pace) = &mut self.pace {
            pace.refill(now_ns);
        }
        let (sent, bytes) = self.maker.make(most, self.pace.as_mut(), sink);
        if sent == 0 {
            return;
        }
        self.stream.note(self.share, sent, bytes, now_ns);
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(sent);
            if *left == 0 {
                self.stream.end(self.share, self.run);
            }
        }
    }
}

impl Maker {
    fn new(stream: &Stream, share: usize) -> Self {
        let plan = stream.plan();
        let shares = plan.queues.len();
        match &plan.source {
            Source::Template(program) => {
                Self::Template(Box::new(Cursor::new(program.clone(), plan.seed, share as u32, shares as u32)))
            }
            Source::Replay(packets) => {
                let at = share % packets.len().max(1);
                Self::Replay { packets: packets.clone(), at, stride: shares }
            }
        }
    }

    /// Makes up to `most` packets, as the pace allows; returns how many, and their bytes.
    #[inline]
    fn make(&mut self, most: usize, mut pace: Option<&mut Pace>, sink: &mut impl Sink) -> (u64, u64) {
        let (mut sent, mut total) = (0, 0);
        match self {
            Self::Template(cursor) => {
                let program = cursor.program().clone();
                while sent < most && pace.as_ref().is_none_or(|pace| pace.allows()) {
                    let variant = cursor.variant();
                    let bytes = program.bytes(variant);
                    if !sink.push(bytes, |bytes| cursor.write(variant, bytes)) {
                        break;
                    }
                    sent += 1;
                    total += bytes.len() as u64;
                    if let Some(pace) = &mut pace {
                        pace.pay(bytes.len());
                    }
                }
            }
            Self::Replay { packets, at, stride } => {
                while sent < most && !packets.is_empty() && pace.as_ref().is_none_or(|pace| pace.allows()) {
                    let bytes = packets.packet(*at);
                    if !sink.push(bytes, |_| {}) {
                        break;
                    }
                    *at = (*at + *stride) % packets.len();
                    sent += 1;
                    total += bytes.len() as u64;
                    if let Some(pace) = &mut pace {
                        pace.pay(bytes.len());
                    }
                }
            }
        }
        (sent as u64, total)
    }
}
