//! `raddle run`: start, the main loop, and a clean end.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use super::apply::apply;
use super::crash_log::CrashLog;
use super::owners::owners;
use super::plugins::{bring_in, policy};
use crate::cli;
use crate::control::config::sections::{Hugepages, LogConfig, PluginsConfig};
use crate::control::config::{Config, Document, Owners};
use crate::control::executor::EngineExecutor;
use crate::control::server::{Limits, Server};
use crate::host::{Engine, EngineConfig, Remote};
use crate::memory::HugePages;
use crate::metrics::MetricsService;
use crate::net::router_advertisement::RouterAdvertisements;
use crate::plugin::Trust;
use crate::runtime::WorkerConfig;

/// Ended by a second signal, before the first one was done with.
const EXIT_AT_ONCE: i32 = 1;
/// A required plugin is missing or cannot be used.
const EXIT_REQUIRED: u8 = 3;

/// How long the main thread has to say its farewell before it is ended all the same.
const FAREWELL_PATIENCE: Duration = Duration::from_secs(1);
/// How long the farewell's packets have to leave.
const FAREWELL_TIME: Duration = Duration::from_millis(50);

/// The dataplane behind the command line.
pub struct Daemon;

impl cli::Engine for Daemon {
    fn owners(&self, plugins: &PluginsConfig) -> Owners {
        owners(plugins)
    }

    fn run(&self, document: Document, config: Config) -> ExitCode {
        start_log(&config.log);
        match run(&document, &config) {
            Ok(()) => ExitCode::SUCCESS,
            Err(End { code, reason }) => {
                tracing::error!("{reason}");
                ExitCode::from(code)
            }
        }
    }

    fn check_plugin(&self, file: &Path, trusted_keys: &[String]) -> Result<(Value, String), String> {
        let trust = Trust::of(trusted_keys).map_err(|error| error.to_string())?;
        let description = crate::plugin::check(file, &trust).map_err(|refusal| refusal.to_string())?;
        let data = serde_json::to_value(&description).map_err(|error| error.to_string())?;
        Ok((data, description.to_string()))
    }
}

/// Why the daemon did not run, or ended.
struct End {
    code: u8,
    reason: String,
}

impl<E: std::fmt::Display> From<E> for End {
    fn from(error: E) -> Self {
        Self { code: 1, reason: error.to_string() }
    }
}

fn run(document: &Document, config: &Config) -> Result<(), End> {
    let engine = Engine::create(engine_config(document, config))?;
    // The socket comes first: a second instance ends here, before it touches what the first one has. Commands wait
    // until the main loop runs.
    let executor = Arc::new(EngineExecutor::new(engine.remote()));
    let mut server =
        Server::start(&config.control.socket_path(), Arc::clone(&executor) as _, Limits::default())?;
    let running = Mutex::new((PathBuf::from(document.name()), config.clone()));
    let metrics = Arc::new(MetricsService::new(engine.remote()));
    let signals = Signal::listen(engine.remote(), running, Arc::clone(&metrics))?;
    engine.start_workers()?;
    super::methods::add(&engine);
    let mut policy = policy(&config.plugins);
    let crashes = open_crash_log(&config.plugins);
    if let Some(crashes) = crashes.borrow().as_ref() {
        policy.held_back = crashes.held_back();
    }
    super::plugins::add_methods(&engine, policy.trust.clone(), Rc::clone(&crashes));
    super::route_method::add_route_method(&engine);
    super::neighbor_method::add_neighbor_methods(&engine);
    let (started, served) = (config.clone(), Arc::clone(&metrics));
    engine.add_method("config.show", move |engine, _| {
        let plugins = super::plugins::running(engine, &started.plugins);
        let started = Config { plugins, metrics: served.config(), ..started.clone() };
        Ok(serde_json::json!({ "toml": super::running::running(engine, &started)?.to_toml()? }))
    });
    engine.add_method("metric.show", |engine, _| Ok(crate::metrics::render(&engine.snapshot()).into()));
    let brought_in = bring_in(&engine, &policy);
    if let Err(reason) = brought_in {
        server.stop();
        return Err(End { code: EXIT_REQUIRED, reason });
    }
    for failure in apply(&engine, config) {
        tracing::error!("{failure}");
    }
    if let Err(error) = metrics.apply(&config.metrics) {
        tracing::error!("{error}");
    }
    tracing::info!(
        workers = engine.worker_count(),
        socket = %config.control.socket_path().display(),
        "raddle {} runs",
        env!("CARGO_PKG_VERSION")
    );
    // Without a service manager there is nobody to notify.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    engine.run();
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    tracing::info!("raddle ends");
    metrics.stop();
    executor.stop();
    server.stop();
    drop(engine);
    // Until here a second signal is heard: what hangs, hangs in the engine's end.
    signals.close();
    if let Some(crashes) = crashes.borrow_mut().as_mut() {
        crashes.note_clean_end();
    }
    Ok(())
}

/// Has fatal signals reported, in the state directory if there is one; returns what is known of earlier crashes.
fn open_crash_log(config: &PluginsConfig) -> Rc<RefCell<Option<CrashLog>>> {
    let directory = config.state_directory();
    let log = directory.as_ref().and_then(|directory| {
        let opened = CrashLog::open(directory, config.hold_after_crashes);
        opened
            .inspect_err(|error| {
                tracing::warn!(
                    "crashes are reported on stderr only, and no plugin is held back: {}: {error}",
                    directory.display()
                );
            })
            .ok()
    });
    let reports = log.as_ref().and_then(|log| log.directory().ok());
    if let Err(error) = crate::crash::install(reports.map(Into::into)) {
        tracing::warn!("crashes are not reported: {error}");
    }
    Rc::new(RefCell::new(log))
}

/// What the engine is made by.
pub fn engine_config(document: &Document, config: &Config) -> EngineConfig {
    let core_of = |worker: usize| config.runtime.cores.get(worker).map(|&core| usize::from(core));
    EngineConfig {
        workers: (0..config.runtime.workers as usize)
            .map(|worker| WorkerConfig { core: core_of(worker) })
            .collect(),
        main_core: config.runtime.main_core.map(usize::from),
        buffers: config.buffers.count as usize,
        hugepages: match config.buffers.hugepages {
            Hugepages::Auto => HugePages::Auto,
            Hugepages::Never => HugePages::Never,
            Hugepages::Require => HugePages::Require,
        },
        log_lines: config.log.rate_limit,
        config_text: document.text().to_owned(),
        state_directory: config.plugins.state_directory(),
    }
}

/// Logs go to stderr; without times where the journal adds its own.
fn start_log(config: &LogConfig) {
    use tracing_subscriber::EnvFilter;
    let filter =
        EnvFilter::try_from_env("RADDLE_LOG").unwrap_or_else(|_| EnvFilter::new(config.level.as_str()));
    let log =
        tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(filter).with_target(false);
    let log = log.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    // A second start in one process (tests) keeps the first log.
    let _ = if std::env::var_os("JOURNAL_STREAM").is_some() {
        log.without_time().try_init()
    } else {
        log.try_init()
    };
}

/// Hosts that have raddle as their default router hear that it goes (RFC 4861 §6.2.5). Not on the main thread, which has to
/// send it.
fn say_farewell(engine: &Remote) {
    let (told, answer) = std::sync::mpsc::channel();
    engine.run(move |engine| {
        let farewell =
            engine.with_core(|control| Ok(control.resource::<RouterAdvertisements>()?.farewell(control)));
        // Who waits gives up in time.
        let _ = told.send(farewell.unwrap_or(false));
    });
    if answer.recv_timeout(FAREWELL_PATIENCE).unwrap_or(false) {
        std::thread::sleep(FAREWELL_TIME);
    }
}

/// The thread that hears signals.
struct Signal {
    handle: Handle,
    thread: std::thread::JoinHandle<()>,
}

impl Signal {
    fn listen(
        engine: Remote,
        running: Mutex<(PathBuf, Config)>,
        metrics: Arc<MetricsService>,
    ) -> std::io::Result<Self> {
        let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
        let handle = signals.handle();
        let running = Arc::new(running);
        let listen = move || {
            let mut is_ending = false;
            for signal in signals.forever() {
                if signal == SIGHUP {
                    let (running, metrics) = (Arc::clone(&running), Arc::clone(&metrics));
                    engine.run(move |engine| super::reload::reload(engine, &running, &metrics));
                } else if std::mem::replace(&mut is_ending, true) {
                    tracing::error!("ended at once, as a second signal asks: nothing was put back in order");
                    std::process::exit(EXIT_AT_ONCE);
                } else {
                    say_farewell(&engine);
                    engine.run(Engine::stop);
                }
            }
        };
        let thread = std::thread::Builder::new().name("signals".into()).spawn(listen)?;
        Ok(Self { handle, thread })
    }

    fn close(self) {
        self.handle.close();
        // The thread ends when its handle is closed.
        let _ = self.thread.join();
    }
}
