//! `l2-rewrite-input`: rewrites the VLAN tags of frames that come in by an interface that is switched.
#![forbid(unsafe_code)]

use std::sync::Arc;

use raddle_plugin_api::prelude::*;

use super::rewrites::Rewrites;
use super::tag_rewrite::TagRefusal;

next! {
    /// Where frames go.
    pub enum RewriteNext {
        Xconnect => "l2-xconnect",
        Bridge => "l2-bridge",
    }
}

error! {
    /// Why frames are dropped.
    pub enum RewriteError {
        TagMissing => "tag-missing": "fewer VLAN tags than the interface's tag rewrite takes off",
        NoRoom => "no-room": "no room for a VLAN tag, or no Ethernet header",
    }
}

impl From<TagRefusal> for RewriteError {
    fn from(refusal: TagRefusal) -> Self {
        match refusal {
            TagRefusal::Missing => Self::TagMissing,
            TagRefusal::NoRoom => Self::NoRoom,
        }
    }
}

/// The node.
pub struct L2RewriteInput {
    rewrites: Arc<Rewrites>,
}

impl Node for L2RewriteInput {
    const NAME: &'static str = "l2-rewrite-input";
    type Next = RewriteNext;
    type Error = RewriteError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self { rewrites: init.resource()? })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        let Self { rewrites } = self;
        vector.each(|env, packet| {
            let interface = packet.rx_interface();
            // Without one, it ended a moment ago.
            if let Some(changes) = rewrites.changes(env.worker(), interface)
                && let Err(refusal) = changes.input.apply(packet)
            {
                return Verdict::Drop(refusal.into());
            }
            let crossed = env.worker().interface(interface).is_some_and(|row| row.xconnect().is_some());
            Verdict::Next(if crossed { RewriteNext::Xconnect } else { RewriteNext::Bridge })
        });
    }
}

node!(L2RewriteInput);
