//! Packets whose sessions another thread has.

use raddle_plugin_api::Packet;
use raddle_plugin_api::prelude::*;

use crate::reason::Nat64Error;
use crate::service::{Count, Nat64};

/// Has the thread that has a packet's session take it, at the same node.
pub fn hand_off<N: Node<Error = Nat64Error>>(
    nat: &Nat64,
    env: &Env<'_, N>,
    packet: &mut Packet<'_>,
    thread: u32,
) -> Verdict<N::Next, Nat64Error> {
    nat.count(env.worker(), Count::HandedOff, 1);
    if let Err(refused) = env.hand_off(packet.take(), thread, Verdict::To(env.node())) {
        env.send(refused, Verdict::Drop(Nat64Error::Congested));
    }
    // It was taken: this counts for nothing.
    Verdict::Continue
}
