//! Sending: packets go out of the buffers that they stand in, which are kept until the link has sent them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use raddle_af_xdp_sys::Sender;
use raddle_plugin_api::driver::{Transmit, TxQueue};
use raddle_plugin_api::{HeldPacket, Worker};

use crate::counts::Counts;
use crate::retry::Retry;

/// The sending end of a queue. Where there are more threads than queues, several use one: each locks it for a whole vector.
pub struct SharedSender {
    end: Mutex<End>,
    /// Frames wait that the kernel could not send at once.
    has_pending: AtomicBool,
    retry: Arc<Retry>,
}

impl SharedSender {
    /// The sending end of a queue.
    pub fn new(sender: Sender, counts: Arc<Counts>, retry: Arc<Retry>) -> Self {
        let end = Mutex::new(End { sender, seen_broken: 0, counts });
        Self { end, has_pending: AtomicBool::new(false), retry }
    }

    /// Whether frames wait that the kernel could not send at once.
    #[inline]
    pub fn has_pending(&self) -> bool {
        self.has_pending.load(Ordering::Relaxed)
    }

    /// Has the kernel try again, unless somebody sends just now.
    #[cold]
    pub fn resume(&self, worker: &Worker<'_>) {
        if let Ok(mut end) = self.end.try_lock() {
            end.sender.kick(worker);
            self.has_pending.store(end.sender.has_pending(), Ordering::Relaxed);
        }
    }

    /// Buffers that the kernel has to send.
    pub fn under_way(&self) -> usize {
        self.lock().sender.under_way()
    }

    fn transmit(&self, tx: &mut Transmit<'_>) -> usize {
        let mut end = self.lock();
        let sent = end.transmit(tx);
        let has_pending = end.sender.has_pending();
        if !self.has_pending.swap(has_pending, Ordering::Relaxed) && has_pending {
            // The thread that receives by the queue would send them, if it did not sleep. The main thread tries until all are
            // gone.
            self.retry.soon();
        }
        sent
    }

    /// The end, whatever became of the thread that had it before.
    fn lock(&self) -> MutexGuard<'_, End> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct End {
    sender: Sender,
    seen_broken: u64,
    counts: Arc<Counts>,
}

impl End {
    fn transmit(&mut self, tx: &mut Transmit<'_>) -> usize {
        self.sender.reap(tx.worker());
        let mut sent = 0;
        for position in 0..tx.len() {
            if !self.sender.has_room() {
                self.sender.kick(tx.worker());
                self.sender.reap(tx.worker());
                if !self.sender.has_room() {
                    self.counts.tx_ring_full.add((tx.len() - position) as u64);
                    break;
                }
            }
            let Some(packet) = tx.keep(position) else {
                self.counts.tx_unusable.add(1);
                continue;
            };
            match self.sender.send(tx.worker(), packet) {
                Ok(()) => sent += 1,
                Err(packet) => sent += usize::from(self.send_copy(tx.worker(), packet)),
            }
        }
        self.sender.kick(tx.worker());
        self.note_broken();
        sent
    }

    /// Sends a copy in full buffers of its own.
    #[cold]
    fn send_copy(&mut self, worker: &Worker<'_>, mut packet: HeldPacket) -> bool {
        let copy = worker.copy(&worker.open(&mut packet), usize::MAX);
        worker.free(packet);
        let sent = copy.is_some_and(|copy| match self.sender.send(worker, copy) {
            Ok(()) => true,
            Err(copy) => {
                worker.free(copy);
                false
            }
        });
        if sent {
            self.counts.tx_copied.add(1);
        } else {
            self.counts.tx_unusable.add(1);
        }
        sent
    }

    fn note_broken(&mut self) {
        let broken = self.sender.broken();
        if broken != self.seen_broken {
            self.counts.broken_rings.add(broken - self.seen_broken);
            self.seen_broken = broken;
        }
    }
}

/// A thread's transmit queue.
pub struct AfXdpTx {
    shared: Arc<SharedSender>,
}

impl AfXdpTx {
    /// A thread's way to the sending end of a queue.
    pub fn new(shared: Arc<SharedSender>) -> Self {
        Self { shared }
    }
}

impl TxQueue for AfXdpTx {
    const KEEPS: bool = true;

    fn transmit(&mut self, tx: &mut Transmit<'_>) -> usize {
        self.shared.transmit(tx)
    }
}
