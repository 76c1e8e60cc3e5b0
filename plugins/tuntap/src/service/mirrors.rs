//! Mirrors: tables of the kernel, and the routing tables of raddle's that follow them.

use std::sync::{Arc, MutexGuard};

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::IpPrefix;
use serde::{Deserialize, Serialize};

use super::{NamespaceName, State};
use crate::config::{MirrorConfig, TuntapConfig};
use crate::mirror::{MirrorTable, SharedTable};
use crate::netlink::Table;

/// How often routes are tried again that were refused.
const RETRY_NS: u64 = 2_000_000_000;

/// Routes of a mirror that are over here, or may be, for another version of the plugin.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Adoptable {
    config: MirrorConfig,
    namespace: NamespaceName,
    pub(super) prefixes: Vec<IpPrefix>,
}

impl Adoptable {
    pub(super) fn is_of(&self, mirror: &Mirror) -> bool {
        self.config == mirror.config && self.namespace == mirror.namespace
    }

    /// A mirror that nobody wants any more, until the routes are gone.
    pub(super) fn leaving(self) -> Mirror {
        let mut routes = MirrorTable::default();
        routes.adopt(self.prefixes);
        Mirror {
            config: self.config,
            namespace: self.namespace,
            routes: Arc::new(SharedTable::new(routes.emptied())),
        }
    }
}

/// A mirror.
pub struct Mirror {
    /// What it was asked to be.
    pub config: MirrorConfig,
    /// Where the kernel's table is.
    pub(super) namespace: NamespaceName,
    routes: Arc<SharedTable>,
}

impl Mirror {
    /// Its routes, which its monitor changes meanwhile: to be let go of at once.
    pub fn routes(&self) -> MutexGuard<'_, MirrorTable> {
        self.routes.lock()
    }

    /// The same, if its monitor does not have them just now.
    pub fn try_routes(&self) -> Option<MutexGuard<'_, MirrorTable>> {
        self.routes.try_lock()
    }

    pub(super) fn adoptable(&self) -> Adoptable {
        let prefixes = self.routes().adoptable();
        Adoptable { config: self.config.clone(), namespace: self.namespace.clone(), prefixes }
    }

    pub(super) fn shared(&self) -> Arc<SharedTable> {
        Arc::clone(&self.routes)
    }

    pub(super) fn kernel_table(&self) -> Table {
        match &self.config.vrf {
            Some(vrf) => Table::Vrf(vrf.clone()),
            None => Table::Number(self.config.kernel_table),
        }
    }
}

impl State {
    /// All mirrors, those first that are not wanted any more: to raddle's table one that comes with the same preference is the same source,
    /// and what the old one takes away would be the new one's.
    pub(super) fn to_follow(&self) -> Vec<Arc<Mirror>> {
        self.leaving.iter().chain(&self.mirrors).cloned().collect()
    }

    /// Makes the mirrors that are asked for; the routes of others go. One that is asked for again stays as it is.
    pub(super) fn bring_mirrors(&mut self, control: &Control<'_>, config: &TuntapConfig) {
        let mut old = std::mem::take(&mut self.mirrors);
        let now_ns = control.now_ns();
        let is_time = now_ns >= self.retry_at_ns;
        if is_time {
            self.retry_at_ns = now_ns + RETRY_NS;
        }
        for asked in &config.mirror {
            let namespace = config.namespace_of(&asked.namespace).map(str::to_owned);
            let same = old.iter().position(|mirror| mirror.config == *asked && mirror.namespace == namespace);
            let mirror = match same {
                Some(at) => old.remove(at),
                None => Arc::new(Mirror { config: asked.clone(), namespace, routes: Arc::default() }),
            };
            let fault = control.table(&asked.table).err().map(|failure| failure.to_string());
            if fault.is_none()
                && is_time
                && let Some(mut routes) = mirror.try_routes()
            {
                // What was refused may find its place by now.
                routes.retry();
            }
            self.say(control, &format!("mirror into table {}", asked.table), fault);
            self.mirrors.push(mirror);
        }
        for mirror in old {
            // What its monitor still hears goes nowhere.
            let routes = std::mem::take(&mut *mirror.routes()).emptied();
            let (config, namespace) = (mirror.config.clone(), mirror.namespace.clone());
            self.leaving.push(Arc::new(Mirror {
                config,
                namespace,
                routes: Arc::new(SharedTable::new(routes)),
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_is_done_before_what_comes() {
        let mirror = |kernel_table: u32| {
            let config = MirrorConfig { kernel_table, ..MirrorConfig::default() };
            Arc::new(Mirror { config, namespace: None, routes: Arc::default() })
        };
        let state = State { mirrors: vec![mirror(1)], leaving: vec![mirror(2)], ..State::default() };
        let order: Vec<_> = state.to_follow().iter().map(|mirror| mirror.config.kernel_table).collect();
        assert_eq!(order, [2, 1]);
    }
}
