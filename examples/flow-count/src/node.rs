//! The nodes `flow-count-ip4` and `flow-count-ip6`.

use std::marker::PhantomData;
use std::sync::Arc;

use raddle_plugin_api::prelude::*;

use crate::counts::{Counts, Family};
use crate::flow::{Flow, NoFlow};
use crate::table::FlowTable;
use crate::trace::FlowTrace;

error! {
    /// Why packets are dropped here.
    pub enum FlowError {
        BadHeader => "bad-header": "an IP or extension header is malformed",
        NoPorts => "no-ports": "the packet ends before its ports"
    }
}

/// A version of IP.
pub trait Version: Send + 'static {
    /// Name of the node.
    const NODE: &'static str;
    /// Where it is counted.
    const FAMILY: Family;

    /// The packet's flow.
    fn flow(packet: &Packet<'_>) -> Result<Flow, NoFlow>;
}

/// IPv4.
pub enum Ip4 {}

impl Version for Ip4 {
    const NODE: &'static str = "flow-count-ip4";
    const FAMILY: Family = Family::Ip4;

    fn flow(packet: &Packet<'_>) -> Result<Flow, NoFlow> {
        Flow::of_ip4(packet)
    }
}

/// IPv6.
pub enum Ip6 {}

impl Version for Ip6 {
    const NODE: &'static str = "flow-count-ip6";
    const FAMILY: Family = Family::Ip6;

    fn flow(packet: &Packet<'_>) -> Result<Flow, NoFlow> {
        Flow::of_ip6(packet)
    }
}

/// Counts packets of one version of IP, and lets them go on.
pub struct FlowCount<V> {
    counts: Arc<Counts>,
    table: Arc<FlowTable>,
    version: PhantomData<V>,
}

impl<V: Version> Node for FlowCount<V> {
    const NAME: &'static str = V::NODE;
    type Next = NoNext;
    type Error = FlowError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        let counts = init.resource::<Counts>()?;
        let table = counts.table(init.thread_index());
        Ok(Self { counts, table, version: PhantomData })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        let Self { counts, table, .. } = self;
        let generation = counts.generation();
        vector.each(|env, packet| {
            let bytes = packet.len() as u64;
            counts.add(env.worker(), packet.rx_interface(), V::FAMILY, bytes);
            let flow = match V::flow(packet) {
                Ok(flow) => flow,
                Err(NoFlow::BadHeader) => return Verdict::Drop(FlowError::BadHeader),
                Err(NoFlow::NoPorts) => return Verdict::Drop(FlowError::NoPorts),
            };
            let number = table.count(generation, flow.key(), bytes);
            env.trace(packet, || FlowTrace { flow, number });
            Verdict::Continue
        });
    }
}
