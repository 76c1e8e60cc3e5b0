//! MAC addresses for interfaces that have none by nature.

use raddle_plugin_api::wire::MacAddress;

/// A locally administered unicast address that stays the same over restarts, so that the neighbours' tables stay valid:
/// made of the machine's identity, the driver and the interface's name.
///
/// Two instances on one machine get the same address for the same name; where both are on one link, give one a `mac`.
pub fn stable_mac(driver: &str, name: &str) -> MacAddress {
    let machine = std::fs::read("/etc/machine-id").unwrap_or_default();
    let host = rustix::system::uname().nodename().to_bytes().to_vec();
    mac_of(&[&machine, &host, driver.as_bytes(), name.as_bytes()])
}

/// FNV-1a (64 bits) over the parts, each closed by a byte that none of them contains, then mixed so that the low
/// octets differ between names that differ in one letter.
fn mac_of(parts: &[&[u8]]) -> MacAddress {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in parts {
        for byte in part.iter().chain(&[0xff]) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    hash ^= hash >> 32;
    hash = hash.wrapping_mul(0xd6e8_feb8_6659_fd93);
    hash ^= hash >> 32;
    let bytes = hash.to_be_bytes();
    // IEEE 802-2014 §8.2: bit 1 of the first octet says local, bit 0 says group.
    MacAddress([bytes[0] & 0xfc | 0x02, bytes[1], bytes[2], bytes[3], bytes[4], bytes[5]])
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn address_is_local_unicast_and_stays() {
        let mac = stable_mac("tap", "lan");
        assert!(mac.is_local() && mac.is_unicast(), "{mac}");
        assert_eq!(mac, stable_mac("tap", "lan"));
        assert_ne!(mac, stable_mac("loopback", "lan"));
    }

    #[test]
    fn names_get_different_addresses() {
        let all: HashSet<_> = (0..1000).map(|number| stable_mac("tap", &format!("tap{number}")).0).collect();
        assert_eq!(all.len(), 1000);
        assert_ne!(mac_of(&[b"ab", b"c"]), mac_of(&[b"a", b"bc"]));
    }
}
