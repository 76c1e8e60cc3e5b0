//! The headers of a packet that stands for many: where they are, and how long.
//!
//! What the sender says of them (the virtio-net header's `hdr_len`) is a hint only and may be wrong or 0 (virtio 1.2
//! §5.1.6.2): they are read from the packet.
#![forbid(unsafe_code)]

use raddle_plugin_api::Packet;
use raddle_plugin_api::wire::{
    EtherType, EthernetHeader, Ip4Header, Ip6Header, Ip6Upper, IpProtocol, Tagged, TcpHeader, UdpHeader,
};

/// Headers of a GSO packet are looked for within so many bytes: link layer, tags, IPv6 with its extensions, TCP.
pub const MAX_HEADER_BYTES: usize = 256;

/// The network protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// IPv4.
    Ip4,
    /// IPv6.
    Ip6,
}

/// The transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// The headers at the front of a packet, with all that is in front of its payload. Positions count from the packet's
/// first byte.
#[derive(Clone, Copy, Debug)]
pub struct GsoHeaders {
    bytes: [u8; MAX_HEADER_BYTES],
    /// Where the IP header stands.
    pub network_at: usize,
    /// Where the TCP or UDP header stands.
    pub transport_at: usize,
    /// Where the payload begins.
    pub payload_at: usize,
    /// What the IP header is.
    pub network: Network,
    /// What the header behind it is.
    pub transport: Transport,
}

impl GsoHeaders {
    /// Reads the headers of `packet`, whose IP header stands at `network_at`. `None` if there is no whole TCP or UDP header,
    /// as in a fragment, or not within [`MAX_HEADER_BYTES`].
    pub fn find(packet: &Packet<'_>, network_at: usize) -> Option<Self> {
        let mut bytes = [0; MAX_HEADER_BYTES];
        let length = packet.copy_out(0, &mut bytes);
        let front = &bytes[..length];
        let ip = front.get(network_at..)?;
        let (network, protocol, transport_at) = match ip.first()? >> 4 {
            4 => {
                let (header, _) = Ip4Header::parse(ip)?;
                let is_whole = header.header_length() >= Ip4Header::LENGTH && !header.is_fragment();
                is_whole.then_some((Network::Ip4, header.protocol(), network_at + header.header_length()))?
            }
            6 => {
                let upper = Ip6Upper::find(ip).ok().filter(|upper| upper.fragment.is_none())?;
                (Network::Ip6, upper.protocol, network_at + upper.offset)
            }
            _ => return None,
        };
        let behind = front.get(transport_at..)?;
        let (transport, header_length) = match protocol {
            IpProtocol::TCP => {
                let (tcp, _) = TcpHeader::parse(behind)?;
                (Transport::Tcp, Some(tcp.header_length()).filter(|length| *length >= TcpHeader::LENGTH)?)
            }
            IpProtocol::UDP => {
                UdpHeader::parse(behind)?;
                (Transport::Udp, UdpHeader::LENGTH)
            }
            _ => return None,
        };
        let payload_at = transport_at + header_length;
        (payload_at <= length).then_some(Self {
            bytes,
            network_at,
            transport_at,
            payload_at,
            network,
            transport,
        })
    }

    /// All bytes in front of the payload.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.payload_at]
    }

    /// All bytes in front of the payload, to be changed.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.payload_at]
    }

    /// Where the transport's checksum stands, from its header on.
    pub const fn checksum_offset(&self) -> u16 {
        match self.transport {
            Transport::Tcp => 16,
            Transport::Udp => 6,
        }
    }

    /// The IPv4 header; `None` of an IPv6 packet.
    pub fn ip4(&self) -> Option<&Ip4Header> {
        let header = Ip4Header::parse(self.bytes.get(self.network_at..)?)?.0;
        (self.network == Network::Ip4).then_some(header)
    }

    /// The IPv6 header; `None` of an IPv4 packet.
    pub fn ip6(&self) -> Option<&Ip6Header> {
        let header = Ip6Header::parse(self.bytes.get(self.network_at..)?)?.0;
        (self.network == Network::Ip6).then_some(header)
    }

    /// The TCP header; `None` of a UDP packet.
    pub fn tcp(&self) -> Option<&TcpHeader> {
        let header = TcpHeader::parse(self.bytes.get(self.transport_at..)?)?.0;
        (self.transport == Transport::Tcp).then_some(header)
    }
}

/// Where the IP header stands in a packet that begins with its Ethernet header: behind up to two tags. `None` if it is no
/// IP packet.
pub fn network_offset(packet: &Packet<'_>) -> Option<usize> {
    let mut bytes = [0; EthernetHeader::LENGTH + 8];
    let length = packet.copy_out(0, &mut bytes);
    let (ethernet, rest) = EthernetHeader::parse(&bytes[..length])?;
    let tagged = Tagged::parse(ethernet.ethertype(), rest)?;
    let is_ip = matches!(tagged.ethertype, EtherType::IP4 | EtherType::IP6);
    is_ip.then_some(EthernetHeader::LENGTH + tagged.tags_length())
}
