//! What nodes, commands and tunnels share.

use std::sync::{Mutex, MutexGuard, PoisonError};

use raddle_plugin_api::sync::Published;
use raddle_plugin_api::{Control, Failure};
use serde_json::{Value, json};

use crate::NAME;
use crate::config::IpsecConfig;
use crate::store::Store;
use crate::tables::Tables;

/// The gateway.
pub struct Ipsec {
    /// What workers see.
    pub tables: Published<Tables>,
    store: Mutex<Store>,
    /// What the file said when it was last read.
    config: Mutex<IpsecConfig>,
}

impl Ipsec {
    /// Without SAs.
    pub fn new(control: &Control<'_>, config: IpsecConfig, store: Store) -> Self {
        let tables = Published::new(control, Tables::default());
        Self { tables, store: Mutex::new(store), config: Mutex::new(config) }
    }

    /// The main thread's side. Not kept over a call to the host.
    pub fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the file said.
    pub fn config(&self) -> MutexGuard<'_, IpsecConfig> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes SAs, and has workers and `show config` see it, also if the change failed half way.
    ///
    /// # Errors
    /// Those of `change`.
    pub fn change<R>(
        &self,
        control: &Control<'_>,
        change: impl FnOnce(&mut Store) -> Result<R, Failure>,
    ) -> Result<R, Failure> {
        let outcome = change(&mut self.store());
        self.publish(control);
        let mut running = self.config().clone();
        running.sa = self.store().configs();
        control.report_section(NAME, &running)?;
        outcome
    }

    /// Has workers see the SAs as they are now, and the host the tunnels.
    pub fn publish(&self, control: &Control<'_>) {
        let (tables, tunnels) = {
            let mut store = self.store();
            let names = store.sas().filter_map(|(_, sa)| sa.config.interface.clone());
            let indices: Vec<_> = names.filter_map(|name| store.interface(&name)).collect();
            (store.tables(), indices)
        };
        self.tables.publish(control, tables);
        for interface in tunnels {
            // The host asks again within a second anyway.
            let _ = control.call::<_, Value>("interface.refresh", &json!({ "interface": interface }));
        }
    }
}
