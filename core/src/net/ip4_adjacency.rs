//! `ip4-adjacency`: IPv4 packets whose adjacency a feature has chosen in place of the routing table (policy routing), on as
//! `ip4-lookup` would send them. See [`raddle_plugin_api::NextHop`].
#![forbid(unsafe_code)]

use std::sync::Arc;

use raddle_plugin_api::prelude::*;

use super::forwarding::ForwardingTables;
use super::icmp_field::{IcmpRequest, icmp_field};
use super::ip4_lookup::{Ip4LookupError, Ip4LookupNext, dispatch};
use super::table_cache::TableCache;

/// The node.
pub struct Ip4Adjacency {
    tables: Arc<ForwardingTables>,
    cache: TableCache<u32>,
    icmp: Field<IcmpRequest>,
}

impl Node for Ip4Adjacency {
    const NAME: &'static str = "ip4-adjacency";
    type Next = Ip4LookupNext;
    type Error = Ip4LookupError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self { tables: init.resource()?, cache: TableCache::default(), icmp: icmp_field(init)? })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        let Self { tables, cache, icmp } = self;
        cache.renew(&tables.ip4, vector.env().worker());
        vector.each(|env, packet| {
            packet.mark_l3();
            dispatch(env, packet, tables, cache, icmp)
        });
    }
}

node!(Ip4Adjacency);
