//! `punt`: packets that raddle has no use for itself, to the plugin that has: the features of the arc `punt`, each enabled
//! for the interfaces whose packets it wants. What nobody takes ends in `punt-unclaimed`.
#![forbid(unsafe_code)]

use std::fmt;

use raddle_plugin_api::prelude::*;
use serde::Serialize;

next! {
    /// Where packets go that nobody takes.
    pub enum PuntNext { Unclaimed => "punt-unclaimed" }
}

arc! { "punt", end: "punt-unclaimed" }

/// The node.
pub struct Punt {
    arc: ArcIndex,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Record {
    interface: InterfaceIndex,
    taken: bool,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.taken { "taken by a plugin" } else { "no plugin takes it" };
        write!(f, "from interface {}: {what}", self.interface)
    }
}

impl Node for Punt {
    const NAME: &'static str = "punt";
    type Next = PuntNext;
    type Error = NoError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self { arc: init.arc("punt")? })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        vector.each(|env, packet| {
            let interface = packet.rx_interface();
            // What was made here came by no interface.
            let mask = if interface == InterfaceIndex::NONE { 0 } else { env.arc_mask(self.arc, interface) };
            env.trace(packet, || Record { interface, taken: mask != 0 });
            if mask == 0 {
                return Verdict::Next(PuntNext::Unclaimed);
            }
            env.enter_features(self.arc, mask, packet)
        });
    }
}

node!(Punt);
