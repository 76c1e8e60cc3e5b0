//! What other routers on the link tell, against what we tell (RFC 4861 §6.2.7).

use raddle_plugin_api::wire::{Ip6Address, Ip6Prefix, NdMessage, NdOption, RouterFlags};

use super::config::{PrefixConfig, RouterAdvertisementConfig};

/// Prefixes of one advertisement that are looked at.
const MAX_PREFIXES: usize = 32;

/// An advertisement of another router, as far as it is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The router.
    pub source: Ip6Address,
    /// How long it is a default router, in seconds.
    pub lifetime_seconds: u16,
    hop_limit: u8,
    flags: RouterFlags,
    reachable_ms: u32,
    retransmit_ms: u32,
    mtu: Option<u32>,
    prefixes: Vec<HeardPrefix>,
}

/// A prefix that another router told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeardPrefix {
    prefix: Ip6Prefix,
    valid_seconds: u32,
    preferred_seconds: u32,
}

impl Heard {
    /// What the message says; `None`: it is no advertisement.
    pub fn of(source: Ip6Address, message: &NdMessage<'_>) -> Option<Self> {
        let NdMessage::RouterAdvertisement {
            hop_limit,
            flags,
            lifetime_seconds,
            reachable_ms,
            retransmit_ms,
            options,
        } = message
        else {
            return None;
        };
        let (mut mtu, mut prefixes) = (None, Vec::new());
        for option in options.clone().flatten() {
            match option {
                NdOption::Mtu(bytes) => mtu = Some(bytes),
                NdOption::Prefix(told) if prefixes.len() < MAX_PREFIXES => {
                    prefixes.extend(told.prefix().map(|prefix| HeardPrefix {
                        prefix,
                        valid_seconds: told.valid_seconds(),
                        preferred_seconds: told.preferred_seconds(),
                    }));
                }
                _ => {}
            }
        }
        Some(Self {
            source,
            lifetime_seconds: *lifetime_seconds,
            hop_limit: *hop_limit,
            flags: *flags,
            reachable_ms: *reachable_ms,
            retransmit_ms: *retransmit_ms,
            mtu,
            prefixes,
        })
    }

    /// In what it contradicts us, in words. A value that one of both leaves to hosts contradicts nothing.
    pub fn contradictions(
        &self,
        config: &RouterAdvertisementConfig,
        prefixes: &[PrefixConfig],
        mtu: u32,
    ) -> Vec<String> {
        let mut found = Vec::new();
        let mut compare = |what: &str, theirs: u64, ours: u64, silent: u64| {
            if theirs != silent && ours != silent && theirs != ours {
                found.push(format!("{what} {theirs}, ours is {ours}"));
            }
        };
        const NEVER: u64 = u64::MAX;
        compare("hop limit", self.hop_limit.into(), config.hop_limit.into(), 0);
        compare("managed flag", self.flags.managed.into(), config.managed.into(), NEVER);
        compare("other flag", self.flags.other.into(), config.other.into(), NEVER);
        let number = |value: Option<u64>| value.unwrap_or(0);
        compare(
            "reachable time",
            self.reachable_ms.into(),
            number(config.reachable_ms.map(|ms| ms.get())),
            0,
        );
        compare(
            "retransmit time",
            self.retransmit_ms.into(),
            number(config.retransmit_ms.map(|ms| ms.get())),
            0,
        );
        let ours = config.mtu.map_or(mtu.into(), |mtu| mtu.get());
        compare("mtu", self.mtu.map_or(0, u64::from), ours, 0);
        for theirs in &self.prefixes {
            let Some(ours) = prefixes.iter().find(|ours| ours.prefix == theirs.prefix) else { continue };
            let prefix = theirs.prefix;
            let mut lifetime = |what: &str, theirs: u32, ours: u32| {
                if theirs != ours {
                    found.push(format!("{what} lifetime of {prefix} {theirs}, ours is {ours}"));
                }
            };
            lifetime("valid", theirs.valid_seconds, ours.valid_seconds);
            lifetime("preferred", theirs.preferred_seconds, ours.preferred_seconds);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use raddle_plugin_api::wire::{Ip6Header, IpProtocol, MacAddress, NdPrefix, RouterAdvertisement};

    use super::super::config::own_prefix;
    use super::*;

    fn heard(advertisement: &RouterAdvertisement<'_>) -> Heard {
        let source = Ip6Address::link_local_from_mac(MacAddress([2, 0, 0, 0, 0, 7]));
        let mut message = [0; 200];
        let length = advertisement.write_to(&mut message, source, Ip6Address::ALL_NODES).unwrap();
        let mut ip = Ip6Header::new(IpProtocol::ICMP6, source, Ip6Address::ALL_NODES, length).unwrap();
        ip.set_hop_limit(255);
        let message = NdMessage::parse(&ip, &message[..length]).unwrap();
        Heard::of(source, &message).unwrap()
    }

    // RFC 4861 §6.2.7
    #[test]
    fn tells_in_what_another_router_contradicts_us() {
        let config = RouterAdvertisementConfig::default();
        let prefix: Ip6Prefix = "2001:db8::/64".parse().unwrap();
        let ours = [own_prefix(prefix)];
        let words = |advertisement: &RouterAdvertisement<'_>| {
            heard(advertisement).contradictions(&config, &ours, 1500)
        };
        assert!(
            words(&RouterAdvertisement::default()).is_empty(),
            "what it does not say contradicts nothing"
        );
        let same = NdPrefix::new(prefix, true, true, ours[0].valid_seconds, ours[0].preferred_seconds);
        let other: Ip6Prefix = "2001:db8:5::/64".parse().unwrap();
        let unknown = NdPrefix::new(other, true, true, 1, 1);
        let agreeing = RouterAdvertisement {
            hop_limit: 64,
            mtu: Some(1500),
            retransmit_ms: 5000,
            prefixes: &[same, unknown],
            ..Default::default()
        };
        assert!(words(&agreeing).is_empty());
        let contrary = RouterAdvertisement {
            hop_limit: 32,
            flags: RouterFlags { managed: true, ..RouterFlags::default() },
            mtu: Some(1400),
            prefixes: &[NdPrefix::new(prefix, true, true, 7, 5)],
            ..Default::default()
        };
        assert_eq!(
            words(&contrary),
            [
                "hop limit 32, ours is 64",
                "managed flag 1, ours is 0",
                "mtu 1400, ours is 1500",
                "valid lifetime of 2001:db8::/64 7, ours is 2592000",
                "preferred lifetime of 2001:db8::/64 5, ours is 604800",
            ]
        );
    }
}
