//! The nodes `sample-plugin-ip4` and `sample-plugin-ip6`.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use raddle_plugin_api::prelude::*;
use serde::Serialize;

use crate::Shared;

/// Numbers of the counters.
pub const PASSED: usize = 0;
/// See [`PASSED`].
pub const DROPPED: usize = 1;
/// How many counters there are.
pub const COUNTERS: usize = 2;

error! {
    /// Why packets are dropped here.
    pub enum Reason {
        LowTtl => "low-ttl": "the TTL or hop limit is below `min-ttl`",
        Short => "short": "the packet ends before its TTL or hop limit"
    }
}

/// A version of IP.
pub trait Version: Send + 'static {
    /// Name of the node.
    const NODE: &'static str;
    /// Where the TTL or hop limit stands in the header.
    const TTL_AT: usize;
}

/// IPv4 (RFC 791 §3.1).
pub enum Ip4 {}

impl Version for Ip4 {
    const NODE: &'static str = "sample-plugin-ip4";
    const TTL_AT: usize = 8;
}

/// IPv6 (RFC 8200 §3).
pub enum Ip6 {}

impl Version for Ip6 {
    const NODE: &'static str = "sample-plugin-ip6";
    const TTL_AT: usize = 7;
}

/// Drops packets whose TTL is too low. One value of it is made for each thread, so its fields need no lock.
pub struct SamplePlugin<V> {
    shared: Arc<Shared>,
    version: PhantomData<V>,
}

impl<V: Version> Node for SamplePlugin<V> {
    const NAME: &'static str = V::NODE;
    type Next = NoNext;
    type Error = Reason;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self { shared: init.resource()?, version: PhantomData })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        let Shared { config, counters } = &*self.shared;
        vector.each(|env, packet| {
            // Packets are what a peer sent: nothing of them is there until it has been looked for.
            let Some(&ttl) = packet.bytes().get(V::TTL_AT) else {
                return Verdict::Drop(Reason::Short);
            };
            let passes = ttl >= config.min_ttl;
            env.trace(packet, || Trace { ttl, passes });
            counters.add(env.worker(), if passes { PASSED } else { DROPPED }, 1);
            if passes { Verdict::Continue } else { Verdict::Drop(Reason::LowTtl) }
        });
    }
}

/// What `show trace` says of a packet here.
#[derive(Debug, Serialize)]
struct Trace {
    ttl: u8,
    passes: bool,
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ttl {} {}", self.ttl, if self.passes { "passes" } else { "is too low" })
    }
}
