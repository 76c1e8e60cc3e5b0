//! The example plugin `minimal`, as it was written for ABI 1.0.
#![forbid(unsafe_code)]

use raddle_plugin_api::prelude::*;

plugin! { "ttl-guard", "drops IPv4 packets with a TTL below 5" }
node!(TtlGuard);
feature! { "ttl-guard", node: TtlGuard, arc: "ip4-unicast" }
error! { enum GuardError { LowTtl => "low-ttl": "TTL below 5" } }

struct TtlGuard;

impl Node for TtlGuard {
    const NAME: &'static str = "ttl-guard";
    type Next = NoNext;
    type Error = GuardError;

    fn new(_: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self)
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        vector.each(|_, packet| match packet.bytes().get(8) {
            Some(5..) => Verdict::Continue,
            _ => Verdict::Drop(GuardError::LowTtl),
        });
    }
}
