//! `raddle run`: start, the main loop, and a clean end.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use super::apply::apply;
use super::owners::owners;
use super::plugins::{bring_in, policy};
use crate::cli;
use crate::control::config::sections::{Hugepages, LogConfig, PluginsConfig};
use crate::control::config::{Config, Document, Owners};
use crate::control::executor::EngineExecutor;
use crate::control::server::{Limits, Server};
use crate::host::{Engine, EngineConfig, Remote};
use crate::memory::HugePages;
use crate::runtime::WorkerConfig;

/// A required plugin is missing or cannot be used.
const EXIT_REQUIRED: u8 = 3;

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

    fn check_plugin(&self, file: &Path) -> Result<String, String> {
        crate::plugin::check(file)
            .map(|description| description.to_string())
            .map_err(|refusal| refusal.to_string())
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
    let signals = Signal::listen(engine.remote(), running)?;
    engine.start_workers()?;
    engine.add_method("plugin.load", |engine, arguments| {
        let path: PathBuf = serde_json::from_value(arguments)?;
        Ok(super::plugins::load(engine, &path)?.into())
    });
    let started = config.clone();
    engine.add_method("config.show", move |engine, _| {
        Ok(serde_json::json!({ "toml": super::running::running(engine, &started)?.to_toml()? }))
    });
    let brought_in = bring_in(&engine, &policy(&config.plugins));
    if let Err(reason) = brought_in {
        server.stop();
        return Err(End { code: EXIT_REQUIRED, reason });
    }
    for failure in apply(&engine, config) {
        tracing::error!("{failure}");
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
    signals.close();
    executor.stop();
    server.stop();
    drop(engine);
    Ok(())
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

/// The thread that hears signals.
struct Signal {
    handle: Handle,
    thread: std::thread::JoinHandle<()>,
}

impl Signal {
    fn listen(engine: Remote, running: Mutex<(PathBuf, Config)>) -> std::io::Result<Self> {
        let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
        let handle = signals.handle();
        let running = Arc::new(running);
        let listen = move || {
            for signal in signals.forever() {
                if signal == SIGHUP {
                    let running = Arc::clone(&running);
                    engine.run(move |engine| super::reload::reload(engine, &running));
                } else {
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
