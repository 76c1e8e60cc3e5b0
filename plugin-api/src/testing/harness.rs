//! The harness: builder, control side, and the end of it.

use std::ffi::c_void;
use std::sync::atomic::Ordering;

use serde_json::Value;

use super::arc::CORE_ARCS;
use super::graph::Graph;
use super::host::{Host, LogLine, lock};
use super::interface::InterfaceSpec;
use super::memory::BUFFER_STRIDE;
use super::{image, method};
use crate::abi::{BufferHeader, Counted, LogLevel, Status, Text, WorkerContext, sink_into};
use crate::instance::Instance;
use crate::{Control, Failure, InterfaceChange, InterfaceEvent, InterfaceIndex, InterfaceInfo, Node, Worker};

type InterfaceChanger = Box<dyn FnOnce(InterfaceSpec) -> InterfaceSpec>;

/// What a harness is to be like.
pub struct Builder {
    config: String,
    workers: usize,
    buffers: u32,
    arcs: Vec<(String, String)>,
    missing: Vec<String>,
    interfaces: Vec<(String, InterfaceChanger)>,
}

impl Builder {
    pub(super) fn new() -> Self {
        Self {
            config: String::new(),
            workers: 0,
            buffers: 2048,
            arcs: Vec::new(),
            missing: Vec::new(),
            interfaces: Vec::new(),
        }
    }

    /// Sets the text of the configuration file.
    #[must_use]
    pub fn config(mut self, text: impl Into<String>) -> Self {
        self.config = text.into();
        self
    }

    /// Sets the number of workers beside the main thread (by default none: the main thread runs the nodes). They are
    /// simulated: each has its context and its state of each node, and all run on the calling thread.
    #[must_use]
    pub fn workers(mut self, count: usize) -> Self {
        self.workers = count;
        self
    }

    /// Sets the number of buffers (by default 2,048).
    #[must_use]
    pub fn buffers(mut self, count: u32) -> Self {
        self.buffers = count;
        self
    }

    /// Adds a feature arc beside those of this image and of the core.
    #[must_use]
    pub fn arc(mut self, name: &str, end: &str) -> Self {
        self.arcs.push((name.to_owned(), end.to_owned()));
        self
    }

    /// Lets `Control::node` not find this node; others that nobody registered are made as sinks.
    #[must_use]
    pub fn without_node(mut self, name: &str) -> Self {
        self.missing.push(name.to_owned());
        self
    }

    /// Adds an interface: `|i| i.mtu(9000)`.
    #[must_use]
    pub fn interface(
        mut self,
        name: &str,
        change: impl FnOnce(InterfaceSpec) -> InterfaceSpec + 'static,
    ) -> Self {
        self.interfaces.push((name.to_owned(), Box::new(change)));
        self
    }

    /// Makes the harness.
    ///
    /// # Panics
    /// What was asked for, or what the image registers, does not go together.
    #[track_caller]
    pub fn build(self) -> Harness {
        let host = Host::open(self.workers + 1, self.buffers, self.config);
        for name in &self.missing {
            lock(&host.nodes).declare_missing(name);
        }
        let instance = host.new_instance();
        let workers = (0..=self.workers).map(|thread| worker_context(host, thread, self.buffers)).collect();
        let mut harness = Harness {
            host,
            instance,
            workers,
            graph: Graph::new(host),
            loaded: false,
            tracing: false,
            traced: 0,
            commands: 0,
        };
        harness.make_arcs(&self.arcs).expect("the arcs and features of this image go together");
        for (name, change) in self.interfaces {
            harness.add_interface(&name, change);
        }
        harness
    }
}

fn worker_context(host: &'static Host, thread: usize, buffers: u32) -> *mut WorkerContext {
    let scratch = host.memory.buffers().wrapping_add((buffers as usize + thread) * BUFFER_STRIDE);
    // SAFETY: the arena has one buffer per thread behind those of the pool.
    unsafe { scratch.cast::<BufferHeader>().write(BufferHeader::empty()) };
    Box::into_raw(Box::new(WorkerContext {
        size: size_of::<WorkerContext>() as u32,
        thread_index: thread as u32,
        host: &host.table,
        buffers: host.memory.buffers(),
        buffer_stride: BUFFER_STRIDE as u32,
        buffer_count: buffers,
        now_ns: host.now_ns.load(Ordering::Acquire),
        interfaces: host.memory.rows,
        arcs: host.memory.arcs,
        scratch,
        host_state: std::ptr::null_mut(),
    }))
}

/// A host without root and daemon, for the nodes of this image. Each test has its own.
///
/// Dropping it checks that every packet went back to the pool; see [`Harness::assert_no_leaks`].
pub struct Harness {
    pub(super) host: &'static Host,
    pub(super) instance: &'static Instance,
    pub(super) workers: Vec<*mut WorkerContext>,
    pub(super) graph: Graph,
    pub(super) loaded: bool,
    pub(super) tracing: bool,
    pub(super) traced: u32,
    pub(super) commands: u64,
}

impl Harness {
    /// What a harness is to be like: finish with [`Builder::build`].
    pub fn builder() -> Builder {
        Builder::new()
    }

    fn make_arcs(&mut self, more: &[(String, String)]) -> Result<(), Failure> {
        let mut arcs = lock(&self.host.arcs);
        for (name, end) in CORE_ARCS.iter().copied().chain(image::arcs()) {
            arcs.add(name, end)?;
        }
        for (name, end) in more {
            arcs.add(name, end)?;
        }
        for (arc, feature) in image::features() {
            arcs.add_feature(arc, feature)?;
        }
        arcs.settle(|name| lock(&self.host.nodes).index(name))
    }

    /// Runs the init functions of this image in the order that their names give; from then on its event functions
    /// hear of interfaces.
    ///
    /// # Errors
    /// That of the first init function that fails, with its name.
    pub fn try_load(&mut self) -> Result<(), Failure> {
        for init in image::inits()? {
            self.run_init(image::text(&init.name), init.run)?;
        }
        self.loaded = true;
        self.quiesce();
        Ok(())
    }

    /// As [`Harness::try_load`], for tests that expect it to work.
    ///
    /// # Panics
    /// It did not.
    #[track_caller]
    pub fn load(&mut self) {
        if let Err(failure) = self.try_load() {
            panic!("the init functions of this image run: {failure}");
        }
    }

    /// Runs the init functions with these names only, in their order.
    ///
    /// # Errors
    /// That of the first that fails, or that there is none of a name.
    pub fn load_only(&mut self, names: &[&str]) -> Result<(), Failure> {
        let inits = image::inits()?;
        if let Some(missing) = names.iter().find(|&&name| inits.iter().all(|i| image::text(&i.name) != name))
        {
            crate::bail!("there is no init function `{missing}`");
        }
        for init in inits {
            let name = image::text(&init.name);
            if names.contains(&name) {
                self.run_init(name, init.run)?;
            }
        }
        self.loaded = true;
        self.quiesce();
        Ok(())
    }

    /// Runs the exit functions of this image.
    ///
    /// # Errors
    /// That of the first that fails.
    pub fn unload(&mut self) -> Result<(), Failure> {
        self.loaded = false;
        for exit in image::exits() {
            self.run_init(image::text(&exit.name), exit.run)?;
        }
        self.quiesce();
        Ok(())
    }

    fn run_init(
        &mut self,
        name: &str,
        run: unsafe extern "C" fn(*mut c_void, crate::abi::Sink) -> Status,
    ) -> Result<(), Failure> {
        // SAFETY: the instance is this image's; this is the main thread, and no node runs.
        let (status, reason) = sink_into(|sink| unsafe { run(self.instance_ptr(), sink) });
        outcome(status, reason).map_err(|failure| failure.context(name))
    }

    pub(super) fn instance_ptr(&self) -> *mut c_void {
        std::ptr::from_ref(self.instance).cast_mut().cast()
    }

    /// Runs `body` with the control side, as init functions and commands have it.
    pub fn control<R>(&mut self, body: impl FnOnce(&mut Control<'_>) -> R) -> R {
        // SAFETY: this is the harness's main thread, and no node runs: `self` is borrowed mutably.
        let mut control = unsafe { Control::new(self.instance) };
        body(&mut control)
    }

    /// Runs `body` on a thread of the graph: 0 is the main thread, workers count from 1.
    ///
    /// # Panics
    /// There is no such thread.
    #[track_caller]
    pub fn worker<R>(&mut self, thread: usize, body: impl FnOnce(&Worker<'_>) -> R) -> R {
        // SAFETY: the context is alive; `self` is borrowed mutably, so that no quiescent point is passed meanwhile.
        let worker = unsafe { Worker::from_context(self.workers[thread]) };
        body(&worker)
    }

    /// Takes node `N` into the graph: packets for it are its own then. What is not taken in is a sink.
    ///
    /// # Errors
    /// What `Node::new` said.
    pub fn try_node<N: Node>(&mut self) -> Result<(), Failure> {
        let registration = crate::registration::node_registration::<N>();
        self.graph.add(&registration, self.instance_ptr(), &self.workers)
    }

    /// As [`Harness::try_node`], for tests that expect it to work.
    ///
    /// # Panics
    /// It did not.
    #[track_caller]
    pub fn node<N: Node>(&mut self) {
        if let Err(failure) = self.try_node::<N>() {
            panic!("{failure}");
        }
    }

    /// Takes the nodes with these names into the graph, of those that this image registers.
    ///
    /// # Panics
    /// There is none of a name, or it cannot be made.
    #[track_caller]
    pub fn nodes(&mut self, names: &[&str]) {
        let registered = image::nodes();
        for &name in names {
            let found = registered.iter().find(|node| image::text(&node.name) == name);
            let Some(registration) = found else { panic!("this image registers no node `{name}`") };
            if let Err(failure) = self.graph.add(registration, self.instance_ptr(), &self.workers) {
                panic!("{failure}");
            }
        }
    }

    /// Has `answer` answer this method of the control plane. `interface.list`, `interface.find` and `feature.set` are
    /// there without.
    pub fn mock(
        &mut self,
        method: &str,
        answer: impl FnMut(Value) -> Result<Value, Failure> + Send + 'static,
    ) {
        lock(&self.host.methods).mock(method, Box::new(answer));
    }

    /// Arguments with which a method was called, in order.
    pub fn calls(&self, method: &str) -> Vec<Value> {
        lock(&self.host.methods).calls(method)
    }

    /// Changes the text of the configuration file.
    pub fn set_config(&mut self, text: impl Into<String>) {
        *lock(&self.host.config) = text.into();
    }

    /// Checks the sections of this image in a configuration file, as `raddle config check` does.
    ///
    /// # Errors
    /// The problems, one a line: `LINE:COLUMN: MESSAGE`.
    pub fn check_config(&self, text: &str) -> Result<(), Failure> {
        let mut lines = Vec::new();
        for section in image::configs() {
            // SAFETY: the text lives until the call returns.
            let (status, report) = sink_into(|sink| unsafe { (section.check)(Text::new(text), sink) });
            if status == Status::OK {
                continue;
            }
            match serde_json::from_str::<crate::config::SectionError>(&report) {
                Ok(error) => lines.extend(error.problems().iter().map(ToString::to_string)),
                Err(_) => lines.push(report),
            }
        }
        if lines.is_empty() { Ok(()) } else { Err(Failure::new(lines.join("\n"))) }
    }

    /// What was logged, in order.
    pub fn log(&self) -> Vec<LogLine> {
        lock(&self.host.log).clone()
    }

    /// Whether a line of this importance that contains `part` was logged.
    pub fn logged(&self, level: LogLevel, part: &str) -> bool {
        lock(&self.host.log).iter().any(|line| line.level == level && line.message.contains(part))
    }

    /// Counter `index` of the set with this name, summed over the threads; 0 if there is no such set.
    pub fn counter(&self, name: &str, index: usize) -> u64 {
        let counters = lock(&self.host.counters);
        let Some(set) = counters.get(name).filter(|set| index < set.length) else { return 0 };
        let cells = set.cells.iter().skip(index).step_by(set.stride);
        cells.map(|cell| cell.load(Ordering::Relaxed)).sum()
    }

    /// Packets and bytes that nodes counted of an interface, over all threads.
    pub fn interface_count(&self, interface: InterfaceIndex, what: Counted) -> (u64, u64) {
        lock(&self.host.interface_counts).get(&(interface.0, what.0)).copied().unwrap_or_default()
    }

    /// Causes for which the barrier was held, in order.
    pub fn barriers(&self) -> Vec<String> {
        lock(&self.host.barriers).causes.clone()
    }

    /// Adds an interface while things run; event functions hear that it was made, and that it is up if it is.
    ///
    /// # Panics
    /// The name is taken, or a feature or event function fails.
    #[track_caller]
    pub fn add_interface(
        &mut self,
        name: &str,
        change: impl FnOnce(InterfaceSpec) -> InterfaceSpec,
    ) -> InterfaceIndex {
        let index = lock(&self.host.interfaces).next_index();
        let spec = change(InterfaceSpec::new(name, index));
        let (up, features) = (spec.is_up(), spec.features.clone());
        self.put_interface(index, spec.clone().down());
        self.interface_event(InterfaceChange::Created, index);
        self.put_interface(index, spec);
        for feature in &features {
            self.set_feature(index, feature, true);
        }
        if up {
            self.interface_event(InterfaceChange::Up, index);
        }
        index
    }

    /// Changes an interface; event functions hear what became of it.
    ///
    /// # Panics
    /// There is none with this name, or an event function fails.
    #[track_caller]
    pub fn change_interface(&mut self, name: &str, change: impl FnOnce(InterfaceSpec) -> InterfaceSpec) {
        let index = self.interface(name);
        // The name was found.
        let before = lock(&self.host.interfaces).spec(index).cloned().expect("the interface is there");
        let spec = change(before.clone());
        let (was_up, up) = (before.is_up(), spec.is_up());
        let (old, new) = (before.info(index), spec.info(index));
        self.put_interface(index, spec);
        if (old.mac, old.mtu) != (new.mac, new.mtu) {
            self.interface_event(InterfaceChange::Changed, index);
        }
        match (was_up, up) {
            (false, true) => self.interface_event(InterfaceChange::Up, index),
            (true, false) => self.interface_event(InterfaceChange::Down, index),
            _ => {}
        }
    }

    /// Deletes an interface; event functions hear of it before it is gone.
    ///
    /// # Panics
    /// There is none with this name, or an event function fails.
    #[track_caller]
    pub fn delete_interface(&mut self, name: &str) {
        let index = self.interface(name);
        self.interface_event(InterfaceChange::Deleted, index);
        lock(&self.host.arcs).clear(index);
        lock(&self.host.interfaces).remove(index);
    }

    #[track_caller]
    fn put_interface(&mut self, index: InterfaceIndex, spec: InterfaceSpec) {
        let tx_node = lock(&self.host.nodes).index(&spec.tx_node_name());
        let outcome = lock(&self.host.interfaces).put(index, spec, tx_node);
        if let Err(failure) = outcome {
            panic!("{failure}");
        }
    }

    #[track_caller]
    fn interface_event(&mut self, change: InterfaceChange, index: InterfaceIndex) {
        if !self.loaded {
            return;
        }
        let event = InterfaceEvent { change, interface: self.interface_info(index) };
        if let Err(failure) = self.event("interface", &event) {
            panic!("the functions that hear of interfaces run: {failure}");
        }
        self.quiesce();
    }

    /// Tells the event functions of this image.
    ///
    /// # Errors
    /// That of the first that fails.
    pub fn event(&mut self, subject: &str, event: &impl serde::Serialize) -> Result<(), Failure> {
        let json = serde_json::to_string(event)?;
        for function in image::events().iter().filter(|f| image::text(&f.subject) == subject) {
            // SAFETY: the instance is this image's; this is the main thread; text and sink live until the call returns.
            let (status, reason) =
                sink_into(|sink| unsafe { (function.run)(self.instance_ptr(), Text::new(&json), sink) });
            outcome(status, reason)?;
        }
        Ok(())
    }

    /// Index of the interface with this name.
    ///
    /// # Panics
    /// There is none.
    #[track_caller]
    pub fn interface(&self, name: &str) -> InterfaceIndex {
        let found = lock(&self.host.interfaces).find(name).map(|(index, _)| index);
        found.unwrap_or_else(|| panic!("the harness has no interface `{name}`"))
    }

    /// What the control side knows of an interface.
    ///
    /// # Panics
    /// There is none with this index.
    #[track_caller]
    pub fn interface_info(&self, index: InterfaceIndex) -> InterfaceInfo {
        let info = lock(&self.host.interfaces).spec(index).map(|spec| spec.info(index));
        info.unwrap_or_else(|| panic!("the harness has no interface {index}"))
    }

    /// Switches a feature on an interface, as the operator does.
    ///
    /// # Panics
    /// There is no such feature or interface.
    #[track_caller]
    pub fn set_feature(&mut self, interface: InterfaceIndex, feature: &str, enabled: bool) {
        if let Err(failure) = method::set_feature(self.host, interface, feature, enabled) {
            panic!("{failure}");
        }
    }

    /// Features that are on for an interface on an arc, in the order in which they run.
    ///
    /// # Panics
    /// There is no such arc.
    #[track_caller]
    pub fn features(&self, arc: &str, interface: InterfaceIndex) -> Vec<String> {
        let arcs = lock(&self.host.arcs);
        match arcs.index(arc) {
            Some(index) => arcs.enabled(index, interface),
            None => {
                drop(arcs);
                panic!("there is no feature arc `{arc}`")
            }
        }
    }

    /// Numbers the features of an arc anew, as a plugin that comes or goes does: packets that somebody keeps on their
    /// way along it cannot be followed any more.
    ///
    /// # Panics
    /// There is no such arc.
    #[track_caller]
    pub fn renumber_arc(&mut self, arc: &str) {
        let index = self.arc_index(arc);
        lock(&self.host.arcs).renumber(index);
    }

    #[track_caller]
    pub(super) fn arc_index(&self, arc: &str) -> u8 {
        let index = lock(&self.host.arcs).index(arc);
        index.unwrap_or_else(|| panic!("there is no feature arc `{arc}`"))
    }

    /// Lets nodes allocate `count` more buffers and then none, as if the pool ran dry; `None` lifts that.
    pub fn limit_buffers(&mut self, count: Option<u32>) {
        self.host.pool.limit(count);
    }

    /// Allocations that were refused.
    pub fn refused_buffers(&self) -> u64 {
        self.host.pool.refused()
    }

    /// Buffers that are with nodes, tasks or the test.
    pub fn held_buffers(&self) -> usize {
        self.host.pool.outstanding().len()
    }

    /// Asserts that every buffer is in the pool, and that none was given back twice or sent by who did not own it.
    ///
    /// # Panics
    /// Not so.
    #[track_caller]
    pub fn assert_no_leaks(&mut self) {
        self.quiesce();
        let out = self.host.pool.outstanding();
        assert!(out.is_empty(), "{} buffers are not back in the pool: {out:?}", out.len());
    }

    #[track_caller]
    pub(super) fn assert_no_violations(&self) {
        let violations = self.host.pool.take_violations();
        assert!(violations.is_empty(), "the rules of the SDK were broken: {}", violations.join("; "));
    }
}

/// A status and what the sink got, as a result.
pub(super) fn outcome(status: Status, reason: String) -> Result<(), Failure> {
    match status {
        Status::OK => Ok(()),
        Status::PANICKED => Err(Failure::new(reason).context("panicked")),
        _ => Err(Failure::new(reason)),
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        self.graph.clear();
        self.settle();
        self.drop_tasks();
        self.instance.forget_resources();
        super::method::forget_services(self.host);
        self.settle();
        self.host.closed.store(true, Ordering::Release);
        let out = self.host.pool.outstanding();
        for &worker in &self.workers {
            // SAFETY: made by `Box::into_raw`; nodes and their contexts are gone.
            drop(unsafe { Box::from_raw(worker) });
        }
        if out.is_empty() {
            // SAFETY: no packet is out, no node is left, and a closed host hands out nothing any more.
            unsafe { self.host.memory.free() };
        }
        if !std::thread::panicking() {
            assert!(out.is_empty(), "{} buffers leaked: {out:?}", out.len());
            self.assert_no_violations();
        }
    }
}
