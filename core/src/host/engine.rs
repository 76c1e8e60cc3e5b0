//! The engine's parts and their making.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use raddle_plugin_api::Failure;
use raddle_plugin_api::abi::{CommandRegistration, HostTable, Text};
use serde_json::Value;

use super::baselines::Baselines;
use super::images::Image;
use super::kept_memory::KeptMemory;
use super::memory::{CounterSets, Fields};
use super::pcap::PcapService;
use super::registered_metrics::RegisteredMetrics;
use super::watchdog::Watchdog;
use crate::crash::PluginLabel;
use crate::feature::{FeatureArcs, FeatureError, FeatureHolds};
use crate::graph::{Graph, GraphError, Owner};
use crate::interface::{DriverEntry, Registry};
use crate::memory::{BufferPool, HugePages, MemoryError};
use crate::process::{Executor, WakeQueue};
use crate::runtime::{MainQueue, NodeSlot, RetireList, Shared, Thread, ThreadParts, Threads, WorkerConfig};

/// What the engine is made by.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// The workers, and where each is pinned.
    pub workers: Vec<WorkerConfig>,
    /// The core of the main thread.
    pub main_core: Option<usize>,
    /// Packet buffers.
    pub buffers: usize,
    /// Pages for them.
    pub hugepages: HugePages,
    /// Log lines of plugins that are let through in a second; 0: all.
    pub log_lines: u32,
    /// The configuration file, whole: plugins read their sections from it.
    pub config_text: String,
    /// Where plugins keep what outlives the daemon; `None`: nowhere.
    pub state_directory: Option<PathBuf>,
}

impl Default for EngineConfig {
    fn default() -> Self {
        let hugepages = HugePages::Auto;
        Self {
            workers: Vec::new(),
            main_core: None,
            buffers: 16384,
            hugepages,
            log_lines: 10,
            config_text: String::new(),
            state_directory: None,
        }
    }
}

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No memory for packets.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// No threads or descriptors.
    #[error("cannot start the threads of the graph: {0}")]
    Threads(#[from] std::io::Error),
    /// The core's own graph is not right.
    #[error("the core's own graph: {0}")]
    Graph(#[from] GraphError),
    /// The core's own features are not right.
    #[error("the core's own features: {0}")]
    Feature(#[from] FeatureError),
    /// An init function of the core failed.
    #[error("{0}")]
    Init(Failure),
}

/// What a command answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The data.
    pub data: Value,
    /// The text, if the command has one of its own.
    pub text: Option<String>,
    /// The command that gives what follows, if this is a part only.
    pub rest: Option<String>,
}

/// Takes a command's answer.
pub type Reply = Box<dyn FnOnce(Result<Answer, Failure>)>;

/// A command that can be run.
#[derive(Clone)]
pub struct CommandEntry {
    /// How it is used.
    pub usage: String,
    /// What it does.
    pub summary: String,
    /// Who registered it.
    pub owner: Owner,
    pub(super) registration: CommandRegistration,
    pub(super) instance: *mut std::ffi::c_void,
}

/// A method of the control plane.
pub type Method = Rc<dyn Fn(&Engine, Value) -> Result<Value, Failure>>;

/// What any thread may use of the engine.
pub(super) struct AnyThread {
    pub(super) pool: Arc<BufferPool>,
    pub(super) main: Arc<MainQueue>,
    pub(super) wakes: Arc<WakeQueue>,
    pub(super) stop: AtomicBool,
    pub(super) log_limit: super::table::LogLimit,
}

impl AnyThread {
    /// Whether one more log line about faults is let through.
    pub(super) fn log_faults(&self) -> bool {
        self.log_limit.lets_through(crate::runtime::Clock.now_ns())
    }
}

/// The engine. Everything but `any` belongs to the main thread.
///
/// Plugins call back into it at any depth, so no `RefCell` stays borrowed while plugin code runs.
pub struct Engine {
    pub(super) any: AnyThread,
    pub(super) table: HostTable,
    pub(super) config: EngineConfig,
    pub(super) config_text: RefCell<String>,
    pub(super) graph: RefCell<Graph>,
    pub(super) threads: RefCell<Threads>,
    pub(super) features: RefCell<FeatureArcs>,
    pub(super) holds: RefCell<FeatureHolds>,
    pub(super) interfaces: RefCell<Registry>,
    pub(super) executor: RefCell<Executor>,
    pub(super) retired: RefCell<RetireList>,
    pub(super) counters: RefCell<CounterSets>,
    pub(super) fields: RefCell<Fields>,
    pub(super) images: RefCell<Vec<Image>>,
    pub(super) absent: RefCell<Vec<super::images::AbsentPlugin>>,
    pub(super) kept: RefCell<KeptMemory>,
    pub(super) grants: RefCell<super::grants::Grants>,
    /// The plugin that is about to take another version's place, and what it has asked for meanwhile.
    pub(super) comes_in: Cell<Option<Owner>>,
    pub(super) deferred_calls: RefCell<Vec<super::grants::Deferred>>,
    pub(super) drivers: RefCell<Vec<DriverEntry>>,
    pub(super) commands: RefCell<Vec<CommandEntry>>,
    /// Counts changes of `commands`.
    pub(super) commands_version: Cell<u64>,
    /// Who answers each command that runs, which command it is, and who waits.
    pub(super) replies: RefCell<HashMap<u64, (Owner, String, Reply)>>,
    pub(super) last_reply: Cell<u64>,
    pub(super) methods: RefCell<HashMap<&'static str, Method>>,
    /// Features that init functions switched on before their nodes were in the graph.
    pub(super) deferred_features: RefCell<Option<Vec<super::features::Deferred>>>,
    /// Init functions that ran, in order, with their plugins.
    pub(super) inits_run: RefCell<Vec<(String, String, Owner)>>,
    pub(super) next_rx_thread: Cell<usize>,
    pub(super) next_owner: Cell<u32>,
    /// Names of the plugins by their numbers as owners, from the moment that they come in.
    pub(super) owner_names: RefCell<HashMap<Owner, String>>,
    /// What a crash in their code is reported under.
    pub(super) owner_labels: RefCell<HashMap<Owner, &'static PluginLabel>>,
    /// In whose code the main thread is.
    pub(super) current_owner: Cell<Owner>,
    /// In whose code it is, from the outermost call to the innermost.
    pub(super) entered: RefCell<Vec<Owner>>,
    /// The plugin that makes room for another version of itself.
    pub(super) replaced: Cell<Option<Owner>>,
    /// Nodes that are made and not yet spliced: index, thread, slot.
    pub(super) made: RefCell<Vec<(u16, u32, NodeSlot)>>,
    pub(super) baselines: RefCell<Baselines>,
    pub(super) registered_metrics: RefCell<RegisteredMetrics>,
    /// What owners of sections of the configuration have said that they are now.
    pub(super) running_sections: RefCell<std::collections::BTreeMap<String, Option<toml::Value>>>,
    pub(super) pcap: RefCell<PcapService>,
    pub(super) watchdog: RefCell<Option<Watchdog>>,
    pub(super) services: RefCell<super::methods::Services>,
}

impl Engine {
    /// Makes an engine with the core's own image. Its workers do not run yet.
    ///
    /// # Errors
    /// The system has not what it needs, or the core's own registrations do not fit.
    pub fn create(config: EngineConfig) -> Result<Box<Self>, EngineError> {
        let thread_count = config.workers.len() + 1;
        let pool = BufferPool::create(config.buffers, thread_count, config.hugepages)?;
        tracing::info!(
            buffers = pool.count(),
            bytes = pool.arena().length(),
            "packet buffers on {}",
            pool.arena().pages()
        );
        let registry = Registry::default();
        let features = FeatureArcs::default();
        // The way from the threads to the engine, which is made after them.
        let faults = Arc::new(super::life::Faults::default());
        let mut shared = Vec::new();
        for thread in 0..thread_count {
            let faults = Arc::clone(&faults);
            shared.push(Arc::new(Shared::new(thread, Box::new(move |node, how| faults.report(node, how)))?));
        }
        let main = Arc::new(MainQueue::new(shared[0].poller.clone()));
        let executor = Executor::new(Arc::clone(&main));
        let any = AnyThread {
            pool: Arc::clone(&pool),
            main,
            wakes: Arc::clone(executor.wakes()),
            stop: AtomicBool::new(false),
            log_limit: super::table::LogLimit::new(config.log_lines),
        };
        let mut engine = Box::new(Self {
            any,
            table: super::table::table(),
            config_text: RefCell::new(config.config_text.clone()),
            config,
            graph: RefCell::new(Graph::new()),
            threads: RefCell::new(Threads::new(Vec::new())),
            features: RefCell::new(features),
            holds: RefCell::default(),
            interfaces: RefCell::new(registry),
            executor: RefCell::new(executor),
            retired: RefCell::default(),
            counters: RefCell::new(CounterSets::new(thread_count)),
            fields: RefCell::default(),
            images: RefCell::default(),
            absent: RefCell::default(),
            kept: RefCell::default(),
            grants: RefCell::default(),
            comes_in: Cell::new(None),
            deferred_calls: RefCell::default(),
            drivers: RefCell::default(),
            commands: RefCell::default(),
            commands_version: Cell::new(0),
            replies: RefCell::default(),
            last_reply: Cell::new(0),
            methods: RefCell::default(),
            deferred_features: RefCell::default(),
            inits_run: RefCell::default(),
            next_rx_thread: Cell::new(0),
            next_owner: Cell::new(0),
            owner_names: RefCell::default(),
            owner_labels: RefCell::default(),
            current_owner: Cell::new(Owner::CORE),
            entered: RefCell::default(),
            replaced: Cell::new(None),
            made: RefCell::default(),
            baselines: RefCell::default(),
            registered_metrics: RefCell::default(),
            running_sections: RefCell::default(),
            pcap: RefCell::default(),
            watchdog: RefCell::default(),
            services: RefCell::default(),
        });
        engine.table.data = (&raw const *engine).cast_mut().cast();
        engine.table.thread_count = thread_count as u32;
        let parts = |(index, shared): (usize, Arc<Shared>)| ThreadParts {
            index: index as u32,
            shared,
            pool: Arc::clone(&pool),
            host: &raw const engine.table,
            interfaces: engine.interfaces.borrow().rows().as_ptr(),
            arcs: engine.features.borrow().tables(),
        };
        let threads = shared.into_iter().enumerate().map(|shared| Thread::new(parts(shared))).collect();
        *engine.threads.borrow_mut() = Threads::new(threads);
        faults.connect(&engine);
        engine.add_core_methods();
        engine.add_core_image()?;
        Ok(engine)
    }

    /// Starts the workers.
    ///
    /// # Errors
    /// The system starts no more threads.
    pub fn start_workers(&self) -> Result<(), EngineError> {
        self.threads.borrow_mut().start(&self.config.workers)?;
        let threads = self.threads.borrow().all_shared().map(Arc::clone).collect();
        *self.watchdog.borrow_mut() = Some(Watchdog::start(threads)?);
        Ok(())
    }

    /// Has the main loop end. Any thread.
    pub fn stop(&self) {
        self.any.stop.store(true, Ordering::Release);
        self.any.main.ring();
    }

    /// A handle by which other threads reach the engine.
    pub fn remote(&self) -> Remote {
        Remote { engine: self, main: Arc::clone(&self.any.main) }
    }

    /// The commands, with a number that changes when they do.
    pub fn commands(&self) -> (u64, Vec<CommandEntry>) {
        (self.commands_version.get(), self.commands.borrow().clone())
    }

    /// Number that changes when the commands do.
    pub fn commands_version(&self) -> u64 {
        self.commands_version.get()
    }

    /// Runs a command with its arguments; `reply` gets the answer, now or later.
    pub fn run_command(&self, command: &CommandEntry, arguments: &Value, reply: Reply) {
        let id = self.last_reply.get() + 1;
        self.last_reply.set(id);
        self.replies.borrow_mut().insert(id, (command.owner, command.usage.clone(), reply));
        let arguments = arguments.to_string();
        self.enter(command.owner, "command", || {
            // SAFETY: the command's image is alive, and this is the main thread between passes; the text lives until
            // the call returns.
            unsafe { (command.registration.run)(command.instance, Text::new(&arguments), id) }
        });
    }

    /// Adds a method of the control plane.
    pub fn add_method(
        &self,
        name: &'static str,
        method: impl Fn(&Self, Value) -> Result<Value, Failure> + 'static,
    ) {
        self.methods.borrow_mut().insert(name, Rc::new(method));
    }

    /// Calls a method of the control plane.
    ///
    /// # Errors
    /// The method's own, or that there is none.
    pub fn call(&self, name: &str, arguments: Value) -> Result<Value, Failure> {
        let method = self.methods.borrow().get(name).cloned();
        match method {
            Some(method) => method(self, arguments),
            None => Err(raddle_plugin_api::failure!("the host has no method `{name}`")),
        }
    }

    /// The configuration file, whole, as it was last read.
    pub fn config_text(&self) -> String {
        self.config_text.borrow().clone()
    }

    /// The configuration file was read again: plugins that hear of the event `config` take up their sections.
    pub fn set_config_text(&self, text: &str) {
        text.clone_into(&mut self.config_text.borrow_mut());
        self.emit("config", &());
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.shut_down();
    }
}

/// Reaches the engine from other threads: closures that run on the main one.
#[derive(Clone)]
pub struct Remote {
    engine: *const Engine,
    main: Arc<MainQueue>,
}

// SAFETY: the pointer is used on the main thread only, by closures that the engine itself runs.
unsafe impl Send for Remote {}
// SAFETY: as above.
unsafe impl Sync for Remote {}

impl Remote {
    /// Has `call` run on the main thread. Calls that come after the main loop has ended are dropped unrun.
    pub fn run(&self, call: impl FnOnce(&Engine) + Send + 'static) {
        let remote = self.clone();
        self.main.push(Box::new(move || {
            let remote = remote;
            // SAFETY: run by the engine's own main loop, so the engine is alive.
            call(unsafe { &*remote.engine });
        }));
    }
}
