//! `l2-flood`: a copy of each frame for every port of the bridge but the one that it came in by.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::sync::Arc;

use raddle_plugin_api::prelude::*;

use super::bridges::Bridges;
use super::tables::{BridgeTables, Port};
use crate::net::rate_limit::TokenBucket;

next! {
    /// Where copies go.
    pub enum FloodNext {
        Output => "interface-output",
        Ethernet => "ethernet-input",
    }
}

error! {
    /// Why frames are dropped.
    pub enum FloodError {
        NotBridged => "not-bridged": "the interface is no port of a bridge any more",
        NoPort => "no-port": "there is no other port to leave by",
        NoBuffers => "no-buffers": "no buffer for a further copy",
        TooLarge => "too-large": "a copy that is larger than the MTU of the port that it would leave by",
        RateLimited => "rate-limited": "more frames a second than the bridge's flood-limit",
    }
}

/// The node. A frame's `tx_interface()` is the port that gets no copy: the one that it came in by, which is the BVI's for
/// what raddle itself sends.
pub struct L2Flood {
    tables: Arc<BridgeTables>,
    to_bvi: Tally,
    /// By number of the bridge: its limit, and how far it is used.
    buckets: HashMap<u16, (u32, TokenBucket)>,
}

impl Node for L2Flood {
    const NAME: &'static str = "l2-flood";
    type Next = FloodNext;
    type Error = FloodError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        let tables = Arc::clone(init.resource::<Bridges>()?.tables());
        Ok(Self { tables, to_bvi: Tally::received(), buckets: HashMap::new() })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        vector.each_then(
            self,
            |env, packet, state| state.flood(env, packet),
            |worker, state| state.to_bvi.flush(worker),
        );
    }
}

node!(L2Flood);

impl L2Flood {
    fn flood(&mut self, env: &Env<'_, Self>, packet: &mut Packet<'_>) -> Verdict<FloodNext, FloodError> {
        let tables = Arc::clone(&self.tables);
        let Some((from, domain)) = tables.ports(env.worker()).port_and_domain(packet.tx_interface()) else {
            return Verdict::Drop(FloodError::NotBridged);
        };
        if domain.flood_limit > 0 && !self.admits(from.bridge, domain.flood_limit, env.now_ns()) {
            return Verdict::Drop(FloodError::RateLimited);
        }
        let mut last = None;
        for port in domain.ports.iter().filter(|port| from.reaches(port)) {
            // One behind, so that the frame itself goes to the last one.
            let Some(port) = last.replace(port) else { continue };
            let Some(mut copy) = env.worker().copy(packet, usize::MAX) else {
                return Verdict::Drop(FloodError::NoBuffers);
            };
            let verdict = self.send_by(env, &mut env.worker().open(&mut copy), port);
            env.send(copy, verdict);
        }
        match last {
            Some(port) => self.send_by(env, packet, port),
            None => Verdict::Drop(FloodError::NoPort),
        }
    }

    fn send_by(
        &mut self,
        env: &Env<'_, Self>,
        packet: &mut Packet<'_>,
        port: &Port,
    ) -> Verdict<FloodNext, FloodError> {
        if port.is_bvi {
            self.to_bvi.add(env.worker(), port.interface, packet.len());
            packet.set_local(false);
            env.receive_on(packet, port.interface);
            Verdict::Next(FloodNext::Ethernet)
        } else if BridgeTables::fits(env.worker(), port.interface, packet) {
            packet.set_tx_interface(port.interface);
            Verdict::Next(FloodNext::Output)
        } else {
            Verdict::Drop(FloodError::TooLarge)
        }
    }

    fn admits(&mut self, bridge: u16, limit: u32, now_ns: u64) -> bool {
        let fresh = || (limit, TokenBucket::new(limit, limit / 10));
        let bucket = self.buckets.entry(bridge).or_insert_with(fresh);
        if bucket.0 != limit {
            *bucket = fresh();
        }
        bucket.1.take(now_ns)
    }
}
