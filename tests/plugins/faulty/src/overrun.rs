//! A node that writes past its frame, as one in C might.

use std::sync::atomic::{AtomicBool, Ordering};

use raddle_plugin_api::abi::{FRAME_SIZE, Frame, NodeContext, NodeRegistration};
use raddle_plugin_api::prelude::*;
use raddle_plugin_api::registration::{NODES, node_registration};

/// Whether it does.
pub static WRITES: AtomicBool = AtomicBool::new(false);

feature! { "faulty-overrun", node: Overrun, arc: "ip4-unicast" }

/// Lets all packets pass.
struct Overrun;

impl Node for Overrun {
    const NAME: &'static str = "faulty-overrun";
    type Next = NoNext;
    type Error = NoError;

    fn new(_: &NodeInit<'_>) -> Result<Self, Failure> {
        WRITES.store(false, Ordering::Relaxed);
        Ok(Self)
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        vector.each(|_, _| Verdict::Continue);
    }
}

/// The node as the SDK makes it.
const SOUND: NodeRegistration = node_registration::<Overrun>();

#[raddle_plugin_api::linkme::distributed_slice(NODES)]
#[linkme(crate = raddle_plugin_api::linkme)]
static OVERRUN: NodeRegistration = NodeRegistration { run, ..SOUND };

unsafe extern "C" fn run(node: *mut NodeContext, frame: *mut Frame) -> u32 {
    if WRITES.load(Ordering::Relaxed) {
        // SAFETY: the host's frame has room behind its last index that nobody may write: this is a fault on purpose.
        unsafe { (*frame).indices[FRAME_SIZE + 1] = 7 };
    }
    // SAFETY: as the host calls it.
    unsafe { (SOUND.run)(node, frame) }
}
