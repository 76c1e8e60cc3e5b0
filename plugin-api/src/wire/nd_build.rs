//! Neighbour discovery messages to send: whole ICMPv6 messages with checksum (RFC 4861 §4.2–§4.4).
//!
//! They go out with hop limit 255 under an IPv6 header with the same addresses.

use zerocopy::IntoBytes;

use super::checksum::Sum;
use super::nd_option::{MTU, NONCE, SOURCE_LINK_LAYER, TARGET_LINK_LAYER};
use super::nd_router::{DNSSL, RDNSS, write_domain_name};
use super::{
    Icmp6Header, Icmp6Kind, Ip6Address, IpProtocol, MacAddress, NdPref64, NdPrefix, NdRoute, NeighborFlags,
    RouterFlags,
};

/// Writes a neighbour solicitation to the front of `out`: who has `target`? `mac` is the sender's, left out
/// when the source is `::` (duplicate address detection). Gives the message's length, or `None` when it does
/// not fit.
pub fn write_neighbor_solicitation(
    out: &mut [u8],
    source: Ip6Address,
    destination: Ip6Address,
    target: Ip6Address,
    mac: Option<MacAddress>,
) -> Option<usize> {
    let mut message = Message::new(out)?;
    message.put(&target.0)?;
    message.put_link_layer(SOURCE_LINK_LAYER, mac)?;
    message.finish(source, destination, Icmp6Kind::NEIGHBOR_SOLICITATION, 0)
}

/// Writes the solicitation by which duplicates of `target` are looked for, from `::` to its solicited-node group, to the front of
/// `out` (RFC 4862 §5.4.2, RFC 7527 §4.1). By the nonce the sender knows it again. Gives the message's length, or `None`
/// when it does not fit.
pub fn write_duplicate_detection(out: &mut [u8], target: Ip6Address, nonce: [u8; 6]) -> Option<usize> {
    let mut message = Message::new(out)?;
    message.put(&target.0)?;
    message.put(&[NONCE, 1])?;
    message.put(&nonce)?;
    let (source, destination) = (Ip6Address::UNSPECIFIED, target.solicited_node());
    message.finish(source, destination, Icmp6Kind::NEIGHBOR_SOLICITATION, 0)
}

/// Writes a neighbour advertisement to the front of `out`: `target` is at `mac`. Gives the message's length,
/// or `None` when it does not fit.
pub fn write_neighbor_advertisement(
    out: &mut [u8],
    source: Ip6Address,
    destination: Ip6Address,
    flags: NeighborFlags,
    target: Ip6Address,
    mac: Option<MacAddress>,
) -> Option<usize> {
    let mut message = Message::new(out)?;
    message.put(&target.0)?;
    message.put_link_layer(TARGET_LINK_LAYER, mac)?;
    message.finish(source, destination, Icmp6Kind::NEIGHBOR_ADVERTISEMENT, flags.to_bits())
}

/// A router advertisement to send.
#[derive(Clone, Copy, Debug, Default)]
pub struct RouterAdvertisement<'a> {
    /// The hop limit that hosts should use; 0 says nothing.
    pub hop_limit: u8,
    /// Where hosts get addresses and other configuration.
    pub flags: RouterFlags,
    /// How long we are a default router, in seconds; 0: we are none.
    pub lifetime_seconds: u16,
    /// How long a neighbour is reachable after it was heard, in milliseconds; 0 says nothing.
    pub reachable_ms: u32,
    /// Time between solicitations, in milliseconds; 0 says nothing.
    pub retransmit_ms: u32,
    /// Our MAC address.
    pub mac: Option<MacAddress>,
    /// The link's MTU in bytes.
    pub mtu: Option<u32>,
    /// The link's prefixes.
    pub prefixes: &'a [NdPrefix],
    /// Routes by us (RFC 4191).
    pub routes: &'a [NdRoute],
    /// DNS servers, with their lifetime in seconds (RFC 8106).
    pub dns_servers: (&'a [Ip6Address], u32),
    /// Domains in which short names are looked for, with their lifetime in seconds (RFC 8106). Those that are no names are left
    /// out.
    pub search_list: (&'a [String], u32),
    /// Prefixes of translators (RFC 8781).
    pub pref64: &'a [NdPref64],
}

impl RouterAdvertisement<'_> {
    /// Writes the message to the front of `out`; `source` must be link-local. Gives its length, or `None`
    /// when it does not fit.
    pub fn write_to(&self, out: &mut [u8], source: Ip6Address, destination: Ip6Address) -> Option<usize> {
        let mut message = Message::new(out)?;
        message.put(&self.reachable_ms.to_be_bytes())?;
        message.put(&self.retransmit_ms.to_be_bytes())?;
        message.put_link_layer(SOURCE_LINK_LAYER, self.mac)?;
        if let Some(mtu) = self.mtu {
            message.put(&[MTU, 1, 0, 0])?;
            message.put(&mtu.to_be_bytes())?;
        }
        message.put(self.prefixes.as_bytes())?;
        for route in self.routes {
            let (bytes, length) = route.write();
            message.put(&bytes[..length])?;
        }
        let (servers, seconds) = self.dns_servers;
        if !servers.is_empty() {
            let units = u8::try_from(1 + 2 * servers.len()).ok()?;
            message.put(&[RDNSS, units, 0, 0])?;
            message.put(&seconds.to_be_bytes())?;
            servers.iter().try_for_each(|server| message.put(&server.0))?;
        }
        let (names, seconds) = self.search_list;
        let mut list = Vec::new();
        names.iter().for_each(|name| {
            write_domain_name(name, &mut list);
        });
        if !list.is_empty() {
            list.resize(list.len().next_multiple_of(8), 0);
            let units = u8::try_from(1 + list.len() / 8).ok()?;
            message.put(&[DNSSL, units, 0, 0])?;
            message.put(&seconds.to_be_bytes())?;
            message.put(&list)?;
        }
        self.pref64.iter().try_for_each(|prefix| message.put(&prefix.write()))?;
        let [lifetime_high, lifetime_low] = self.lifetime_seconds.to_be_bytes();
        let rest = u32::from_be_bytes([self.hop_limit, self.flags.to_bits(), lifetime_high, lifetime_low]);
        message.finish(source, destination, Icmp6Kind::ROUTER_ADVERTISEMENT, rest)
    }
}

/// A message being written: the header's place, then the body.
struct Message<'a> {
    header: &'a mut [u8],
    body: &'a mut [u8],
    length: usize,
}

impl<'a> Message<'a> {
    fn new(out: &'a mut [u8]) -> Option<Self> {
        let (header, body) = out.split_at_mut_checked(Icmp6Header::LENGTH)?;
        Some(Self { header, body, length: 0 })
    }

    fn put(&mut self, bytes: &[u8]) -> Option<()> {
        self.body.get_mut(self.length..)?.get_mut(..bytes.len())?.copy_from_slice(bytes);
        self.length += bytes.len();
        Some(())
    }

    fn put_link_layer(&mut self, kind: u8, mac: Option<MacAddress>) -> Option<()> {
        let Some(mac) = mac else { return Some(()) };
        self.put(&[kind, 1])?;
        self.put(&mac.0)
    }

    fn finish(
        self,
        source: Ip6Address,
        destination: Ip6Address,
        kind: Icmp6Kind,
        rest: u32,
    ) -> Option<usize> {
        let length = Icmp6Header::LENGTH + self.length;
        let pseudo = Sum::pseudo_ip6(source, destination, IpProtocol::ICMP6, length as u32);
        let header = Icmp6Header::with_pseudo_header(pseudo, kind, 0, rest, &self.body[..self.length]);
        header.write_to(self.header)?;
        Some(length)
    }
}

#[cfg(test)]
mod tests {
    use smoltcp::wire as oracle;

    use super::*;
    use crate::wire::{Ip6Header, NdMessage, NdOption, RouterPreference};

    const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
    const SOURCE: Ip6Address = Ip6Address::link_local_from_mac(MAC);
    const TARGET: Ip6Address = Ip6Address::from_bits(0x2001_0db8 << 96 | 5);

    fn header(destination: Ip6Address) -> Ip6Header {
        let mut ip = Ip6Header::new(IpProtocol::ICMP6, SOURCE, destination, 0).unwrap();
        ip.set_hop_limit(255);
        ip
    }

    fn smoltcp_reads(bytes: &[u8], destination: Ip6Address) -> oracle::NdiscRepr<'_> {
        let packet = oracle::Icmpv6Packet::new_checked(bytes).unwrap();
        assert!(packet.verify_checksum(&SOURCE.to_std(), &destination.to_std()));
        oracle::NdiscRepr::parse(&packet).unwrap()
    }

    fn mac(address: &oracle::RawHardwareAddress) -> &[u8] {
        address.as_bytes()
    }

    #[test]
    fn solicitation_is_read_by_smoltcp_and_ourselves() {
        let mut out = [0xee; 64];
        let to = TARGET.solicited_node();
        let length = write_neighbor_solicitation(&mut out, SOURCE, to, TARGET, Some(MAC)).unwrap();
        assert_eq!((length, out[length]), (32, 0xee));
        let oracle::NdiscRepr::NeighborSolicit { target_addr, lladdr } = smoltcp_reads(&out[..length], to)
        else {
            panic!("another message");
        };
        assert_eq!((target_addr, mac(&lladdr.unwrap())), (TARGET.to_std(), &MAC.0[..]));
        let message = NdMessage::parse(&header(to), &out[..length]).unwrap();
        assert!(matches!(&message, NdMessage::NeighborSolicitation { target: TARGET, .. }));
        assert_eq!(message.options().source_link_layer(), Some(MAC));
        assert_eq!(write_neighbor_solicitation(&mut out, SOURCE, to, TARGET, None), Some(24));
    }

    #[test]
    fn advertisement_is_read_by_smoltcp_and_ourselves() {
        let mut out = [0; 64];
        let said = NeighborFlags { router: true, solicited: true, overrides: false };
        let length = write_neighbor_advertisement(&mut out, SOURCE, TARGET, said, SOURCE, Some(MAC)).unwrap();
        let oracle::NdiscRepr::NeighborAdvert { flags, target_addr, lladdr } =
            smoltcp_reads(&out[..length], TARGET)
        else {
            panic!("another message");
        };
        assert_eq!(flags, oracle::NdiscNeighborFlags::ROUTER | oracle::NdiscNeighborFlags::SOLICITED);
        assert_eq!((target_addr, mac(&lladdr.unwrap())), (SOURCE.to_std(), &MAC.0[..]));
        let message = NdMessage::parse(&header(TARGET), &out[..length]).unwrap();
        assert!(
            matches!(&message, NdMessage::NeighborAdvertisement { flags, target: SOURCE, .. } if *flags == said)
        );
        assert_eq!(message.options().target_link_layer(), Some(MAC));
    }

    #[test]
    fn router_advertisement_is_read_by_smoltcp_and_ourselves() {
        let prefix = NdPrefix::new("2001:db8::/64".parse().unwrap(), true, true, 3600, 1800);
        let advertisement = RouterAdvertisement {
            hop_limit: 64,
            flags: RouterFlags { managed: false, other: true, ..RouterFlags::default() },
            lifetime_seconds: 1800,
            reachable_ms: 30_000,
            retransmit_ms: 1000,
            mac: Some(MAC),
            mtu: Some(1500),
            prefixes: &[prefix],
            ..RouterAdvertisement::default()
        };
        let mut out = [0; 100];
        let to = Ip6Address::ALL_NODES;
        let length = advertisement.write_to(&mut out, SOURCE, to).unwrap();
        let oracle::NdiscRepr::RouterAdvert {
            hop_limit,
            flags,
            router_lifetime,
            lladdr,
            mtu,
            prefix_info,
            ..
        } = smoltcp_reads(&out[..length], to)
        else {
            panic!("another message");
        };
        assert_eq!((hop_limit, router_lifetime.secs(), mtu), (64, 1800, Some(1500)));
        assert_eq!(flags, oracle::NdiscRouterFlags::OTHER);
        assert_eq!(mac(&lladdr.unwrap()), MAC.0);
        let info = prefix_info.unwrap();
        assert_eq!((info.prefix_len, info.prefix), (64, "2001:db8::".parse().unwrap()));
        assert_eq!((info.valid_lifetime.secs(), info.preferred_lifetime.secs()), (3600, 1800));

        let message = NdMessage::parse(&header(to), &out[..length]).unwrap();
        assert!(matches!(
            message,
            NdMessage::RouterAdvertisement {
                hop_limit: 64,
                flags: RouterFlags { managed: false, other: true, .. },
                lifetime_seconds: 1800,
                reachable_ms: 30_000,
                retransmit_ms: 1000,
                ..
            }
        ));
        let options: Vec<_> = message.options().clone().map(Result::unwrap).collect();
        let expected = [NdOption::SourceLinkLayer(MAC), NdOption::Mtu(1500), NdOption::Prefix(&prefix)];
        assert_eq!(options, expected);
    }

    // RFC 4191 §2, RFC 8106 §5, RFC 8781 §4
    #[test]
    fn all_that_routers_tell_reads_back() {
        let route = NdRoute {
            prefix: "2001:db8:9::/48".parse().unwrap(),
            preference: RouterPreference::Low,
            lifetime_seconds: 600,
        };
        let pref64 = NdPref64::new("64:ff9b::/96".parse().unwrap(), 1800).unwrap();
        let names = ["example.org".to_owned(), "lan".to_owned()];
        let advertisement = RouterAdvertisement {
            flags: RouterFlags { preference: RouterPreference::High, ..RouterFlags::default() },
            routes: &[route],
            dns_servers: (&[SOURCE, TARGET], 1200),
            search_list: (&names, 1300),
            pref64: &[pref64],
            ..RouterAdvertisement::default()
        };
        let mut out = [0; 200];
        let to = Ip6Address::ALL_NODES;
        let length = advertisement.write_to(&mut out, SOURCE, to).unwrap();
        assert_eq!(length % 8, 0);
        let message = NdMessage::parse(&header(to), &out[..length]).unwrap();
        let NdMessage::RouterAdvertisement { flags, options, .. } = message else {
            panic!("another message")
        };
        assert_eq!(flags.preference, RouterPreference::High);
        let options: Vec<_> = options.map(Result::unwrap).collect();
        let [NdOption::Route(read), NdOption::DnsServers(servers), NdOption::SearchList(list), last] =
            options[..]
        else {
            panic!("other options: {options:?}");
        };
        assert_eq!((read, last), (route, NdOption::Pref64(pref64)));
        assert_eq!(servers.addresses().collect::<Vec<_>>(), [SOURCE, TARGET]);
        assert_eq!(list.names().collect::<Vec<_>>(), names);
        assert_eq!((servers.lifetime_seconds, list.lifetime_seconds), (1200, 1300));
        for short in 0..length {
            assert_eq!(advertisement.write_to(&mut out[..short], SOURCE, to), None);
        }
    }

    // RFC 4862 §5.4.2, RFC 7527 §4.1
    #[test]
    fn detection_of_duplicates_asks_anonymously_with_a_nonce() {
        let mut out = [0; 64];
        let length = write_duplicate_detection(&mut out, TARGET, [1, 2, 3, 4, 5, 6]).unwrap();
        let mut ip =
            Ip6Header::new(IpProtocol::ICMP6, Ip6Address::UNSPECIFIED, TARGET.solicited_node(), 0).unwrap();
        ip.set_hop_limit(255);
        let message = NdMessage::parse(&ip, &out[..length]).unwrap();
        assert_eq!(message.options().nonce(), Some(&[1, 2, 3, 4, 5, 6][..]));
        assert!(message.options().source_link_layer().is_none());
    }

    #[test]
    fn nothing_is_written_beyond_a_short_buffer() {
        let flags = NeighborFlags::default();
        for length in 0..32 {
            let out = &mut [0; 32][..length];
            assert_eq!(write_neighbor_solicitation(out, SOURCE, TARGET, TARGET, Some(MAC)), None);
            assert_eq!(write_neighbor_advertisement(out, SOURCE, TARGET, flags, TARGET, Some(MAC)), None);
            let advertisement = RouterAdvertisement { mac: Some(MAC), mtu: Some(1), ..Default::default() };
            assert_eq!(advertisement.write_to(out, SOURCE, TARGET), None);
        }
    }
}
