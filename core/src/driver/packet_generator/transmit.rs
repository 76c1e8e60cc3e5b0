//! The transmit side: what the router sends to the interface is counted, and captured if asked.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use raddle_plugin_api::driver::{Transmit, TxQueue};

use super::generator::{Generator, Taken};
use super::sizes::MAX_PACKET_BYTES;

/// A transmit queue of a packet generator.
#[derive(Debug)]
pub struct GeneratorTx {
    generator: Arc<Generator>,
    taken: Arc<Taken>,
    scratch: Vec<u8>,
}

impl GeneratorTx {
    /// A thread's queue.
    pub fn new(generator: Arc<Generator>) -> Self {
        let taken = generator.new_taken();
        Self { generator, taken, scratch: Vec::new() }
    }

    fn capture(&mut self, tx: &mut Transmit<'_>) {
        let Some(capture) = self.generator.capture().filter(|capture| capture.is_open()) else { return };
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        for position in 0..tx.len() {
            let packet = tx.packet(position);
            let length = packet.len();
            if packet.is_chained() {
                self.scratch.resize(length.min(MAX_PACKET_BYTES), 0);
                let count = packet.copy_out(0, &mut self.scratch);
                capture.write(since_epoch, &self.scratch[..count], length);
            } else {
                capture.write(since_epoch, packet.bytes(), length);
            }
        }
    }
}

impl TxQueue for GeneratorTx {
    fn transmit(&mut self, tx: &mut Transmit<'_>) -> usize {
        self.taken.add(tx.len() as u64);
        self.capture(tx);
        tx.len()
    }
}
