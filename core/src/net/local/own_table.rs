//! The own addresses as a resource: replaced by the main thread, read by workers.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use raddle_plugin_api::sync::Published;
use raddle_plugin_api::wire::InterfaceAddress;
use raddle_plugin_api::{Control, InterfaceIndex, Worker};

use super::own::{OnLink, OwnAddresses};
use super::proxy::Proxy;

/// The own addresses at any moment. A resource of the core.
pub struct OwnTable {
    addresses: Published<OwnAddresses>,
    parts: Mutex<Parts>,
}

/// What the table is made of, each part by another module.
#[derive(Default)]
struct Parts {
    in_use: Vec<(InterfaceIndex, InterfaceAddress)>,
    /// FIB indices of interfaces that are bound to another table than the default one.
    bindings: HashMap<InterfaceIndex, u32>,
    /// What routes say to be on links.
    on_link: OnLink,
    tentative: Vec<(InterfaceIndex, IpAddr)>,
    proxies: BTreeMap<InterfaceIndex, Proxy>,
}

impl OwnTable {
    /// A table without addresses.
    pub fn new(control: &Control<'_>) -> Self {
        Self { addresses: Published::new(control, OwnAddresses::default()), parts: Mutex::default() }
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

    /// These are the addresses from now on, and these the FIB indices of interfaces that are bound to another table than the
    /// default one, and what routes say to be on links.
    pub fn replace(
        &self,
        control: &Control<'_>,
        addresses: impl IntoIterator<Item = (InterfaceIndex, InterfaceAddress)>,
        bindings: HashMap<InterfaceIndex, u32>,
        on_link: OnLink,
    ) {
        self.change(control, |parts| {
            parts.in_use = addresses.into_iter().collect();
            parts.bindings = bindings;
            parts.on_link = on_link;
        });
    }

    /// These are being tried for duplicates from now on.
    pub fn set_tentative(&self, control: &Control<'_>, addresses: Vec<(InterfaceIndex, IpAddr)>) {
        self.change(control, |parts| parts.tentative = addresses);
    }

    /// This is what is answered for on an interface from now on.
    pub fn set_proxy(&self, control: &Control<'_>, interface: InterfaceIndex, proxy: Proxy) {
        self.change(control, |parts| {
            if proxy.is_empty() {
                parts.proxies.remove(&interface);
            } else {
                parts.proxies.insert(interface, proxy);
            }
        });
    }

    fn change(&self, control: &Control<'_>, change: impl FnOnce(&mut Parts)) {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut parts);
        let own = OwnAddresses::in_tables(
            parts.in_use.iter().copied(),
            parts.bindings.clone(),
            parts.on_link.clone(),
        )
        .with_tentative(parts.tentative.iter().copied())
        .with_proxies(parts.proxies.iter().map(|(interface, proxy)| (*interface, proxy.clone())));
        self.addresses.publish(control, own);
    }
}
