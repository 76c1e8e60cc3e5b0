//! Mappings that the operator gives, which always hold.

use std::collections::HashMap;

use raddle_plugin_api::wire::{Ip4Address, Ip6Address};

use super::session::Protocol;

/// A mapping that the operator gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaticMap {
    /// The inside host.
    pub inside: Ip6Address,
    /// The address outside.
    pub outside: Ip4Address,
    /// Protocol, port inside, port outside; without them all of the host is mapped.
    pub port: Option<(Protocol, u16, u16)>,
    /// Number of the tenant whose host it is.
    pub tenant: u8,
}

/// Who is behind a port of the operator's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inside {
    /// The host.
    pub address: Ip6Address,
    /// Its port.
    pub port: u16,
    /// Number of its tenant.
    pub tenant: u8,
}

/// All of them, found from either side.
#[derive(Clone, Debug, Default)]
pub struct Statics {
    addresses: Vec<Ip4Address>,
    inside_by_port: HashMap<(Ip4Address, u16, Protocol), Inside>,
    inside_by_address: HashMap<Ip4Address, (Ip6Address, u8)>,
    outside_by_port: HashMap<(Ip6Address, u8, u16, Protocol), (Ip4Address, u16)>,
    outside_by_address: HashMap<(Ip6Address, u8), Ip4Address>,
}

impl Statics {
    /// The table of these mappings.
    pub fn new(maps: &[StaticMap]) -> Self {
        let mut statics = Self::default();
        for map in maps {
            statics.addresses.push(map.outside);
            match map.port {
                Some((protocol, inside, outside)) => {
                    let behind = Inside { address: map.inside, port: inside, tenant: map.tenant };
                    statics.inside_by_port.insert((map.outside, outside, protocol), behind);
                    let key = (map.inside, map.tenant, inside, protocol);
                    statics.outside_by_port.insert(key, (map.outside, outside));
                }
                None => {
                    statics.inside_by_address.insert(map.outside, (map.inside, map.tenant));
                    statics.outside_by_address.insert((map.inside, map.tenant), map.outside);
                }
            }
        }
        statics.addresses.sort_unstable();
        statics.addresses.dedup();
        statics
    }

    /// Addresses outside, each once.
    pub fn addresses(&self) -> &[Ip4Address] {
        &self.addresses
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }

    /// What a tenant's host's port is outside.
    pub fn outside(
        &self,
        tenant: u8,
        inside: Ip6Address,
        port: u16,
        protocol: Protocol,
    ) -> Option<(Ip4Address, u16)> {
        if self.is_empty() {
            return None;
        }
        let by_port = self.outside_by_port.get(&(inside, tenant, port, protocol)).copied();
        by_port.or_else(|| self.outside_by_address.get(&(inside, tenant)).map(|&outside| (outside, port)))
    }

    /// Who is behind a port outside.
    pub fn inside(&self, outside: Ip4Address, port: u16, protocol: Protocol) -> Option<Inside> {
        if self.is_empty() {
            return None;
        }
        let by_port = self.inside_by_port.get(&(outside, port, protocol)).copied();
        let by_address = || {
            let found = self.inside_by_address.get(&outside);
            found.map(|&(address, tenant)| Inside { address, port, tenant })
        };
        by_port.or_else(by_address)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    fn four(text: &str) -> Ip4Address {
        text.parse::<Ipv4Addr>().unwrap().into()
    }

    fn six(text: &str) -> Ip6Address {
        text.parse::<Ipv6Addr>().unwrap().into()
    }

    #[test]
    fn operators_mappings_are_found_from_both_sides() {
        let (web, host) = (six("2001:db8::80"), six("2001:db8::2"));
        let statics = Statics::new(&[
            StaticMap {
                inside: web,
                outside: four("192.0.2.1"),
                port: Some((Protocol::Tcp, 8080, 80)),
                tenant: 0,
            },
            StaticMap { inside: host, outside: four("192.0.2.2"), port: None, tenant: 1 },
        ]);
        let tcp = Protocol::Tcp;
        assert_eq!(statics.outside(0, web, 8080, tcp), Some((four("192.0.2.1"), 80)));
        assert_eq!(statics.outside(0, web, 8081, tcp), None);
        assert_eq!(statics.outside(1, web, 8080, tcp), None, "another tenant's host of that address");
        assert_eq!(statics.outside(1, host, 9, Protocol::Udp), Some((four("192.0.2.2"), 9)));
        assert_eq!(
            statics.inside(four("192.0.2.1"), 80, tcp),
            Some(Inside { address: web, port: 8080, tenant: 0 })
        );
        assert_eq!(statics.inside(four("192.0.2.1"), 80, Protocol::Udp), None);
        assert_eq!(statics.addresses(), [four("192.0.2.1"), four("192.0.2.2")]);
    }
}
