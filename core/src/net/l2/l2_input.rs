//! `l2-input`: frames of an interface that is switched, behind the features of the arc `l2-input`, go to where its frames are
//! switched.
#![forbid(unsafe_code)]

use std::sync::atomic::Ordering;

use raddle_plugin_api::abi::InterfaceFlags;
use raddle_plugin_api::prelude::*;

arc! { "l2-input", end: "l2-input" }

next! {
    /// Where frames go.
    pub enum L2InputNext {
        Xconnect => "l2-xconnect",
        Bridge => "l2-bridge",
        Rewrite => "l2-rewrite-input",
    }
}

error! {
    /// Why frames are dropped.
    pub enum L2InputError {
        NotSwitched => "not-switched": "the interface is not switched any more, or down",
    }
}

/// The node.
pub struct L2Input;

impl Node for L2Input {
    const NAME: &'static str = "l2-input";
    type Next = L2InputNext;
    type Error = L2InputError;

    fn new(_: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self)
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        vector.each(|env, packet| {
            let row = env.worker().interface(packet.rx_interface());
            match row.and_then(|row| course(row.row().flags.load(Ordering::Relaxed))) {
                Some(next) => Verdict::Next(next),
                None => Verdict::Drop(L2InputError::NotSwitched),
            }
        });
    }
}

node!(L2Input);

/// Where the frames of an interface with these flags are switched, if they are.
fn course(flags: u32) -> Option<L2InputNext> {
    match flags & InterfaceFlags::SWITCHED {
        0 => None,
        _ if flags & InterfaceFlags::UP != InterfaceFlags::UP => None,
        _ if flags & InterfaceFlags::TAG_REWRITE != 0 => Some(L2InputNext::Rewrite),
        InterfaceFlags::BRIDGED => Some(L2InputNext::Bridge),
        _ => Some(L2InputNext::Xconnect),
    }
}
