//! The nodes under test, with their state on each thread, and the way of frames among them.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::c_void;
use std::sync::atomic::Ordering;

use super::Sample;
use super::host::{Host, Parcel, lock};
use super::pool::Owner;
use super::run::{Dropped, Panicked, Run, Sent};
use crate::Failure;
use crate::abi::{
    BufferFlags, FRAME_SIZE, Frame, FrameFlags, NO_INTERFACE, NodeContext, NodeRegistration, WorkerContext,
    sink_into,
};

/// Name of the node that drops.
pub(super) const DROP: &str = "drop";

pub(super) struct Graph {
    host: &'static Host,
    nodes: BTreeMap<u16, RunningNode>,
    /// Node and name of each error, by index in the global list.
    errors: Vec<(String, String)>,
    drop_node: u16,
}

/// Packets that wait for a node under test.
struct Batch {
    thread: usize,
    node: u16,
    packets: Vec<u32>,
}

/// A node with its state on each thread.
struct RunningNode {
    name: String,
    registration: NodeRegistration,
    contexts: Vec<NodeContext>,
    /// What the contexts' `arcs` point to.
    _slots: Box<[u16]>,
}

impl Graph {
    pub(super) fn new(host: &'static Host) -> Self {
        let drop_node = lock(&host.nodes).index(DROP);
        // The first error is the one of packets that are dropped without one.
        let errors = vec![(String::new(), "none".to_owned())];
        Self { host, nodes: BTreeMap::new(), errors, drop_node }
    }

    /// Names of the nodes under test.
    pub(super) fn names(&self) -> Vec<String> {
        self.nodes.values().map(|node| node.name.clone()).collect()
    }

    pub(super) fn is_running(&self, name: &str) -> bool {
        self.nodes.values().any(|node| node.name == name)
    }

    /// Makes the node's state on each thread, so that packets for it are its own from now on.
    pub(super) fn add(
        &mut self,
        registration: &NodeRegistration,
        instance: *mut c_void,
        workers: &[*mut WorkerContext],
    ) -> Result<(), Failure> {
        // SAFETY: names in a registration of this image are literals.
        let (name, nexts, errors) = unsafe {
            (
                registration.name.as_str().unwrap_or("").to_owned(),
                registration.nexts.texts(),
                registration.errors.texts(),
            )
        };
        if self.is_running(&name) {
            return Ok(());
        }
        let (index, slots) = {
            let mut names = lock(&self.host.nodes);
            let slots: Vec<u16> = std::iter::once(DROP).chain(nexts).map(|next| names.index(next)).collect();
            (names.index(&name), slots.into_boxed_slice())
        };
        let error_base = self.errors.len() as u32;
        self.errors.extend(errors.iter().map(|error| (name.clone(), (*error).to_owned())));
        let mut node = RunningNode { name, registration: *registration, contexts: Vec::new(), _slots: slots };
        for (thread, &worker) in workers.iter().enumerate() {
            let (state, reason) = sink_into(|sink| {
                // SAFETY: the instance is the harness's; this is its main thread, and no node runs.
                unsafe { (registration.create)(instance, thread as u32, sink) }
            });
            if state.is_null() {
                node.drop_states();
                return Err(Failure::new(reason).context(format!("node {}", node.name)));
            }
            node.contexts.push(NodeContext {
                size: size_of::<NodeContext>() as u32,
                node: u32::from(index),
                worker,
                state,
                arcs: node._slots.as_ptr(),
                arc_count: node._slots.len() as u32,
                error_base,
                error_count: errors.len() as u32,
                reserved: 0,
            });
        }
        self.nodes.insert(index, node);
        Ok(())
    }

    /// Hands packets to `entry` on `thread`, and follows them until they leave the nodes under test.
    pub(super) fn run(
        &mut self,
        thread: usize,
        entry: u16,
        packets: Vec<u32>,
        from: &str,
    ) -> Result<Run, Panicked> {
        let mut run = Run::default();
        let mut waiting = VecDeque::new();
        for &index in &packets {
            self.host.pool.pass(index, &[Owner::Held], Owner::Sent, "the harness");
        }
        self.deliver(Batch { thread, node: entry, packets }, from, &mut waiting, &mut run);
        self.follow(waiting, run)
    }

    /// Calls an input node once, and follows what it brings in.
    pub(super) fn poll(&mut self, thread: usize, index: u16) -> Result<Run, Panicked> {
        let (mut run, mut waiting) = (Run::default(), VecDeque::new());
        let mut frame = Box::new(Frame::empty());
        let outcome = self.call(thread, index, &mut frame);
        self.collect(thread, index, &mut waiting, &mut run);
        let run = self.follow(waiting, run)?;
        if outcome == u32::MAX {
            return Err(Panicked { node: self.host.node_name(index), packets: 0, run });
        }
        Ok(run)
    }

    fn follow(&mut self, mut waiting: VecDeque<Batch>, mut run: Run) -> Result<Run, Panicked> {
        let mut panicked: Option<(String, usize)> = None;
        while let Some(Batch { thread, node: index, packets }) = waiting.pop_front() {
            for part in packets.chunks(FRAME_SIZE) {
                let mut frame = self.frame(part);
                let outcome = self.call(thread, index, &mut frame);
                self.collect(thread, index, &mut waiting, &mut run);
                if outcome == u32::MAX {
                    let left = frame.packets().to_vec();
                    run.lost += left.len();
                    for packet in left {
                        self.host.pool.free(packet, "a frame after a panic");
                    }
                    panicked.get_or_insert((self.host.node_name(index), part.len()));
                }
                // What is still with the node was taken out of the frame.
                for &packet in part {
                    if self.host.pool.owner(packet) == Some(Owner::Frame) {
                        self.host.pool.pass(packet, &[Owner::Frame], Owner::Held, "the harness");
                    }
                }
            }
        }
        match panicked {
            Some((node, packets)) => Err(Panicked { node, packets, run }),
            None => Ok(run),
        }
    }

    fn frame(&self, packets: &[u32]) -> Box<Frame> {
        let mut frame = Box::new(Frame::empty());
        frame.count = packets.len() as u32;
        frame.indices[..packets.len()].copy_from_slice(packets);
        let (mut interface, mut one, mut traced) = (NO_INTERFACE, true, false);
        for (position, &index) in packets.iter().enumerate() {
            self.host.pool.pass(index, &[Owner::Sent], Owner::Frame, "the harness");
            // SAFETY: the packet is in the host's hands.
            let header = unsafe { &*self.host.pool.header(index) };
            one &= position == 0 || header.rx_interface == interface;
            interface = header.rx_interface;
            traced |= header.flags & BufferFlags::TRACED != 0;
        }
        if one && interface != NO_INTERFACE {
            frame.flags |= FrameFlags::ONE_INTERFACE;
            frame.interface = interface;
        }
        if traced {
            frame.flags |= FrameFlags::TRACED;
        }
        frame
    }

    fn call(&mut self, thread: usize, index: u16, frame: &mut Frame) -> u32 {
        let Some(node) = self.nodes.get_mut(&index) else { return 0 };
        let context: *mut NodeContext = &raw mut node.contexts[thread];
        self.host.running.store(true, Ordering::Release);
        // SAFETY: the context is this node's for this thread, whose packets the frame holds; it runs one call at a time.
        let outcome = unsafe { (node.registration.run)(context, frame) };
        self.host.running.store(false, Ordering::Release);
        outcome
    }

    /// Takes what a node sent on.
    fn collect(&self, thread: usize, node: u16, waiting: &mut VecDeque<Batch>, run: &mut Run) {
        let sent = std::mem::take(&mut *lock(&self.host.outboxes[thread]));
        let from = self.host.node_name(node);
        let mut groups: Vec<Batch> = Vec::new();
        for Parcel { thread, target, buffer } in sent {
            match groups.iter_mut().find(|known| (known.thread, known.node) == (thread, target)) {
                Some(group) => group.packets.push(buffer),
                None => groups.push(Batch { thread, node: target, packets: vec![buffer] }),
            }
        }
        for group in groups {
            self.deliver(group, &from, waiting, run);
        }
    }

    /// Has packets wait for a node under test, or takes them out.
    fn deliver(&self, batch: Batch, from: &str, waiting: &mut VecDeque<Batch>, run: &mut Run) {
        if self.nodes.contains_key(&batch.node) {
            waiting.push_back(batch);
            return;
        }
        let Batch { thread, node: target, packets } = batch;
        for index in packets {
            let packet = Sample::load(&self.host.pool, index);
            self.host.pool.free(index, "the harness");
            if target == self.drop_node {
                let (node, reason) =
                    self.errors.get(usize::from(packet.header().error)).cloned().unwrap_or_default();
                run.dropped.push(Dropped { node, reason, packet });
            } else {
                let node = self.host.node_name(target);
                run.sent.push(Sent { node, from: from.to_owned(), thread, packet });
            }
        }
    }

    /// Drops the states of all nodes.
    pub(super) fn clear(&mut self) {
        for mut node in std::mem::take(&mut self.nodes).into_values() {
            node.drop_states();
        }
    }
}

impl RunningNode {
    fn drop_states(&mut self) {
        for context in self.contexts.drain(..) {
            // SAFETY: the state was made by `create` of the same registration, and no node runs.
            unsafe { (self.registration.drop)(context.state) };
        }
    }
}
