//! `bvi-tx`: what raddle sends by a BVI goes into the bridge, as from any other station.
#![forbid(unsafe_code)]

use std::sync::Arc;

use raddle_plugin_api::prelude::*;

use super::bridges::Bridges;
use super::l2_bridge::{BridgeTrace, addresses};
use super::tables::{BridgeTables, Course, Stop};

next! {
    /// Where frames go.
    pub enum BviTxNext {
        Output => "interface-output",
        Flood => "l2-flood",
    }
}

error! {
    /// Why frames are dropped.
    pub enum BviTxError {
        Runt => "runt": "shorter than an Ethernet header",
        NotBridged => "not-bridged": "the BVI belongs to no bridge, or is down",
        SamePort => "same-port": "the frame is for the BVI itself",
        SplitHorizon => "split-horizon": "the destination is behind a port of the same split-horizon group",
        UnknownUnicast => "unknown-unicast": "the destination is not known and the bridge does not flood for those",
        FloodOff => "flood-off": "for a group, and the bridge does not flood for those",
        ForwardOff => "forward-off": "the bridge does not forward",
        TooLarge => "too-large": "larger than the MTU of the port that the frame would leave by",
    }
}

/// The node.
pub struct BviTx {
    tables: Arc<BridgeTables>,
    sent: Tally,
}

impl Node for BviTx {
    const NAME: &'static str = "bvi-tx";
    type Next = BviTxNext;
    type Error = BviTxError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self { tables: Arc::clone(init.resource::<Bridges>()?.tables()), sent: Tally::sent() })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        vector.each_then(
            self,
            #[inline(always)]
            |env, packet, state| {
                let bvi = packet.tx_interface();
                let Some((destination, _)) = addresses(packet.bytes()) else {
                    return Verdict::Drop(BviTxError::Runt);
                };
                let ports = state.tables.ports(env.worker());
                let Some((port, domain)) = ports.port_and_domain(bvi) else {
                    return Verdict::Drop(BviTxError::NotBridged);
                };
                let course = state.tables.course(ports, port, domain, destination);
                env.trace(packet, || BridgeTrace::of(port.bridge, course));
                state.sent.add(env.worker(), bvi, packet.len());
                match course {
                    Course::Port(out) if !BridgeTables::fits(env.worker(), out, packet) => {
                        Verdict::Drop(BviTxError::TooLarge)
                    }
                    Course::Port(out) => {
                        packet.set_tx_interface(out);
                        Verdict::Next(BviTxNext::Output)
                    }
                    // `tx_interface()` is the port that gets no copy, which is the BVI's.
                    Course::Flood => Verdict::Next(BviTxNext::Flood),
                    // A bridge has one.
                    Course::Bvi(_) => Verdict::Drop(BviTxError::SamePort),
                    Course::Stop(stop) => Verdict::Drop(match stop {
                        Stop::ForwardOff => BviTxError::ForwardOff,
                        Stop::FloodOff => BviTxError::FloodOff,
                        Stop::UnknownUnicast => BviTxError::UnknownUnicast,
                        Stop::SamePort => BviTxError::SamePort,
                        Stop::SplitHorizon => BviTxError::SplitHorizon,
                    }),
                }
            },
            |worker, state| state.sent.flush(worker),
        );
    }
}

node!(BviTx);
