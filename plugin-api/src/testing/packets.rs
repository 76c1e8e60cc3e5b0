//! Valid packets, made from what a test wants to say about them.
//!
//! ```
//! use raddle_plugin_api::testing::packets;
//! use raddle_plugin_api::wire::TcpFlags;
//!
//! let syn = packets::tcp("192.0.2.2:4242", "198.51.100.2:80").flags(TcpFlags::SYN).ttl(3).to_vec();
//! assert_eq!((syn.len(), syn[8]), (40, 3));
//! let ping = packets::echo("2001:db8::1", "2001:db8::2").payload(b"abc").ethernet().to_vec();
//! assert_eq!(ping.len(), 14 + 40 + 8 + 3);
//! ```

use std::net::{IpAddr, SocketAddr};

use zerocopy::IntoBytes;

use super::Sample;
use crate::wire::{
    EtherType, EthernetHeader, Icmp4Header, Icmp6Header, Ip4Address, Ip4Header, Ip6Address, Ip6Header,
    IpProtocol, MacAddress, TcpFlags, TcpHeader, UdpHeader, VlanTag,
};

/// A UDP datagram between two sockets, `"192.0.2.2:4242"` or `"[2001:db8::2]:4242"`.
///
/// # Panics
/// The text is no such thing, or the two are not of one family.
#[track_caller]
pub fn udp(source: &str, destination: &str) -> IpPacket {
    let (source, destination) = (socket(source), socket(destination));
    let upper = Upper::Udp { source: source.port(), destination: destination.port() };
    IpPacket::new(source.ip(), destination.ip(), upper)
}

/// A TCP segment between two sockets, with sequence number 1, the ACK flag and a window of 65,535.
///
/// # Panics
/// As [`udp`].
#[track_caller]
pub fn tcp(source: &str, destination: &str) -> IpPacket {
    let (source, destination) = (socket(source), socket(destination));
    let upper = Upper::Tcp {
        source: source.port(),
        destination: destination.port(),
        flags: TcpFlags::ACK,
        sequence: 1,
    };
    IpPacket::new(source.ip(), destination.ip(), upper)
}

/// An ICMP echo request between two addresses, identifier 1 and sequence number 1.
///
/// # Panics
/// As [`udp`].
#[track_caller]
pub fn echo(source: &str, destination: &str) -> IpPacket {
    IpPacket::new(address(source), address(destination), Upper::Echo { identifier: 1, sequence: 1 })
}

/// A packet of another protocol, whose header is part of the payload.
///
/// # Panics
/// As [`udp`].
#[track_caller]
pub fn ip(source: &str, destination: &str, protocol: IpProtocol) -> IpPacket {
    IpPacket::new(address(source), address(destination), Upper::Other(protocol))
}

/// A packet in the making; turn it into bytes with [`IpPacket::to_vec`], or hand it to a harness as it is.
#[derive(Clone, Debug)]
pub struct IpPacket {
    addresses: Addresses,
    upper: Upper,
    payload: Vec<u8>,
    hop_limit: u8,
    dont_fragment: bool,
    fragment: Option<(u16, bool)>,
    identification: u16,
    options: Vec<u8>,
    extensions: Vec<(IpProtocol, Vec<u8>)>,
    ethernet: Option<(MacAddress, MacAddress)>,
    vlans: Vec<u16>,
    checksum_error: bool,
}

#[derive(Clone, Copy, Debug)]
enum Addresses {
    Ip4(Ip4Address, Ip4Address),
    Ip6(Ip6Address, Ip6Address),
}

#[derive(Clone, Copy, Debug)]
enum Upper {
    Udp { source: u16, destination: u16 },
    Tcp { source: u16, destination: u16, flags: TcpFlags, sequence: u32 },
    Echo { identifier: u16, sequence: u16 },
    Other(IpProtocol),
}

impl IpPacket {
    #[track_caller]
    fn new(source: IpAddr, destination: IpAddr, upper: Upper) -> Self {
        let addresses = match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                Addresses::Ip4(source.into(), destination.into())
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                Addresses::Ip6(source.into(), destination.into())
            }
            _ => panic!("a packet's addresses are of one family: {source}, {destination}"),
        };
        Self {
            addresses,
            upper,
            payload: Vec::new(),
            hop_limit: 64,
            dont_fragment: false,
            fragment: None,
            identification: 0,
            options: Vec::new(),
            extensions: Vec::new(),
            ethernet: None,
            vlans: Vec::new(),
            checksum_error: false,
        }
    }

    /// Sets the payload.
    #[must_use]
    pub fn payload(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.payload = bytes.as_ref().to_vec();
        self
    }

    /// Sets a payload of `length` bytes that count up.
    #[must_use]
    pub fn payload_length(mut self, length: usize) -> Self {
        self.payload = (0..length).map(|position| position as u8).collect();
        self
    }

    /// Sets TTL or hop limit (by default 64).
    #[must_use]
    pub fn ttl(mut self, ttl: u8) -> Self {
        self.hop_limit = ttl;
        self
    }

    /// Sets TCP's flags; nothing on other protocols.
    #[must_use]
    pub fn flags(mut self, new: TcpFlags) -> Self {
        if let Upper::Tcp { flags, .. } = &mut self.upper {
            *flags = new;
        }
        self
    }

    /// Sets TCP's or echo's sequence number; nothing on other protocols.
    #[must_use]
    pub fn sequence(mut self, new: u32) -> Self {
        match &mut self.upper {
            Upper::Tcp { sequence, .. } => *sequence = new,
            Upper::Echo { sequence, .. } => *sequence = new as u16,
            Upper::Udp { .. } | Upper::Other(_) => {}
        }
        self
    }

    /// Sets echo's identifier; nothing on other protocols.
    #[must_use]
    pub fn identifier(mut self, new: u16) -> Self {
        if let Upper::Echo { identifier, .. } = &mut self.upper {
            *identifier = new;
        }
        self
    }

    /// Sets IPv4's "don't fragment"; nothing on IPv6.
    #[must_use]
    pub fn dont_fragment(mut self) -> Self {
        self.dont_fragment = true;
        self
    }

    /// Sets the identification that fragments share.
    #[must_use]
    pub fn identification(mut self, identification: u16) -> Self {
        self.identification = identification;
        self
    }

    /// Makes it the fragment of a packet that starts at `offset` bytes (a multiple of eight) of the IP payload. One
    /// with an offset has no header of the upper protocol, but its payload only.
    #[must_use]
    pub fn fragment(mut self, offset: u16, more: bool) -> Self {
        self.fragment = Some((offset, more));
        self
    }

    /// Sets IPv4's options, padded to a multiple of four; nothing on IPv6.
    #[must_use]
    pub fn options(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.options = bytes.as_ref().to_vec();
        self.options.resize(self.options.len().next_multiple_of(4), 0);
        self
    }

    /// Adds an IPv6 extension header: its whole bytes, of which the first (the next header) is filled in. Nothing on
    /// IPv4.
    #[must_use]
    pub fn extension(mut self, protocol: IpProtocol, bytes: impl AsRef<[u8]>) -> Self {
        self.extensions.push((protocol, bytes.as_ref().to_vec()));
        self
    }

    /// Puts an Ethernet header in front, from `02:…:01` to `02:…:02`.
    #[must_use]
    pub fn ethernet(self) -> Self {
        self.ethernet_between(MacAddress([2, 0, 0, 0, 0, 1]), MacAddress([2, 0, 0, 0, 0, 2]))
    }

    /// Puts an Ethernet header in front.
    #[must_use]
    pub fn ethernet_between(mut self, source: MacAddress, destination: MacAddress) -> Self {
        self.ethernet = Some((source, destination));
        self
    }

    /// Puts a VLAN tag behind the Ethernet header, inside those that are there.
    #[must_use]
    pub fn vlan(mut self, vlan: u16) -> Self {
        self.vlans.push(vlan);
        self
    }

    /// Makes the checksum of the upper protocol wrong; that of the IPv4 header where there is no other.
    #[must_use]
    pub fn wrong_checksum(mut self) -> Self {
        self.checksum_error = true;
        self
    }

    /// The packet's bytes.
    ///
    /// # Panics
    /// The packet would be longer than IP allows.
    #[track_caller]
    pub fn to_vec(&self) -> Vec<u8> {
        let ip = match self.addresses {
            Addresses::Ip4(source, destination) => self.ip4(source, destination),
            Addresses::Ip6(source, destination) => self.ip6(source, destination),
        };
        let Some((source, destination)) = self.ethernet else { return ip };
        let inner = match self.addresses {
            Addresses::Ip4(..) => EtherType::IP4,
            Addresses::Ip6(..) => EtherType::IP6,
        };
        let first = if self.vlans.is_empty() { inner } else { EtherType::VLAN };
        let mut bytes = EthernetHeader::new(destination, source, first).as_bytes().to_vec();
        for (position, &vlan) in self.vlans.iter().enumerate() {
            let next = if position + 1 == self.vlans.len() { inner } else { EtherType::VLAN };
            bytes.extend_from_slice(VlanTag::new(vlan, 0, next).as_bytes());
        }
        bytes.extend_from_slice(&ip);
        bytes
    }

    #[track_caller]
    fn ip4(&self, source: Ip4Address, destination: Ip4Address) -> Vec<u8> {
        let protocol = match self.upper {
            Upper::Udp { .. } => IpProtocol::UDP,
            Upper::Tcp { .. } => IpProtocol::TCP,
            Upper::Echo { .. } => IpProtocol::ICMP4,
            Upper::Other(protocol) => protocol,
        };
        let upper_length = self.upper_length();
        // Documented: the packet fits IP.
        let mut header = Ip4Header::new(protocol, source, destination, self.options.len() + upper_length)
            .expect("an IPv4 packet has at most 65,535 bytes");
        let pseudo = header.pseudo_header(upper_length as u16);
        let upper = match self.upper {
            _ if self.is_later_fragment() => self.payload.clone(),
            Upper::Echo { identifier, sequence } => {
                let mut icmp = Icmp4Header::echo_request(identifier, sequence, &self.payload);
                icmp.set_checksum(icmp.checksum() ^ self.error());
                [icmp.as_bytes(), &self.payload].concat()
            }
            _ => self.transport(pseudo),
        };
        header.set_ttl(self.hop_limit);
        header.set_dont_fragment(self.dont_fragment);
        header.set_identification(self.identification);
        if let Some((offset, more)) = self.fragment {
            header.set_fragment(offset, more);
        }
        header.set_options(&self.options);
        let mut bytes = [header.as_bytes(), &self.options, &upper].concat();
        if matches!(self.upper, Upper::Other(_)) && self.checksum_error {
            bytes[10] ^= 0x55;
        }
        bytes
    }

    #[track_caller]
    fn ip6(&self, source: Ip6Address, destination: Ip6Address) -> Vec<u8> {
        let protocol = match self.upper {
            Upper::Udp { .. } => IpProtocol::UDP,
            Upper::Tcp { .. } => IpProtocol::TCP,
            Upper::Echo { .. } => IpProtocol::ICMP6,
            Upper::Other(protocol) => protocol,
        };
        let mut extensions = self.extensions.clone();
        if let Some((offset, more)) = self.fragment {
            let [high, low] = (offset & !7 | u16::from(more)).to_be_bytes();
            let [id_high, id_low] = self.identification.to_be_bytes();
            extensions.push((IpProtocol::FRAGMENT, vec![0, 0, high, low, 0, 0, id_high, id_low]));
        }
        let first = extensions.first().map_or(protocol, |(kind, _)| *kind);
        let mut chain = Vec::new();
        for (position, (_, bytes)) in extensions.iter().enumerate() {
            let next = extensions.get(position + 1).map_or(protocol, |(kind, _)| *kind);
            let start = chain.len();
            chain.extend_from_slice(bytes);
            if let Some(byte) = chain.get_mut(start) {
                *byte = next.0;
            }
        }
        let upper_length = self.upper_length();
        // Documented: the packet fits IP.
        let mut header = Ip6Header::new(first, source, destination, chain.len() + upper_length)
            .expect("an IPv6 payload has at most 65,535 bytes");
        let upper = match self.upper {
            _ if self.is_later_fragment() => self.payload.clone(),
            Upper::Echo { identifier, sequence } => {
                let mut icmp = Icmp6Header::echo_request(&header, identifier, sequence, &self.payload);
                icmp.set_checksum(icmp.checksum() ^ self.error());
                [icmp.as_bytes(), &self.payload].concat()
            }
            _ => self.transport(header.pseudo_header(protocol, upper_length as u32)),
        };
        header.set_hop_limit(self.hop_limit);
        [header.as_bytes(), &chain, &upper].concat()
    }

    fn transport(&self, pseudo: crate::wire::checksum::Sum) -> Vec<u8> {
        let payload = &self.payload;
        match self.upper {
            Upper::Udp { source, destination } => {
                // The IP header was made for the same length.
                let mut udp = UdpHeader::new(source, destination, payload.len())
                    .expect("a datagram has at most 65,535 bytes");
                udp.fill_checksum(pseudo, payload);
                udp.set_checksum(udp.checksum() ^ self.error());
                [udp.as_bytes(), payload].concat()
            }
            Upper::Tcp { source, destination, flags, sequence } => {
                let mut tcp = TcpHeader::new(source, destination, sequence, 0, flags);
                tcp.set_window(u16::MAX);
                tcp.fill_checksum(pseudo, payload);
                tcp.set_checksum(tcp.checksum() ^ self.error());
                [tcp.as_bytes(), payload].concat()
            }
            Upper::Echo { .. } | Upper::Other(_) => payload.clone(),
        }
    }

    fn upper_length(&self) -> usize {
        let header = match self.upper {
            _ if self.is_later_fragment() => 0,
            Upper::Udp { .. } => UdpHeader::LENGTH,
            Upper::Tcp { .. } => TcpHeader::LENGTH,
            Upper::Echo { .. } => Icmp4Header::LENGTH,
            Upper::Other(_) => 0,
        };
        header + self.payload.len()
    }

    fn is_later_fragment(&self) -> bool {
        self.fragment.is_some_and(|(offset, _)| offset > 0)
    }

    fn error(&self) -> u16 {
        if self.checksum_error { 0x5555 } else { 0 }
    }
}

impl From<IpPacket> for Sample {
    #[track_caller]
    fn from(packet: IpPacket) -> Self {
        Self::new(packet.to_vec())
    }
}

impl From<&IpPacket> for Sample {
    #[track_caller]
    fn from(packet: &IpPacket) -> Self {
        Self::new(packet.to_vec())
    }
}

#[track_caller]
fn socket(text: &str) -> SocketAddr {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is an address with a port"))
}

#[track_caller]
fn address(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is an IP address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// etherparse is the judge: every length and checksum must be what it computes itself.
    fn judge(packet: &IpPacket) {
        let bytes = packet.to_vec();
        let parsed = etherparse::PacketHeaders::from_ip_slice(&bytes).unwrap();
        let payload = parsed.payload.slice();
        let Some(net) = parsed.net else { panic!("there is an IP header") };
        let (wanted, found) = match (&net, parsed.transport) {
            (etherparse::NetHeaders::Ipv4(ip, _), Some(transport)) => {
                assert_eq!(ip.header_checksum, ip.calc_header_checksum());
                match transport {
                    etherparse::TransportHeader::Udp(h) => (h.calc_checksum_ipv4(ip, payload), h.checksum),
                    etherparse::TransportHeader::Tcp(h) => (h.calc_checksum_ipv4(ip, payload), h.checksum),
                    etherparse::TransportHeader::Icmpv4(h) => {
                        (Ok(h.icmp_type.calc_checksum(payload)), h.checksum)
                    }
                    other => panic!("{other:?} in IPv4"),
                }
            }
            (etherparse::NetHeaders::Ipv6(ip, _), Some(transport)) => match transport {
                etherparse::TransportHeader::Udp(h) => (h.calc_checksum_ipv6(ip, payload), h.checksum),
                etherparse::TransportHeader::Tcp(h) => (h.calc_checksum_ipv6(ip, payload), h.checksum),
                etherparse::TransportHeader::Icmpv6(h) => {
                    let sum = h.icmp_type.calc_checksum(ip.source, ip.destination, payload);
                    (Ok(sum.unwrap()), h.checksum)
                }
                other => panic!("{other:?} in IPv6"),
            },
            other => panic!("a transport header: {other:?}"),
        };
        assert_eq!(wanted.unwrap(), found);
    }

    #[test]
    fn packets_are_valid_in_the_eyes_of_another() {
        for packet in [
            udp("192.0.2.1:1000", "198.51.100.1:53").payload(b"odd"),
            udp("[2001:db8::1]:1000", "[2001:db8::2]:53").payload(b"even"),
            tcp("192.0.2.1:1000", "198.51.100.1:80").flags(TcpFlags::SYN).ttl(1).dont_fragment(),
            tcp("[2001:db8::1]:1", "[2001:db8::2]:2").payload_length(1400).sequence(77),
            echo("192.0.2.1", "198.51.100.1").payload_length(56),
            echo("2001:db8::1", "2001:db8::2").identifier(9).sequence(3).payload_length(57),
            udp("192.0.2.1:1", "192.0.2.2:2").options([0x94, 4, 0, 0]),
            udp("[2001:db8::1]:1", "[2001:db8::2]:2")
                .extension(IpProtocol::HOP_BY_HOP, [0, 0, 1, 4, 0, 0, 0, 0]),
        ] {
            judge(&packet);
        }
    }

    #[test]
    #[should_panic(expected = "of one family")]
    fn addresses_of_two_families_are_refused() {
        let _ = echo("192.0.2.1", "2001:db8::1");
    }
}
