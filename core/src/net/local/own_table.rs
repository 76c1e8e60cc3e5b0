//! The own addresses as a resource: replaced by the main thread, read by workers.

use raddle_plugin_api::sync::Published;
use raddle_plugin_api::wire::InterfaceAddress;
use raddle_plugin_api::{Control, InterfaceIndex, Worker};

use super::own::OwnAddresses;

/// The own addresses at any moment. A resource of the core.
pub struct OwnTable {
    addresses: Published<OwnAddresses>,
}

impl OwnTable {
    /// A table without addresses.
    pub fn new(control: &Control<'_>) -> Self {
        Self { addresses: Published::new(control, OwnAddresses::default()) }
    }

    /// The addresses, for a worker.
    #[inline]
    pub fn read<'w>(&'w self, worker: &'w Worker<'_>) -> &'w OwnAddresses {
        self.addresses.read(worker)
    }

    /// The addresses, for the main thread.
    pub fn get<'c>(&'c self, control: &'c Control<'_>) -> &'c OwnAddresses {
        self.addresses.get(control)
    }

    /// These are the addresses from now on.
    pub fn replace(
        &self,
        control: &Control<'_>,
        addresses: impl IntoIterator<Item = (InterfaceIndex, InterfaceAddress)>,
    ) {
        self.addresses.publish(control, OwnAddresses::new(addresses));
    }
}
