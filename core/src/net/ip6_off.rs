//! `ip6-off`: drops the IPv6 packets of an interface on which IPv6 must not be used (RFC 4862 §5.4.5), whether they come in there
//! or would leave there. What is said on the link of the address at fault goes another way, so that its end is seen.
#![forbid(unsafe_code)]

use raddle_plugin_api::prelude::*;

/// The feature. It follows from what is found out of an address, and is none of the operator's.
pub const IP6_OFF: &str = "ip6-off";

error! {
    /// Why packets are dropped.
    pub enum Ip6OffError {
        DuplicateAddress => "duplicate-link-local": "another station has the link-local address that follows from the interface's MAC address",
    }
}

/// The node.
pub struct Ip6Off;

impl Node for Ip6Off {
    const NAME: &'static str = IP6_OFF;
    type Next = NoNext;
    type Error = Ip6OffError;

    fn new(_: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self)
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        vector.each(|_, _| Verdict::Drop(Ip6OffError::DuplicateAddress));
    }
}

node!(Ip6Off);
feature! { "ip6-off", node: Ip6Off, arc: "ip6-unicast", runs_before: ["ip6-martians"] }
feature! { "ip6-off", node: Ip6Off, arc: "ip6-output" }
