//! `ip6-adjacency`: IPv6 packets whose adjacency a feature has chosen in place of the routing table (policy routing), on as
//! `ip6-lookup` would send them. See [`raddle_plugin_api::NextHop`].
#![forbid(unsafe_code)]

use raddle_plugin_api::prelude::*;

use super::ip6_lookup::{Ip6LookupError, Ip6LookupNext, Steps};
use super::table_cache::TableCache;

/// The node.
pub struct Ip6Adjacency {
    steps: Steps,
    cache: TableCache<u128>,
}

impl Node for Ip6Adjacency {
    const NAME: &'static str = "ip6-adjacency";
    type Next = Ip6LookupNext;
    type Error = Ip6LookupError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self { steps: Steps::new(init)?, cache: TableCache::default() })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        let Self { steps, cache } = self;
        cache.renew(steps.tables(), vector.env().worker());
        vector.each(|env, packet| {
            packet.mark_l3();
            steps.dispatch(env, packet, cache)
        });
    }
}

node!(Ip6Adjacency);
