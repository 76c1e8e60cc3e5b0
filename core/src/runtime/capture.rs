//! Packets that threads copy for a capture file. A thread never waits: what does not fit into the queue is counted and
//! left out. Somebody else writes.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::SystemTime;

use crossbeam_queue::ArrayQueue;

use crate::filter::{Filter, Link};

/// Packets that wait to be written.
const MOST_PACKETS: usize = 4096;
/// Bytes of packets that wait to be written.
const MOST_BYTES: usize = 32 << 20;

/// Where packets are captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// As they come in.
    Rx,
    /// As they are handed to the device.
    Tx,
    /// As they come to `drop`.
    Drop,
}

/// Which packets are captured.
#[derive(Clone, Debug, Default)]
pub struct CaptureOptions {
    /// As they come in.
    pub rx: bool,
    /// As they leave.
    pub tx: bool,
    /// As they are dropped.
    pub drop: bool,
    /// Of this interface: where they come in or leave; of dropped ones, where they came in.
    pub interface: Option<u32>,
    /// Those that pass.
    pub filter: Option<Filter>,
    /// Bytes of each, at most.
    pub snap_bytes: usize,
    /// Packets in all; more are not taken. `None`: any number.
    pub max: Option<u64>,
}

/// A packet as it was captured.
#[derive(Clone, Debug)]
pub struct CapturedPacket {
    /// Since 1970, in ns.
    pub time_ns: u64,
    /// Where.
    pub direction: Direction,
    /// Its interface.
    pub interface: u32,
    /// What it begins with.
    pub link: Link,
    /// Its bytes in all.
    pub length: u32,
    /// The first of them.
    pub bytes: Vec<u8>,
    /// Why it is dropped: index of the error.
    pub error: Option<u16>,
    /// The nodes that it has come through, if it is traced.
    pub path: Vec<u16>,
}

/// A capture, shared by the threads and the one that writes.
pub struct Capture {
    options: CaptureOptions,
    queue: ArrayQueue<CapturedPacket>,
    queued_bytes: AtomicUsize,
    taken: AtomicU64,
    lost: AtomicU64,
    closed: AtomicBool,
}

impl Capture {
    /// A capture of packets as the options say.
    pub fn new(options: CaptureOptions) -> Self {
        Self {
            options,
            queue: ArrayQueue::new(MOST_PACKETS),
            queued_bytes: AtomicUsize::new(0),
            taken: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        }
    }

    /// Which packets.
    pub fn options(&self) -> &CaptureOptions {
        &self.options
    }

    /// Whether packets of this direction are captured.
    pub fn wants(&self, direction: Direction) -> bool {
        let wanted = match direction {
            Direction::Rx => self.options.rx,
            Direction::Tx => self.options.tx,
            Direction::Drop => self.options.drop,
        };
        wanted && !self.closed.load(Ordering::Relaxed)
    }

    /// Whether a packet is one to capture: by its interface and its first bytes.
    pub fn matches(&self, interface: u32, link: Link, first: &[u8], length: u32) -> bool {
        self.options.interface.is_none_or(|only| only == interface)
            && self.options.filter.as_ref().is_none_or(|filter| filter.matches(link, first, length))
    }

    /// Takes a packet that matches. Never waits: one that finds no room is counted as lost.
    pub fn push(&self, packet: CapturedPacket) {
        if self.options.max.is_some_and(|max| self.taken.load(Ordering::Relaxed) >= max) {
            return;
        }
        let bytes = packet.bytes.len();
        let has_room = self.queued_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes <= MOST_BYTES;
        if has_room && self.queue.push(packet).is_ok() {
            let taken = self.taken.fetch_add(1, Ordering::Relaxed) + 1;
            if self.options.max.is_some_and(|max| taken >= max) {
                self.close();
            }
        } else {
            self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The next packet to write.
    pub fn pop(&self) -> Option<CapturedPacket> {
        let packet = self.queue.pop()?;
        self.queued_bytes.fetch_sub(packet.bytes.len(), Ordering::Relaxed);
        Some(packet)
    }

    /// Packets that found no room.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// No more packets are taken from now on.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Whether no more packets are taken.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

/// The time now, since 1970, in ns.
pub(super) fn wall_clock_ns() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(bytes: usize) -> CapturedPacket {
        CapturedPacket {
            time_ns: 0,
            direction: Direction::Rx,
            interface: 1,
            link: Link::Ethernet,
            length: bytes as u32,
            bytes: vec![0; bytes],
            error: None,
            path: Vec::new(),
        }
    }

    #[test]
    fn what_finds_no_room_is_counted_and_room_comes_back() {
        let capture = Capture::new(CaptureOptions { rx: true, ..CaptureOptions::default() });
        (0..MOST_PACKETS + 3).for_each(|_| capture.push(packet(1)));
        assert_eq!(capture.lost(), 3);
        assert!(capture.pop().is_some());
        capture.push(packet(MOST_BYTES));
        assert_eq!(capture.lost(), 4, "too many bytes");
        while capture.pop().is_some() {}
        capture.push(packet(MOST_BYTES));
        assert_eq!((capture.lost(), capture.queue.len()), (4, 1));
    }

    #[test]
    fn takes_as_many_as_asked_for_and_of_the_interface_asked_for() {
        let options =
            CaptureOptions { tx: true, interface: Some(1), max: Some(2), ..CaptureOptions::default() };
        let capture = Capture::new(options);
        assert!(capture.wants(Direction::Tx) && !capture.wants(Direction::Rx));
        assert!(capture.matches(1, Link::Ethernet, &[], 0) && !capture.matches(2, Link::Ethernet, &[], 0));
        (0..3).for_each(|_| capture.push(packet(1)));
        assert!(capture.is_closed() && !capture.wants(Direction::Tx));
        assert_eq!((capture.queue.len(), capture.lost()), (2, 0));
    }
}
