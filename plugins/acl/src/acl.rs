//! What nodes and commands share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use raddle_plugin_api::failure;
use raddle_plugin_api::prelude::*;
use raddle_plugin_api::state::KeptPerThread;
use raddle_plugin_api::sync::Published;
use raddle_plugin_api::table::HashSeed;

use crate::config::AclConfig;
use crate::log::Logger;
use crate::policy::Attachments;
use crate::session::{Counts, SessionSizes};
use crate::store::Store;

/// What nodes and commands share. Behind the lock is what only the main thread touches.
pub struct Acl {
    /// What is applied to interfaces.
    pub attachments: Published<Attachments>,
    /// Sessions of each thread.
    pub sessions: KeptPerThread<SessionSizes>,
    /// How many there are, by interface.
    pub counts: Counts,
    /// What their keys' hashes start from, on all threads.
    pub seed: HashSeed,
    /// Where logged packets go.
    pub logger: Logger,
    store: Mutex<Store>,
    /// The section of the configuration as it was read last.
    section: Mutex<AclConfig>,
}

impl Acl {
    /// What the configuration asks for, not yet applied to anything.
    ///
    /// # Errors
    /// There is no memory for the sessions.
    pub fn new(control: &Control<'_>, config: &AclConfig) -> Result<Self, Failure> {
        let threads = control.thread_count();
        let most = config.max_sessions.get() as u32;
        // The workers have the sessions, shared out by a hash: some leeway for those that get more.
        let per_thread = match threads - 1 {
            0 | 1 => most,
            workers => (most / workers).saturating_mul(5) / 4,
        };
        let seed = HashSeed::kept(control, "seed")?;
        // The number is that of what the tables' entries mean.
        let sessions = control
            .kept_per_thread("sessions", 1, SessionSizes { per_thread, seed })
            .map_err(|full| failure!("no memory for {most} sessions: {full}; lower `acl.max-sessions`"))?;
        Ok(Self {
            attachments: Published::new(control, Attachments::default()),
            sessions,
            counts: Counts::new(threads),
            seed,
            logger: Logger::new(control.remote(), config.log_rate.get() as u32),
            store: Mutex::new(Store::new(config, threads as usize)?),
            section: Mutex::new(config.clone()),
        })
    }

    /// What the main thread has: lists, sets, and where they are applied.
    pub fn store(&self) -> MutexGuard<'_, Store> {
        // A store is replaced as a whole, so it is whole whatever panicked.
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The section of the configuration as it was read last, whatever commands have changed since.
    pub fn section(&self) -> AclConfig {
        self.section.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes the section of the configuration as it was read.
    pub fn set_section(&self, section: AclConfig) {
        *self.section.lock().unwrap_or_else(PoisonError::into_inner) = section;
    }

    /// Changes lists, sets, or where they are applied: all of it or, where something is wrong, nothing.
    ///
    /// # Errors
    /// What is wrong.
    pub fn change<R>(
        &self,
        control: &Control<'_>,
        change: impl FnOnce(&mut Store) -> Result<R, Failure>,
    ) -> Result<R, Failure> {
        let mut draft = self.store().clone();
        let result = change(&mut draft)?;
        let attachments = draft.attach(control, |interface| self.counts.of(interface) > 0)?;
        // From here on nothing is refused.
        self.attachments.publish(control, attachments);
        draft.switch_features(control);
        if let Err(failure) = control.report_section(crate::NAME, &draft.config()) {
            control.log(
                LogLevel::WARN,
                format_args!("`show config` will not have the lists as they are: {failure}"),
            );
        }
        *self.store() = draft;
        Ok(result)
    }
}

/// What an init function of this plugin has provided.
///
/// # Errors
/// None did.
pub fn acl(control: &Control<'_>) -> Result<Arc<Acl>, Failure> {
    control.resource()
}
