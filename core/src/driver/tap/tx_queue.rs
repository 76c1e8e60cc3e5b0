//! Sending: one write a packet, from its buffers.

use std::io::IoSlice;
use std::sync::Arc;

use raddle_plugin_api::Packet;
use raddle_plugin_api::driver::{Transmit, TxQueue};
use rustix::io::Errno;

use super::sys::TapQueue;
use crate::driver::counts::QueueCounts;
use crate::driver::vnet::{VNET_BYTES, encode};

/// A thread's transmit queue of a tap.
pub struct TapTx {
    queue: Arc<TapQueue>,
    counts: Arc<QueueCounts>,
}

impl TapTx {
    pub(super) fn new(queue: Arc<TapQueue>, counts: Arc<QueueCounts>) -> Self {
        Self { queue, counts }
    }
}

impl TxQueue for TapTx {
    fn transmit(&mut self, tx: &mut Transmit<'_>) -> usize {
        let mut sent = 0;
        for position in 0..tx.len() {
            let packet = tx.packet(position);
            let Some(vnet) = encode(&packet, self.queue.layer().header_bytes()) else {
                self.counts.tx_malformed.add(1);
                continue;
            };
            match write(&self.queue, &packet, &vnet) {
                Ok(_) => sent += 1,
                // This packet alone: its headers contradict it.
                Err(Errno::INVAL) => self.counts.tx_malformed.add(1),
                // The host's side is down or gone, or has no memory: the rest would fare no better.
                Err(_) => {
                    self.counts.tx_refused.add((tx.len() - position) as u64);
                    break;
                }
            }
        }
        sent
    }
}

#[inline]
fn write(queue: &TapQueue, packet: &Packet<'_>, vnet: &[u8; VNET_BYTES]) -> Result<usize, Errno> {
    if !packet.is_chained() {
        return retry(|| rustix::io::writev(queue, &[IoSlice::new(vnet), IoSlice::new(packet.bytes())]));
    }
    let mut pieces = Vec::with_capacity(40);
    pieces.push(IoSlice::new(vnet));
    pieces.extend(packet.segments().map(IoSlice::new));
    retry(|| rustix::io::writev(queue, &pieces))
}

fn retry(mut call: impl FnMut() -> Result<usize, Errno>) -> Result<usize, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            outcome => return outcome,
        }
    }
}
