//! The groups that raddle is in, as workers look them up.

use std::collections::HashSet;
use std::net::IpAddr;

use raddle_plugin_api::sync::Published;
use raddle_plugin_api::{Control, InterfaceIndex, Worker};

/// The groups at any moment, by interface. A resource of the core.
pub struct GroupTable {
    groups: Published<HashSet<(InterfaceIndex, IpAddr)>>,
}

impl GroupTable {
    /// No groups.
    pub fn new(control: &Control<'_>) -> Self {
        Self { groups: Published::new(control, HashSet::new()) }
    }

    /// Whether the group was joined on the interface, for a worker.
    pub fn contains(&self, worker: &Worker<'_>, interface: InterfaceIndex, group: impl Into<IpAddr>) -> bool {
        self.groups.read(worker).contains(&(interface, group.into()))
    }

    /// These are the groups from now on.
    pub(super) fn replace(&self, control: &Control<'_>, groups: HashSet<(InterfaceIndex, IpAddr)>) {
        self.groups.publish(control, groups);
    }
}
