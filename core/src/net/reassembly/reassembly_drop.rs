//! `reassembly-drop`: where fragments end that the main thread gives up.

use raddle_plugin_api::prelude::*;

use super::reason::ReassemblyError;

/// The node.
pub struct ReassemblyDrop;

/// Notes on the packet why it is dropped. Its adjacency means nothing: it holds the reason.
pub(super) fn mark(packet: &mut Packet<'_>, why: ReassemblyError) {
    packet.set_adjacency(why as u32);
}

impl Node for ReassemblyDrop {
    const NAME: &'static str = "reassembly-drop";
    type Next = NoNext;
    type Error = ReassemblyError;

    fn new(_: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self)
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        const GONE: u32 = ReassemblyError::InterfaceGone as u32;
        vector.each(|_, packet| {
            Verdict::Drop(match packet.adjacency() {
                GONE => ReassemblyError::InterfaceGone,
                _ => ReassemblyError::Timeout,
            })
        });
    }
}

node!(ReassemblyDrop);
