//! `tx-offload`: does in software what packets ask of a device that cannot: segments and checksums.
//!
//! `interface-output` sends packets here, behind all features of the way out, whose interface's device lacks what they ask
//! for; what comes out goes to the device's transmit node. Frames stay in order.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::atomic::Ordering;

use raddle_plugin_api::Interface;
use raddle_plugin_api::prelude::*;
use serde::Serialize;

use super::gso_headers::network_offset;
use super::part::whole;
use super::segment::{Checksums, SegmentRefusal, segment};

error! {
    /// Why packets are dropped.
    pub enum TxOffloadError {
        Malformed => "malformed": "a GSO packet whose headers contradict what it is said to be",
        TooMany => "too-many-segments": "a GSO packet of very small segments",
        Unsupported => "unsupported": "a GSO packet that stands for the fragments of a UDP datagram",
        ChecksumBeyond => "checksum-beyond": "the checksum to be filled in lies outside of the packet",
        NoBuffer => "no-buffer": "no buffers left for the segments",
    }
}

impl From<SegmentRefusal> for TxOffloadError {
    fn from(refusal: SegmentRefusal) -> Self {
        match refusal {
            SegmentRefusal::Malformed => Self::Malformed,
            SegmentRefusal::TooMany => Self::TooMany,
            SegmentRefusal::Unsupported => Self::Unsupported,
            SegmentRefusal::NoBuffer => Self::NoBuffer,
        }
    }
}

/// The node.
pub struct TxOffload {
    /// What became of a packet: its segments, or itself.
    ready: Vec<HeldPacket>,
}

/// What was done to a packet.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Record {
    length: usize,
    segments: usize,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { length, segments } = self;
        write!(f, "{length} bytes in {segments} packets")
    }
}

impl Node for TxOffload {
    const NAME: &'static str = "tx-offload";
    type Next = NoNext;
    type Error = TxOffloadError;

    fn new(_: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self { ready: Vec::new() })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        // What is taken goes on at once, what is not when the whole frame is done: to keep the order all are taken.
        vector.each(|env, packet| {
            let mut held = packet.take();
            let worker = env.worker();
            // Past `interface-tx`, from which packets come here: its device is asked once.
            let node = |interface: Interface<'_>| interface.row().tx_node.load(Ordering::Relaxed) as u16;
            let interface = worker.interface(worker.open(&mut held).tx_interface());
            let transmit = Verdict::To(NodeIndex::from_host(interface.map_or(0, node)));
            match self.prepare(worker, &mut held) {
                Ok(Fate::AsItIs) => env.send(held, transmit),
                Ok(Fate::Replaced) => {
                    let (view, segments) = (worker.open(&mut held), self.ready.len());
                    env.trace(&view, || Record { length: view.len(), segments });
                    self.ready.drain(..).for_each(|ready| env.send(ready, transmit));
                    worker.free(held);
                }
                Err(error) => {
                    self.ready.drain(..).for_each(|ready| worker.free(ready));
                    env.send(held, Verdict::Drop(error));
                }
            }
            // The packet was taken.
            Verdict::Continue
        });
    }
}

node!(TxOffload);

/// Whether a packet goes on, or what is in `ready`.
enum Fate {
    AsItIs,
    Replaced,
}

impl TxOffload {
    fn prepare(&mut self, worker: &Worker<'_>, held: &mut HeldPacket) -> Result<Fate, TxOffloadError> {
        let mut packet = worker.open(held);
        let Some(interface) = worker.interface(packet.tx_interface()).filter(|_| packet.has_offload()) else {
            return Ok(Fate::AsItIs);
        };
        let completes_checksums = interface.completes_checksums();
        if packet.is_gso() {
            if interface.takes_gso() && completes_checksums {
                return Ok(Fate::AsItIs);
            }
            let network_at = if interface.has_ethernet() { network_offset(&packet) } else { Some(0) };
            let network_at = network_at.ok_or(TxOffloadError::Malformed)?;
            let checksums = if completes_checksums { Checksums::Partial } else { Checksums::Complete };
            segment(worker, &packet, network_at, checksums, &mut self.ready)?;
            return Ok(Fate::Replaced);
        }
        if completes_checksums {
            return Ok(Fate::AsItIs);
        }
        if packet.is_shared() {
            let mut copy = whole(worker, &packet).ok_or(TxOffloadError::NoBuffer)?;
            let done = worker.open(&mut copy).complete_checksum();
            self.ready.push(copy);
            return if done { Ok(Fate::Replaced) } else { Err(TxOffloadError::ChecksumBeyond) };
        }
        if packet.complete_checksum() { Ok(Fate::AsItIs) } else { Err(TxOffloadError::ChecksumBeyond) }
    }
}
