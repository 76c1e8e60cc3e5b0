//! The arc `ip-local`: features take packets for own addresses that none of raddle's own protocols is for, before they are
//! punted. What they take is forwarded work, such as ESP, and is not held to the limits of what the host gets.
#![forbid(unsafe_code)]

use raddle_plugin_api::prelude::*;

arc! { "ip-local", end: "punt" }

/// A local node's way to the arc.
#[derive(Clone, Copy)]
pub struct LocalArc {
    arc: ArcIndex,
}

impl LocalArc {
    /// The way.
    ///
    /// # Errors
    /// There is no such arc.
    pub fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self { arc: init.arc("ip-local")? })
    }

    /// To the first feature that the packet's interface has, or to `punt`, which is `end`.
    #[inline]
    pub fn enter<N: Node>(
        self,
        env: &Env<'_, N>,
        packet: &mut Packet<'_>,
        end: N::Next,
    ) -> Verdict<N::Next, N::Error> {
        let interface = packet.rx_interface();
        // What was made here came by no interface.
        let mask = if interface == InterfaceIndex::NONE { 0 } else { env.arc_mask(self.arc, interface) };
        match mask {
            0 => Verdict::Next(end),
            mask => env.enter_features(self.arc, mask, packet),
        }
    }
}
