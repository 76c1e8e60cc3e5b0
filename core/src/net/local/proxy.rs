//! For whom else is answered on an interface: proxy ARP (RFC 1027, RFC 3069) and proxy neighbour discovery (RFC 4861 §7.2.8).

use std::net::IpAddr;

use raddle_plugin_api::wire::IpPrefix;

/// For whom else is answered on one interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxy {
    /// For these, wherever they are.
    pub prefixes: Vec<IpPrefix>,
    /// For what is reached by another interface.
    pub routed: bool,
    /// For what is reached by this interface itself.
    pub local: bool,
}

impl Proxy {
    /// Whether is answered for anybody.
    pub fn is_empty(&self) -> bool {
        self.prefixes.is_empty() && !self.routed && !self.local
    }

    /// Whether is answered for an IPv6 address, perhaps.
    pub fn has_ip6(&self) -> bool {
        self.routed || self.local || self.prefixes.iter().any(|prefix| prefix.network().is_ipv6())
    }

    /// Whether is answered for the address. `leads_out`, asked at most once, says whether it is reached by an interface, and
    /// if so whether by another one than this.
    pub fn answers_for(&self, address: IpAddr, leads_out: impl FnOnce() -> Option<bool>) -> bool {
        // RFC 4389 §4.1.3.3, RFC 1112: groups and link-local addresses mean the link itself.
        let far = match address {
            IpAddr::V4(ip) => !ip.is_multicast() && !ip.is_broadcast() && !ip.is_unspecified(),
            IpAddr::V6(ip) => !ip.is_multicast() && !ip.is_unicast_link_local() && !ip.is_unspecified(),
        };
        if !far {
            return false;
        }
        if self.prefixes.iter().any(|prefix| prefix.contains(address)) {
            return true;
        }
        (self.routed || self.local)
            && match leads_out() {
                Some(true) => self.routed,
                Some(false) => self.local,
                None => false,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 1027 §2.3, RFC 3069 §2
    #[test]
    fn answers_for_listed_routed_or_local_addresses() {
        let listed = Proxy { prefixes: vec!["192.0.2.0/28".parse().unwrap()], ..Proxy::default() };
        let routed = Proxy { routed: true, ..Proxy::default() };
        let local = Proxy { local: true, ..Proxy::default() };
        let none = Proxy::default();
        for (proxy, address, leads_out, expected) in [
            (&listed, "192.0.2.3", None, true),
            (&listed, "192.0.2.3", Some(false), true),
            (&listed, "192.0.2.16", Some(true), false),
            (&routed, "192.0.2.3", Some(true), true),
            (&routed, "192.0.2.3", Some(false), false),
            (&routed, "192.0.2.3", None, false),
            (&routed, "fe80::1", Some(true), false),
            (&routed, "ff02::1", Some(true), false),
            (&routed, "255.255.255.255", Some(true), false),
            (&local, "192.0.2.3", Some(false), true),
            (&local, "192.0.2.3", Some(true), false),
            (&none, "192.0.2.3", Some(true), false),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(
                proxy.answers_for(address, || leads_out),
                expected,
                "{proxy:?} {address} {leads_out:?}"
            );
        }
        assert!(routed.has_ip6() && !listed.has_ip6() && none.is_empty());
    }
}
