//! Running nodes, arcs, queues, commands and tasks in a harness.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::Value;

use super::harness::{Harness, outcome};
use super::host::{Reply, lock};
use super::run::{Panicked, Run, Trace};
use super::{Sample, image};
use crate::abi::{Frame, LogLevel, NO_BUFFER, Status, Text};
use crate::driver::{Receive, RxQueue, Transmit, TxQueue};
use crate::{Failure, InputNode, InterfaceIndex, Node};

/// Passes after which tasks that wake themselves all the time are left for the next call.
const MOST_PASSES: usize = 1000;
/// How far virtual time goes on while a command has not answered.
const COMMAND_PATIENCE: Duration = Duration::from_secs(3600);

impl Harness {
    /// Hands packets to node `N` on the first worker (on the main thread, if there are no workers), in frames of up to
    /// 256, and follows them until they leave the nodes under test. `N` need not be taken in before.
    ///
    /// Afterwards the main thread does what it has to: see [`Harness::quiesce`].
    ///
    /// # Panics
    /// A node panicked, or broke a rule of the SDK (see [`Harness::assert_no_leaks`]).
    #[track_caller]
    pub fn run<N: Node>(&mut self, packets: impl IntoIterator<Item = impl Into<Sample>>) -> Run {
        match self.try_run::<N>(packets) {
            Ok(run) => run,
            Err(panicked) => panic!("{panicked}"),
        }
    }

    /// As [`Harness::run`], for nodes that may panic.
    ///
    /// # Errors
    /// A node panicked, or did not consume its frame.
    #[track_caller]
    pub fn try_run<N: Node>(
        &mut self,
        packets: impl IntoIterator<Item = impl Into<Sample>>,
    ) -> Result<Run, Panicked> {
        let thread = usize::from(self.workers.len() > 1);
        self.try_run_on::<N>(thread, packets)
    }

    /// As [`Harness::run`], on a thread: 0 is the main thread, workers count from 1.
    ///
    /// # Panics
    /// As [`Harness::run`], or there is no such thread.
    #[track_caller]
    pub fn run_on<N: Node>(
        &mut self,
        thread: usize,
        packets: impl IntoIterator<Item = impl Into<Sample>>,
    ) -> Run {
        match self.try_run_on::<N>(thread, packets) {
            Ok(run) => run,
            Err(panicked) => panic!("{panicked}"),
        }
    }

    #[track_caller]
    fn try_run_on<N: Node>(
        &mut self,
        thread: usize,
        packets: impl IntoIterator<Item = impl Into<Sample>>,
    ) -> Result<Run, Panicked> {
        self.node::<N>();
        let packets = packets.into_iter().map(Into::into).collect();
        self.run_node(thread, N::NAME, packets)
    }

    /// As [`Harness::run`], for a node by its name, of those that were taken in.
    ///
    /// # Panics
    /// As [`Harness::run`], or the node was not taken in.
    #[track_caller]
    pub fn run_named(&mut self, node: &str, packets: impl IntoIterator<Item = impl Into<Sample>>) -> Run {
        let thread = usize::from(self.workers.len() > 1);
        self.run_named_on(thread, node, packets)
    }

    /// As [`Harness::run_named`], on a thread: 0 is the main thread, workers count from 1.
    ///
    /// # Panics
    /// As [`Harness::run_named`], or there is no such thread.
    #[track_caller]
    pub fn run_named_on(
        &mut self,
        thread: usize,
        node: &str,
        packets: impl IntoIterator<Item = impl Into<Sample>>,
    ) -> Run {
        assert!(self.graph.is_running(node), "the node `{node}` was taken in by `Harness::nodes`");
        let packets = packets.into_iter().map(Into::into).collect();
        match self.run_node(thread, node, packets) {
            Ok(run) => run,
            Err(panicked) => panic!("{panicked}"),
        }
    }

    #[track_caller]
    fn run_node(&mut self, thread: usize, node: &str, packets: Vec<Sample>) -> Result<Run, Panicked> {
        let entry = lock(&self.host.nodes).index(node);
        let indices = self.store(packets);
        self.set_clocks();
        let outcome = self.graph.run(thread, entry, indices, "the test");
        self.after_run();
        outcome
    }

    /// Sends packets along a feature arc as packets of `interface` go it: the nodes of the features that are on there are
    /// taken in, and what passes all of them comes out at the arc's end.
    ///
    /// # Panics
    /// There is no such arc, a feature's node is not of this image, or as [`Harness::run`].
    #[track_caller]
    pub fn run_arc(
        &mut self,
        arc: &str,
        interface: InterfaceIndex,
        packets: impl IntoIterator<Item = impl Into<Sample>>,
    ) -> Run {
        self.run_arc_on(usize::from(self.workers.len() > 1), arc, interface, packets)
    }

    /// As [`Harness::run_arc`], on a thread: 0 is the main thread, workers count from 1.
    ///
    /// # Panics
    /// As [`Harness::run_arc`], or there is no such thread.
    #[track_caller]
    pub fn run_arc_on(
        &mut self,
        thread: usize,
        arc: &str,
        interface: InterfaceIndex,
        packets: impl IntoIterator<Item = impl Into<Sample>>,
    ) -> Run {
        let index = self.arc_index(arc);
        let nodes = {
            let arcs = lock(&self.host.arcs);
            arcs.nodes(index, arcs.mask(index, interface))
        };
        self.nodes(&nodes.iter().map(String::as_str).collect::<Vec<_>>());
        let (mask, entry, epoch) = {
            let arcs = lock(&self.host.arcs);
            let (mask, table) = (arcs.mask(index, interface), arcs.table(index));
            let entry = if mask == 0 { table.end_node } else { table.nodes[mask.trailing_zeros() as usize] };
            (mask, entry, table.epoch)
        };
        let on_arc = packets.into_iter().map(|packet| {
            let mut sample: Sample = packet.into();
            sample.default_rx_interface(Some(interface));
            let header = sample.header_mut();
            (header.arc, header.arc_epoch) = (index, epoch);
            header.features = mask & mask.wrapping_sub(1);
            sample
        });
        let indices = self.store(on_arc.collect());
        self.set_clocks();
        let outcome = self.graph.run(thread, entry, indices, arc);
        self.after_run();
        match outcome {
            Ok(run) => run,
            Err(panicked) => panic!("{panicked}"),
        }
    }

    /// Calls input node `N` once on the first worker, and follows what it brings in.
    ///
    /// # Panics
    /// As [`Harness::run`].
    #[track_caller]
    pub fn poll<N: InputNode>(&mut self) -> Run {
        let registration = crate::registration::input_node_registration::<N>();
        if let Err(failure) = self.graph.add(&registration, self.instance_ptr(), &self.workers) {
            panic!("{failure}");
        }
        self.poll_node(N::NAME)
    }

    /// As [`Harness::poll`], of an input node that this image registers by this name.
    ///
    /// # Panics
    /// There is none, or as [`Harness::run`].
    #[track_caller]
    pub fn poll_node(&mut self, name: &str) -> Run {
        self.nodes(&[name]);
        let index = lock(&self.host.nodes).index(name);
        self.set_clocks();
        let outcome = self.graph.poll(usize::from(self.workers.len() > 1), index);
        self.after_run();
        match outcome {
            Ok(run) => run,
            Err(panicked) => panic!("{panicked}"),
        }
    }

    /// Calls an input node of this image, by its name, once on each thread, and follows what it brings in.
    ///
    /// # Panics
    /// As [`Harness::run`], or there is no such node.
    #[track_caller]
    pub fn poll_named(&mut self, node: &str) -> Vec<Run> {
        self.nodes(&[node]);
        let index = lock(&self.host.nodes).index(node);
        self.set_clocks();
        let outcomes: Vec<_> = (0..self.workers.len()).map(|thread| self.graph.poll(thread, index)).collect();
        self.after_run();
        outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(|panicked| panic!("{panicked}"))).collect()
    }

    /// Has a receive queue receive up to `limit` packets, on the first worker.
    pub fn receive<Q: RxQueue>(&mut self, queue: &mut Q, limit: u32) -> Received {
        let mut frame = Box::new(Frame::empty());
        self.set_clocks();
        let worker = self.workers[usize::from(self.workers.len() > 1)];
        // SAFETY: the context is alive and this thread simulates its thread; the frame is this call's.
        let mut rx = unsafe { Receive::new(worker, &mut frame, limit) };
        queue.receive(&mut rx);
        let (bytes, lost) = rx.totals();
        drop(rx);
        let packets = frame.packets().iter().map(|&index| {
            let sample = Sample::load(&self.host.pool, index);
            self.host.pool.free(index, "the harness");
            sample
        });
        let received = Received { packets: packets.collect(), bytes, lost };
        self.after_run();
        received
    }

    /// Has a transmit queue send packets, on the first worker; returns how many the device took.
    pub fn transmit<Q: TxQueue>(
        &mut self,
        queue: &mut Q,
        packets: impl IntoIterator<Item = impl Into<Sample>>,
    ) -> usize {
        let mut indices = self.store(packets.into_iter().map(Into::into).collect());
        self.set_clocks();
        let worker = self.workers[usize::from(self.workers.len() > 1)];
        // SAFETY: the context is alive and this thread simulates its thread; the packets are this call's.
        let mut tx = unsafe {
            if Q::KEEPS { Transmit::giving(worker, &mut indices) } else { Transmit::new(worker, &indices) }
        };
        let taken = queue.transmit(&mut tx);
        for index in indices.into_iter().filter(|&index| index != NO_BUFFER) {
            self.host.pool.free(index, "the harness");
        }
        self.after_run();
        taken
    }

    #[track_caller]
    fn store(&mut self, packets: Vec<Sample>) -> Vec<u32> {
        let first = lock(&self.host.interfaces).all().next().map(|(index, _)| index);
        let mut indices = Vec::with_capacity(packets.len());
        for mut sample in packets {
            sample.default_rx_interface(first);
            if self.tracing {
                sample.set_trace(Some(self.traced));
                self.traced += 1;
            }
            let Some(index) = sample.store(&self.host.pool) else {
                for index in indices {
                    self.host.pool.free(index, "the harness");
                }
                panic!("the harness has too few buffers for the packets of the test");
            };
            indices.push(index);
        }
        indices
    }

    fn set_clocks(&mut self) {
        let now = self.host.now_ns.load(Ordering::Acquire);
        for &worker in &self.workers {
            // SAFETY: the context is alive, and no node runs.
            unsafe { (*worker).now_ns = now };
        }
    }

    /// When a thread wants to make a pass though nothing comes in (see [`crate::Worker::wake_at`]), in ns of the harness's
    /// clock; it is forgotten with the answer.
    pub fn take_wake(&mut self, thread: usize) -> Option<u64> {
        lock(self.host.wakes.get(thread)?).take()
    }

    /// Has a thread take packets from other threads or refuse them: see [`crate::Env::hand_off`].
    ///
    /// # Panics
    /// There is no such thread.
    #[track_caller]
    pub fn congest(&mut self, thread: usize, refuses: bool) {
        self.host.congested[thread].store(refuses, Ordering::Release);
    }

    #[track_caller]
    fn after_run(&mut self) {
        self.quiesce();
    }

    /// Has all packets traced that are put in from now on, or none.
    pub fn trace(&mut self, on: bool) {
        self.tracing = on;
    }

    /// What was traced, in order.
    pub fn traces(&self) -> Vec<Trace> {
        let raw = lock(&self.host.traces);
        let traces = raw.iter().map(|raw| Trace {
            packet: raw.packet,
            node: self.host.node_name(raw.node),
            target: raw.target.map(|target| self.host.node_name(target)),
            json: serde_json::from_str(&raw.json).unwrap_or(Value::Null),
            text: raw.text.clone(),
        });
        traces.collect()
    }

    /// Texts of the records that a node noted, in order.
    pub fn trace_texts(&self, node: &str) -> Vec<String> {
        let records = self.traces().into_iter().filter(|trace| trace.node == node && trace.target.is_none());
        records.map(|trace| trace.text).collect()
    }

    /// Does what the main thread has to do: runs calls of other threads, polls tasks that are ready, and, as every
    /// thread has passed a quiescent point, what was deferred until then; again until nothing is left.
    ///
    /// # Panics
    /// A task panicked, or a rule of the SDK was broken since the last time.
    #[track_caller]
    pub fn quiesce(&mut self) {
        self.settle();
        self.assert_no_violations();
    }

    pub(super) fn settle(&mut self) {
        for _ in 0..MOST_PASSES {
            let calls_files = self.poll_files();
            if !calls_files && !lock(&self.host.schedule).is_busy() {
                return;
            }
            let calls = lock(&self.host.schedule).take_calls();
            calls.into_iter().for_each(super::schedule::Call::make);
            let ready = lock(&self.host.schedule).take_ready();
            for task in ready {
                self.poll_task(task);
            }
            let retired = lock(&self.host.schedule).take_retired();
            retired.into_iter().for_each(super::schedule::Call::make);
        }
    }

    /// Calls the functions of watched descriptors that are ready; returns whether there were any.
    fn poll_files(&mut self) -> bool {
        let ready = lock(&self.host.files).ready();
        for (number, events) in &ready {
            // One called before may have ended it.
            let Some(file) = lock(&self.host.files).get(*number) else { continue };
            let status = file.call(self.workers[file.thread()], *events);
            if status == Status::PANICKED {
                drop(lock(&self.host.files).remove(*number));
                self.host.note(LogLevel::ERROR, "the function of a watched descriptor panicked");
                self.host.pool.complain("the function of a watched descriptor panicked".to_owned());
            }
        }
        !ready.is_empty()
    }

    fn poll_task(&mut self, task: u64) {
        let Some(table) = lock(&self.host.schedule).table(task) else { return };
        // SAFETY: the task is in the schedule, so it is not finished; it is polled here only, on one thread.
        let status = unsafe { (table.poll)(table.state, task) };
        if status == Status::PENDING {
            return;
        }
        let Some((name, table)) = lock(&self.host.schedule).remove(task) else { return };
        // SAFETY: taken out of the schedule, so that it is dropped once and not polled again.
        unsafe { (table.drop)(table.state) };
        if status == Status::PANICKED {
            self.host.note(LogLevel::ERROR, format!("task {name} panicked"));
            self.host.pool.complain(format!("task {name} panicked"));
        }
    }

    /// Drops all tasks, as when the plugin goes.
    pub(super) fn drop_tasks(&mut self) {
        let files = std::mem::take(&mut *lock(&self.host.files));
        drop(files);
        loop {
            let Some(task) = lock(&self.host.schedule).first() else { return };
            let Some((_, table)) = lock(&self.host.schedule).remove(task) else { return };
            // SAFETY: taken out of the schedule, so that it is dropped once and not polled any more.
            unsafe { (table.drop)(table.state) };
        }
    }

    /// Names of the tasks that are not finished, in the order in which they were started.
    pub fn tasks(&self) -> Vec<String> {
        lock(&self.host.schedule).names()
    }

    /// Virtual time, in ns: it stands still but for [`Harness::advance`].
    pub fn now_ns(&self) -> u64 {
        self.host.now_ns.load(Ordering::Acquire)
    }

    /// Lets virtual time pass; tasks whose time comes are polled at their time, in order.
    ///
    /// # Panics
    /// As [`Harness::quiesce`].
    #[track_caller]
    pub fn advance(&mut self, duration: Duration) {
        let until = self.now_ns().saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
        self.quiesce();
        while let Some(at_ns) = self.next_timer().filter(|&at_ns| at_ns <= until) {
            self.expire(at_ns);
        }
        self.host.now_ns.store(until, Ordering::Release);
    }

    fn next_timer(&self) -> Option<u64> {
        lock(&self.host.schedule).next_timer()
    }

    #[track_caller]
    fn expire(&mut self, at_ns: u64) {
        let now = self.now_ns().max(at_ns);
        self.host.now_ns.store(now, Ordering::Release);
        lock(&self.host.schedule).expire(now);
        self.quiesce();
    }

    /// Runs the command of this image whose usage is `usage`, or begins with it, with arguments as the host parses
    /// them from a line: a JSON object by argument name. Virtual time goes on until it answers, at most an hour.
    ///
    /// # Errors
    /// The command's own.
    ///
    /// # Panics
    /// There is not one such command, or it does not answer.
    #[track_caller]
    pub fn command(&mut self, usage: &str, arguments: Value) -> Result<Answer, Failure> {
        let commands = image::commands();
        let usages = commands.iter().map(|command| image::text(&command.usage));
        let exact = usages.clone().position(|known| known == usage);
        let like = || {
            let fits = |known: &str| known.strip_prefix(usage).is_some_and(|rest| rest.starts_with(' '));
            let mut fitting = usages.clone().enumerate().filter(|(_, known)| fits(known));
            fitting.next().map(|(position, _)| position).filter(|_| fitting.next().is_none())
        };
        let Some(position) = exact.or_else(like) else {
            panic!("this image has not one command `{usage}`, but: {}", usages.collect::<Vec<_>>().join("; "))
        };
        self.commands += 1;
        let number = self.commands;
        let json = arguments.to_string();
        // SAFETY: the instance is this image's; this is the main thread; the text lives until the call returns.
        unsafe { (commands[position].run)(self.instance_ptr(), Text::new(&json), number) };
        self.quiesce();
        let limit = self.now_ns() + COMMAND_PATIENCE.as_nanos() as u64;
        loop {
            if let Some(reply) = lock(&self.host.replies).remove(&number) {
                return reply.into_answer();
            }
            match self.next_timer().filter(|&at_ns| at_ns <= limit) {
                Some(at_ns) => self.expire(at_ns),
                None => panic!("the command `{usage}` answers within {COMMAND_PATIENCE:?}"),
            }
        }
    }
}

/// What a receive queue brought in.
#[derive(Clone, Debug)]
pub struct Received {
    /// The packets, in order.
    pub packets: Vec<Sample>,
    /// Bytes received, as the queue counted them.
    pub bytes: u64,
    /// Packets lost, as the queue counted them.
    pub lost: u64,
}

/// What a command answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The data.
    pub json: Value,
    /// The text for people; `None` if the host is to lay out the data.
    pub text: Option<String>,
    /// The command that gives what follows, if this is a part only.
    pub rest: Option<String>,
}

impl Reply {
    fn into_answer(self) -> Result<Answer, Failure> {
        let text = self.text.clone();
        outcome(self.status, self.text)?;
        let json = serde_json::from_str(&self.json).map_err(Failure::from)?;
        let (text, rest) = match text.rsplit_once(crate::command::CONTINUES) {
            Some((text, rest)) => (text.to_owned(), Some(rest.to_owned())),
            None => (text, None),
        };
        Ok(Answer { json, text: (text != crate::command::LAY_OUT).then_some(text), rest })
    }
}
