//! All that the main thread knows of routes.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;

use raddle_plugin_api::wire::{InterfaceAddress, IpPrefix};
use raddle_plugin_api::{Failure, InterfaceIndex};

use super::TableIndex;
use super::neighbors::Neighbor;
use super::statics::Statics;
use super::table::Table;
use crate::net::adjacency::AdjacencyIndex;
use crate::net::fib::{Action, Lpm4, Lpm6};
use crate::net::link::Links;
use crate::net::static_route::Networks;

/// The main thread's state of the routing tables.
pub(super) struct State {
    /// By FIB index. The default table is the first and is always there.
    pub(super) slots: Vec<Option<Table>>,
    /// Numbers and names.
    pub(super) index: TableIndex,
    /// FIB indices of tables that are gone, the longest gone first.
    pub(super) free: VecDeque<u32>,
    /// Tables that are gone but have something that waits for readers, with their FIB indices.
    pub(super) leaving: Vec<(u32, Table)>,
    /// What workers find in a slot without table.
    pub(super) nowhere: (Lpm4, Lpm6),
    pub(super) links: Links,
    /// FIB indices of interfaces that are bound to another table than the default one.
    pub(super) bindings: BTreeMap<InterfaceIndex, u32>,
    pub(super) addresses: BTreeMap<InterfaceIndex, BTreeSet<InterfaceAddress>>,
    /// The networks that each table's interfaces are on, by FIB index.
    pub(super) networks: BTreeMap<u32, Networks>,
    pub(super) statics: Statics,
    pub(super) owners: super::RouteOwners,
    /// Routes by addresses of interfaces, as they are in the table of that FIB index.
    pub(super) connected: BTreeMap<InterfaceIndex, (u32, BTreeMap<IpPrefix, Action>)>,
    pub(super) neighbors: BTreeMap<(InterfaceIndex, IpAddr), Neighbor>,
    /// The same by address.
    pub(super) neighbor_addresses: BTreeSet<(IpAddr, InterfaceIndex)>,
    /// Neighbours that did not answer, beside which routes have other next hops.
    pub(super) failed: BTreeSet<(InterfaceIndex, IpAddr)>,
    /// Each interface's adjacency for link-local neighbours that are not known yet.
    pub(super) link_local_gleans: HashMap<InterfaceIndex, AdjacencyIndex>,
    pub(super) epoch: u64,
    /// A deferred call will reclaim what was retired.
    pub(super) reclaiming: bool,
}

impl State {
    pub(super) fn new(default: Table, nowhere: (Lpm4, Lpm6)) -> Self {
        let mut index = TableIndex::default();
        index.insert(default.id, raddle_plugin_api::route::TableKey::DEFAULT_NAME, 0);
        Self {
            slots: vec![Some(default)],
            index,
            free: VecDeque::new(),
            leaving: Vec::new(),
            nowhere,
            links: Links::default(),
            bindings: BTreeMap::new(),
            addresses: BTreeMap::new(),
            networks: BTreeMap::new(),
            statics: Statics::default(),
            owners: super::RouteOwners::default(),
            connected: BTreeMap::new(),
            neighbors: BTreeMap::new(),
            neighbor_addresses: BTreeSet::new(),
            failed: BTreeSet::new(),
            link_local_gleans: HashMap::new(),
            epoch: 0,
            reclaiming: false,
        }
    }

    /// The FIB index of an interface's table.
    pub(super) fn fib_of(&self, interface: InterfaceIndex) -> u32 {
        self.bindings.get(&interface).copied().unwrap_or(0)
    }

    /// The table of a FIB index.
    pub(super) fn table(&self, fib: u32) -> Option<&Table> {
        self.slots.get(fib as usize)?.as_ref()
    }

    /// The tables with their FIB indices.
    pub(super) fn tables(&self) -> impl Iterator<Item = (u32, &Table)> {
        self.slots.iter().enumerate().filter_map(|(fib, table)| Some((fib as u32, table.as_ref()?)))
    }

    /// Whether the address is an own one of an interface in that table.
    pub(super) fn owns(&self, fib: u32, address: IpAddr) -> bool {
        let bound = self.addresses.iter().filter(|(interface, _)| self.fib_of(**interface) == fib);
        bound.flat_map(|(_, addresses)| addresses).any(|own| own.address() == address)
    }

    /// The networks of the table's interfaces.
    pub(super) fn networks_of(&self, fib: u32) -> &Networks {
        const NONE: &Networks = &Networks::new();
        self.networks.get(&fib).unwrap_or(NONE)
    }

    /// Collects the networks of a table's interfaces anew, without link-local ones, which are on every interface.
    pub(super) fn renew_networks(&mut self, fib: u32) {
        let mut networks = Networks::new();
        for (&interface, addresses) in &self.addresses {
            if self.fib_of(interface) == fib {
                for address in addresses.iter().filter(|address| !is_link_local(address.address())) {
                    networks.insert(address.prefix(), interface);
                }
            }
        }
        self.networks.insert(fib, networks);
    }

    /// Number and FIB index of a table.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn find_table(&self, key: &raddle_plugin_api::route::TableKey) -> Result<(u32, u32), Failure> {
        self.index.find(key)
    }
}

pub(super) fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(ip) if ip.is_unicast_link_local())
}
