//! `ip-input`: packets of interfaces without an Ethernet header, by their version.
#![forbid(unsafe_code)]

use raddle_plugin_api::prelude::*;

next! {
    /// Where packets go.
    pub enum IpInputNext {
        Ip4 => "ip4-input",
        Ip6 => "ip6-input",
    }
}

error! {
    /// Why packets are dropped.
    pub enum IpInputError {
        InterfaceDown => "interface-down": "the interface is down",
        NotIp => "not-ip": "neither an IPv4 nor an IPv6 packet",
    }
}

/// The node.
pub struct IpInput;

impl Node for IpInput {
    const NAME: &'static str = "ip-input";
    type Next = IpInputNext;
    type Error = IpInputError;

    fn new(_: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self)
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        vector.each(|env, packet| {
            if !env.worker().interface(packet.rx_interface()).is_some_and(|row| row.is_up()) {
                return Verdict::Drop(IpInputError::InterfaceDown);
            }
            match packet.bytes().first().map(|first| first >> 4) {
                Some(4) => Verdict::Next(IpInputNext::Ip4),
                Some(6) => Verdict::Next(IpInputNext::Ip6),
                _ => Verdict::Drop(IpInputError::NotIp),
            }
        });
    }
}

node!(IpInput);

#[cfg(test)]
mod tests {
    use raddle_plugin_api::testing::Harness;

    use super::*;
    use crate::net::tests::setup::{fates, ip4, ip6};

    #[test]
    fn version_decides() {
        let mut host = Harness::builder().interface("tun", |tun| tun).build();
        let (four, six) = (ip4("192.0.2.1", "192.0.2.2", 8), ip6("2001:db8::1", "2001:db8::2", 8));
        let out = host.run::<IpInput>([four, six, vec![0x50; 40], vec![0; 1]]);
        let expected = ["ip4-input", "ip6-input", "not-ip", "not-ip"];
        assert_eq!(fates(&out), expected);
    }
}
