//! What the nodes of the packet's way read: tables, leaves and adjacencies.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use raddle_plugin_api::sync::Published;
use raddle_plugin_api::{Control, Failure, InterfaceIndex};

use super::adjacency::{AdjacencyIndex, AdjacencyTable};
use super::fib::{LpmReader4, LpmReader6};
use super::flow_hash::FlowHash;
use super::leaf::LeafTable;
use super::table_cache::Tables;

/// Link-local IPv6 destinations, which mean something only together with an interface (RFC 4291 §2.5.6).
pub type LinkLocals = HashMap<(InterfaceIndex, Ipv6Addr), AdjacencyIndex>;

/// The forwarding state that workers read. A resource of the core; `Routes` and `Addresses` write it.
pub struct ForwardingTables {
    /// The adjacencies.
    pub adjacencies: Arc<AdjacencyTable>,
    /// The leaves of all tables.
    pub leaves: LeafTable,
    /// Which of several paths a flow takes.
    pub flow_hash: FlowHash,
    /// IPv4 tables, by FIB index.
    pub ip4: Published<Tables<u32>>,
    /// IPv6 tables, by FIB index.
    pub ip6: Published<Tables<u128>>,
    /// Own link-local addresses and neighbours. The unspecified address stands for any neighbour on the interface that is not
    /// known yet.
    pub link_local: Published<LinkLocals>,
    /// Whether lookups of the family miss the cache, so that those of a whole frame are worth to be made together.
    pub is_large: [AtomicBool; 2],
}

impl ForwardingTables {
    /// Tables of both families.
    ///
    /// # Errors
    /// The process has no address space for them.
    pub fn new(
        control: &Control<'_>,
        adjacencies: Arc<AdjacencyTable>,
        ip4: Vec<LpmReader4>,
        ip6: Vec<LpmReader6>,
    ) -> Result<Self, Failure> {
        Ok(Self {
            adjacencies,
            leaves: LeafTable::new()?,
            flow_hash: FlowHash::default(),
            ip4: Published::new(control, Tables { version: 0, readers: ip4 }),
            ip6: Published::new(control, Tables { version: 0, readers: ip6 }),
            link_local: Published::new(control, LinkLocals::new()),
            is_large: [AtomicBool::new(false), AtomicBool::new(false)],
        })
    }

    /// Whether the IPv4 tables are larger than the caches near the processor.
    #[inline(always)]
    pub fn ip4_is_large(&self) -> bool {
        self.is_large[0].load(Ordering::Relaxed)
    }

    /// Whether the IPv6 tables are larger than the caches near the processor.
    #[inline(always)]
    pub fn ip6_is_large(&self) -> bool {
        self.is_large[1].load(Ordering::Relaxed)
    }
}
