//! The two families of addresses.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use raddle_plugin_api::wire::EtherType;
use serde::Serialize;

/// An address family, where there is no address to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// IPv4.
    Ip4,
    /// IPv6.
    Ip6,
}

impl Family {
    /// The family of an address.
    pub const fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::Ip4 } else { Self::Ip6 }
    }

    /// What Ethernet calls it.
    pub const fn ethertype(self) -> EtherType {
        match self {
            Self::Ip4 => EtherType::IP4,
            Self::Ip6 => EtherType::IP6,
        }
    }
}
