//! The smallest plugin: drops IPv4 packets whose TTL is too low to be worth a way through here.
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

#[cfg(test)]
mod tests {
    use raddle_plugin_api::testing::{Harness, packets};

    #[test]
    fn drops_packets_whose_ttl_is_below_five() {
        let mut host = Harness::builder().interface("wan", |wan| wan.feature("ttl-guard")).build();
        let wan = host.interface("wan");
        let packet = packets::udp("192.0.2.2:4242", "198.51.100.2:53");
        let out = host.run_arc("ip4-unicast", wan, [packet.clone().ttl(5), packet.ttl(4)]);
        assert_eq!(out.to("ip4-lookup").len(), 1);
        assert_eq!(out.dropped("low-ttl"), 1);
    }
}
