//! `vlan-tx`: puts a sub-interface's tags on what it sends, and hands that to its parent.
#![forbid(unsafe_code)]

use std::sync::Arc;

use raddle_plugin_api::prelude::*;
use serde::Serialize;

use super::{VlanTables, Vlans, put_tags};

next! {
    /// Where frames go.
    pub enum VlanTxNext {
        Output => "interface-output",
    }
}

error! {
    /// Why frames are dropped.
    pub enum VlanTxError {
        NoParent => "no-parent": "the sub-interface's parent is not there",
        NoRoom => "no-room": "no room for a VLAN tag, or no Ethernet header",
    }
}

/// The node.
pub struct VlanTx {
    tables: Arc<VlanTables>,
    sent: Tally,
}

impl Node for VlanTx {
    const NAME: &'static str = "vlan-tx";
    type Next = VlanTxNext;
    type Error = VlanTxError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self { tables: Arc::clone(init.resource::<Vlans>()?.tables()), sent: Tally::sent() })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        let Self { tables, sent } = self;
        vector.each_then(
            sent,
            #[inline(always)]
            |env, packet, sent| {
                let interface = packet.tx_interface();
                let Some(sending) = tables.sending(env.worker(), interface) else {
                    return Verdict::Drop(VlanTxError::NoParent);
                };
                let length = packet.len();
                if !put_tags(packet, sending.tags()) {
                    return Verdict::Drop(VlanTxError::NoRoom);
                }
                env.trace(packet, || VlanTxTrace { parent: sending.parent, tags: sending.tags().len() });
                sent.add(env.worker(), interface, length);
                packet.set_tx_interface(sending.parent);
                Verdict::Next(VlanTxNext::Output)
            },
            |worker, sent| sent.flush(worker),
        );
    }
}

node!(VlanTx);

/// What `vlan-tx` notes of a traced packet.
#[derive(Debug, Serialize)]
struct VlanTxTrace {
    parent: InterfaceIndex,
    tags: usize,
}

impl std::fmt::Display for VlanTxTrace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} tags, to interface {}", self.tags, self.parent)
    }
}
