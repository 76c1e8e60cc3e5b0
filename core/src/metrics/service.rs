//! The metrics of the running daemon: served as the configuration has it, also after it was read again.

use std::sync::{Mutex, PoisonError};

use super::server::{Answer, MetricsError, MetricsServer, place};
use crate::control::config::sections::MetricsConfig;
use crate::host::Remote;

/// Serves the metrics of the engine behind a remote.
pub struct MetricsService {
    remote: Remote,
    running: Mutex<(MetricsConfig, Option<MetricsServer>)>,
}

impl MetricsService {
    /// Serves nothing yet.
    pub fn new(remote: Remote) -> Self {
        Self { remote, running: Mutex::default() }
    }

    /// Serves as `config` says from now on. The server that ran stays if nothing has changed.
    ///
    /// # Errors
    /// An address or socket cannot be listened on; then nothing is served.
    pub fn apply(&self, config: &MetricsConfig) -> Result<(), MetricsError> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let (old, server) = &mut *running;
        if old == config && (server.is_some() || !config.is_on()) {
            return Ok(());
        }
        // The old one first: the new one may want its address.
        *server = None;
        *old = config.clone();
        if !config.is_on() {
            return Ok(());
        }
        let remote = self.remote.clone();
        let source = move |answer: Answer| remote.run(move |engine| answer(engine.snapshot()));
        let listen = config.listen.map(|listen| listen.0);
        let started = MetricsServer::start(listen, config.socket.as_deref(), source)?;
        if listen.is_some_and(|listen| !listen.ip().is_loopback()) {
            tracing::warn!("whoever reaches this machine can read the metrics: they ask for no password");
        }
        tracing::info!("metrics at {}", place(started.address(), config.socket.as_ref()));
        *server = Some(started);
        Ok(())
    }

    /// What the configuration was last.
    pub fn config(&self) -> MetricsConfig {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// Serves nothing any more.
    pub fn stop(&self) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).1 = None;
    }
}
