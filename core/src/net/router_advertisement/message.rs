//! An advertisement as a frame.

use raddle_plugin_api::wire::{
    EtherType, EthernetHeader, Ip6Address, Ip6Header, Ip6Prefix, IpProtocol, MacAddress, NdPref64, NdPrefix,
    NdRoute, RouterAdvertisement, RouterFlags,
};
use zerocopy::IntoBytes;

use super::config::{PrefixConfig, RouterAdvertisementConfig, own_prefix};

/// The longest: the smallest MTU of IPv6 without its header. The bounds of the configuration keep every message shorter.
const MAX_MESSAGE_BYTES: usize = 1240;
/// RFC 4861 §6.1.2: what neighbour discovery is sent with, so that it cannot come from another link.
const HOP_LIMIT: u8 = 255;
/// Prefixes of own addresses at most.
const MAX_OWN_PREFIXES: usize = 16;

/// The prefixes that are told: those of the configuration, else those of the interface's addresses, each once.
pub fn prefixes(config: &RouterAdvertisementConfig, own: &[Ip6Prefix]) -> Vec<PrefixConfig> {
    if let Some(prefixes) = &config.prefixes {
        return prefixes.clone();
    }
    let mut prefixes: Vec<PrefixConfig> = Vec::new();
    let shared = own
        .iter()
        .filter(|prefix| !prefix.network().is_unicast_link_local() && prefix.length() < 128)
        .copied();
    for prefix in shared {
        if prefixes.len() < MAX_OWN_PREFIXES && !prefixes.iter().any(|known| known.prefix == prefix) {
            prefixes.push(own_prefix(prefix));
        }
    }
    prefixes
}

/// The frame to all nodes. `last`: this is no default router any more (RFC 4861 §6.2.5).
pub fn frame(
    config: &RouterAdvertisementConfig,
    own: &[Ip6Prefix],
    mtu: u32,
    source: Ip6Address,
    mac: MacAddress,
    last: bool,
) -> Option<Vec<u8>> {
    let prefixes: Vec<_> = prefixes(config, own)
        .into_iter()
        .map(|told| {
            let PrefixConfig { prefix, on_link, autonomous, valid_seconds, preferred_seconds } = told;
            NdPrefix::new(prefix, on_link, autonomous, valid_seconds, preferred_seconds)
        })
        .collect();
    let lifetime = if last { 0 } else { config.lifetime() };
    let routes: Vec<_> = config
        .routes
        .iter()
        .map(|route| NdRoute {
            prefix: route.prefix,
            preference: route.preference.into(),
            lifetime_seconds: if last { 0 } else { route.lifetime_seconds.unwrap_or(lifetime.into()) },
        })
        .collect();
    let servers: Vec<_> = config.dns_servers.iter().map(|server| Ip6Address::from(*server)).collect();
    let pref64: Vec<_> = config
        .pref64
        .iter()
        .filter_map(|pref64| NdPref64::new(pref64.prefix, config.pref64_lifetime(pref64)))
        .collect();
    // RFC 4861 §6.2.3: an MTU that is told is within what IPv6 allows.
    let mtu = config.mtu.map_or(mtu, |mtu| mtu.get() as u32);
    let advertisement = RouterAdvertisement {
        hop_limit: config.hop_limit,
        flags: RouterFlags {
            managed: config.managed,
            other: config.other,
            preference: config.preference.into(),
        },
        lifetime_seconds: lifetime,
        // At most 3,600,000.
        reachable_ms: config.reachable_ms.map_or(0, |ms| ms.get() as u32),
        retransmit_ms: config.retransmit_ms.map_or(0, |ms| ms.get() as u32),
        mac: Some(mac),
        mtu: (mtu >= 1280).then_some(mtu),
        prefixes: &prefixes,
        routes: &routes,
        dns_servers: (&servers, config.dns_lifetime()),
        search_list: (&config.dns_search, config.dns_lifetime()),
        pref64: &pref64,
    };
    let mut message = [0; MAX_MESSAGE_BYTES];
    let destination = Ip6Address::ALL_NODES;
    let length = advertisement.write_to(&mut message, source, destination)?;
    let mut ip = Ip6Header::new(IpProtocol::ICMP6, source, destination, length)?;
    ip.set_hop_limit(HOP_LIMIT);
    let to = MacAddress::from_ip6_multicast(destination.to_std());
    let ethernet = EthernetHeader::new(to, mac, EtherType::IP6);
    Some([ethernet.as_bytes(), ip.as_bytes(), message.get(..length)?].concat())
}

#[cfg(test)]
mod tests {
    use raddle_plugin_api::config::parse_section;
    use raddle_plugin_api::wire::{NdMessage, NdOption, RouterPreference};

    use super::*;

    const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
    const SOURCE: Ip6Address = Ip6Address::link_local_from_mac(MAC);

    fn config(text: &str) -> RouterAdvertisementConfig {
        parse_section(&format!("[ra]\n{text}"), "ra").unwrap().unwrap()
    }

    fn told(config: &RouterAdvertisementConfig, last: bool) -> Vec<u8> {
        let own = ["fe80::/64", "2001:db8:1::/64", "2001:db8:1::/64", "2001:db8:2::/56", "2001:db8:3::1/128"]
            .map(|prefix| prefix.parse().unwrap());
        frame(config, &own, 1500, SOURCE, MAC, last).unwrap()
    }

    fn read(frame: &[u8]) -> NdMessage<'_> {
        let ip = Ip6Header::check(&frame[14..], frame.len() - 14).unwrap();
        assert_eq!((ip.hop_limit(), ip.destination()), (255, Ip6Address::ALL_NODES));
        NdMessage::parse(ip, &frame[54..]).unwrap()
    }

    // RFC 4861 §6.2.3
    #[test]
    fn tells_prefixes_of_own_addresses_mtu_and_mac() {
        let frame = told(&config("preference = 'high'"), false);
        assert_eq!(frame[..6], [0x33, 0x33, 0, 0, 0, 1]);
        let NdMessage::RouterAdvertisement { hop_limit, flags, lifetime_seconds, options, .. } = read(&frame)
        else {
            panic!("another message");
        };
        assert_eq!((hop_limit, lifetime_seconds, flags.preference), (64, 1800, RouterPreference::High));
        let told: Vec<_> = options.map(Result::unwrap).collect();
        let [
            NdOption::SourceLinkLayer(MAC),
            NdOption::Mtu(1500),
            NdOption::Prefix(one),
            NdOption::Prefix(two),
        ] = told[..]
        else {
            panic!("{told:?}");
        };
        assert_eq!(one.prefix().unwrap().to_string(), "2001:db8:1::/64");
        assert!(one.is_on_link() && one.is_autonomous());
        assert_eq!(two.prefix().unwrap().to_string(), "2001:db8:2::/56");
        assert!(two.is_on_link() && !two.is_autonomous(), "hosts make no addresses of a /56");
    }

    // RFC 4861 §6.2.5
    #[test]
    fn the_last_one_ends_the_default_route_and_keeps_the_prefixes() {
        let config = config("routes = [{ prefix = '2001:db8:7::/48' }]");
        let frame = told(&config, true);
        let NdMessage::RouterAdvertisement { lifetime_seconds: 0, options, .. } = read(&frame) else {
            panic!("another message, or a lifetime");
        };
        let told: Vec<_> = options.map(Result::unwrap).collect();
        assert!(
            told.iter()
                .any(|option| matches!(option, NdOption::Prefix(prefix) if prefix.valid_seconds() > 0))
        );
        assert!(
            told.iter().any(|option| matches!(option, NdOption::Route(route) if route.lifetime_seconds == 0))
        );
    }

    // RFC 4191, RFC 8106, RFC 8781; RFC 8200 §5: whatever is configured fits the smallest MTU.
    #[test]
    fn the_longest_configuration_fits_the_smallest_mtu() {
        let list = |count: usize, item: &dyn Fn(usize) -> String| {
            (0..count).map(item).collect::<Vec<_>>().join(", ")
        };
        let text = format!(
            "prefixes = [{}]\nroutes = [{}]\ndns-servers = [{}]\ndns-search = [{}]\npref64 = [{}]",
            list(16, &|n| format!("{{ prefix = '2001:db8:{n:x}::/64' }}")),
            list(8, &|n| format!("{{ prefix = '2001:db8:{n:x}::1/128' }}")),
            list(8, &|n| format!("'2001:db8::{n:x}'")),
            list(13, &|n| format!("'name{n:02}.lan'")),
            list(4, &|n| format!("{{ prefix = '2001:db8:{n:x}::/96' }}")),
        );
        let config = config(&text);
        assert_eq!(config.mistakes(), []);
        let frame = told(&config, false);
        assert!(frame.len() - 14 <= 1280, "{}", frame.len());
        assert_eq!(read(&frame).options().clone().count(), 1 + 1 + 16 + 8 + 1 + 1 + 4);
    }
}
