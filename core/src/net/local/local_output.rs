//! `local-output`: brings packets that the main thread makes or kept into the graph.
//!
//! The main thread's functions have no worker to allocate with: they leave word here, and the node, which runs on the main
//! thread in each pass of its loop, makes the packets.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::task::Remote;

next! {
    /// Where packets go.
    pub enum LocalNext {
        /// With a link-layer header and a tx interface.
        Interface => "interface-output",
        Ip4Lookup => "ip4-lookup",
        Ip6Lookup => "ip6-lookup",
        Ip4IcmpError => "ip4-icmp-error",
        Ip6IcmpError => "ip6-icmp-error",
        NeighborDrop => "neighbor-drop",
        ReassemblyDrop => "reassembly-drop",
    }
}

/// Packets that one pass of the loop sends at most.
const PER_PASS: usize = 256;

type Prepare = Box<dyn FnOnce(&Worker<'_>, &mut Packet<'_>) -> bool + Send>;

struct Outgoing {
    held: Option<HeldPacket>,
    prepare: Prepare,
    next: LocalNext,
}

/// What the main thread wants sent. A resource of the core.
pub struct LocalOutput {
    remote: Remote,
    queue: Mutex<VecDeque<Outgoing>>,
    waiting: AtomicUsize,
}

impl LocalOutput {
    /// Nothing to send yet.
    pub fn new(control: &Control<'_>) -> Self {
        Self { remote: control.remote(), queue: Mutex::default(), waiting: AtomicUsize::new(0) }
    }

    /// Makes a new packet by `fill`, marked as made here, and sends it to `next`; `fill` returns `false` to give it up.
    pub fn make(
        &self,
        next: LocalNext,
        fill: impl FnOnce(&Worker<'_>, &mut Packet<'_>) -> bool + Send + 'static,
    ) {
        let prepare: Prepare = Box::new(move |worker, packet| {
            packet.set_local(true);
            fill(worker, packet)
        });
        self.push(Outgoing { held: None, prepare, next });
    }

    /// Sends a packet on that was kept, changed by `change`.
    pub fn send(
        &self,
        held: HeldPacket,
        next: LocalNext,
        change: impl FnOnce(&mut Packet<'_>) + Send + 'static,
    ) {
        let prepare: Prepare = Box::new(move |_, packet| {
            change(packet);
            true
        });
        self.push(Outgoing { held: Some(held), prepare, next });
    }

    fn push(&self, outgoing: Outgoing) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.push_back(outgoing);
        let first = self.waiting.fetch_add(1, Ordering::Release) == 0;
        drop(queue);
        if first {
            self.wake();
        }
    }

    /// Has the main loop make another pass, however deep it sleeps.
    fn wake(&self) {
        self.remote.run(|_| {});
    }

    fn pop(&self) -> Option<Outgoing> {
        let outgoing = self.queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front()?;
        self.waiting.fetch_sub(1, Ordering::AcqRel);
        Some(outgoing)
    }
}

/// The node.
pub struct LocalOutputNode {
    output: Arc<LocalOutput>,
    is_main: bool,
}

impl InputNode for LocalOutputNode {
    const NAME: &'static str = "local-output";
    type Next = LocalNext;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self { output: init.resource()?, is_main: init.thread_index() == 0 })
    }

    fn poll(&mut self, output: &mut Output<'_, LocalNext>) {
        if !self.is_main || self.output.waiting.load(Ordering::Acquire) == 0 {
            return;
        }
        for _ in 0..PER_PASS {
            let Some(Outgoing { held, prepare, next }) = self.output.pop() else { return };
            // Without a buffer the packet is not made: what it was for is repeated, or given up, by its own timer.
            let Some(mut held) = held.or_else(|| output.worker().allocate()) else { continue };
            if prepare(output.worker(), &mut output.worker().open(&mut held)) {
                output.send(held, next);
            }
        }
        if self.output.waiting.load(Ordering::Acquire) > 0 {
            self.output.wake();
        }
    }
}

input_node!(LocalOutputNode);
