//! `tuntap-from-host`: packets that the host sends into a tun are raddle's own from here on: they are routed, keep their TTL, and
//! may have own addresses as their source.

use raddle_plugin_api::prelude::*;

/// The node.
pub struct FromHost;

impl Node for FromHost {
    const NAME: &'static str = "tuntap-from-host";
    type Next = NoNext;
    type Error = NoError;

    fn new(_: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self)
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        vector.each(|_, packet| {
            packet.set_local(true);
            Verdict::Continue
        });
    }
}

node!(FromHost);
