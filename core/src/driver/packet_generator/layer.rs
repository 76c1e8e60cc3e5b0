//! The layers of a template: their names, their headers' first bytes, what they may be told.

use super::fields::{self, Field};

/// A layer of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerKind {
    /// Ethernet header.
    Eth,
    /// VLAN tag (IEEE 802.1Q).
    Vlan,
    /// ARP for IPv4 over Ethernet (RFC 826).
    Arp,
    /// IPv4 header (RFC 791).
    Ip4,
    /// IPv6 header (RFC 8200).
    Ip6,
    /// IPv6 hop-by-hop options (RFC 8200 §4.3).
    HopByHop,
    /// IPv6 destination options (RFC 8200 §4.6).
    DestinationOptions,
    /// IPv6 fragment header (RFC 8200 §4.5).
    Fragment,
    /// UDP header (RFC 768).
    Udp,
    /// TCP header (RFC 9293).
    Tcp,
    /// ICMP for IPv4 (RFC 792).
    Icmp,
    /// ICMP for IPv6 (RFC 4443).
    Icmp6,
    /// Bytes as they are.
    Hex,
    /// Bytes that are repeated to fill the packet's size.
    Payload,
}

/// Where a layer's checksum lies and what it covers beside the layer's own bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// The header alone.
    Header,
    /// From the header to the packet's end.
    Message,
    /// The same with the pseudo header of the IP layer in front.
    Pseudo,
}

const IP6: &[u8] = &{
    let mut header = [0; 40];
    header[0] = 0x60;
    header[7] = 64;
    header
};

impl LayerKind {
    /// Every kind.
    pub const ALL: &'static [Self] = &[
        Self::Eth,
        Self::Vlan,
        Self::Arp,
        Self::Ip4,
        Self::Ip6,
        Self::HopByHop,
        Self::DestinationOptions,
        Self::Fragment,
        Self::Udp,
        Self::Tcp,
        Self::Icmp,
        Self::Icmp6,
        Self::Hex,
        Self::Payload,
    ];

    /// The word that begins the layer.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Eth => "eth",
            Self::Vlan => "vlan",
            Self::Arp => "arp",
            Self::Ip4 => "ip4",
            Self::Ip6 => "ip6",
            Self::HopByHop => "hop-by-hop",
            Self::DestinationOptions => "destination-options",
            Self::Fragment => "fragment",
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Icmp => "icmp",
            Self::Icmp6 => "icmp6",
            Self::Hex => "hex",
            Self::Payload => "payload",
        }
    }

    /// The kind of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name)
    }

    /// Its fields; the first two are those of `A > B` if [`Self::has_direction`].
    pub const fn fields(self) -> &'static [Field] {
        match self {
            Self::Eth => fields::ETH,
            Self::Vlan => fields::VLAN,
            Self::Arp => fields::ARP,
            Self::Ip4 => fields::IP4,
            Self::Ip6 => fields::IP6,
            Self::HopByHop | Self::DestinationOptions => fields::EXTENSION,
            Self::Fragment => fields::FRAGMENT,
            Self::Udp => fields::UDP,
            Self::Tcp => fields::TCP,
            Self::Icmp | Self::Icmp6 => fields::ICMP,
            Self::Hex | Self::Payload => &[],
        }
    }

    /// Whether it begins with `SOURCE > DESTINATION`.
    pub const fn has_direction(self) -> bool {
        matches!(self, Self::Eth | Self::Arp | Self::Ip4 | Self::Ip6 | Self::Udp | Self::Tcp)
    }

    /// Whether it begins with a value of its first field.
    pub const fn has_leading_value(self) -> bool {
        matches!(self, Self::Vlan)
    }

    /// Words that set bits of the header: offset of the byte, bits, word.
    pub const fn flags(self) -> &'static [(&'static str, usize, u8)] {
        match self {
            Self::Ip4 => &[("df", 6, 0x40), ("mf", 6, 0x20), ("reserved-flag", 6, 0x80)],
            Self::Fragment => &[("more", 3, 1)],
            Self::Tcp => &[
                ("fin", 13, 0x01),
                ("syn", 13, 0x02),
                ("rst", 13, 0x04),
                ("psh", 13, 0x08),
                ("ack", 13, 0x10),
                ("urg", 13, 0x20),
                ("ece", 13, 0x40),
                ("cwr", 13, 0x80),
            ],
            Self::Icmp => &[("echo", 0, 8), ("echo-reply", 0, 0)],
            Self::Icmp6 => &[("echo", 0, 128), ("echo-reply", 0, 129)],
            _ => &[],
        }
    }

    /// Whether its flags stand behind the word `flags`, joined by commas (a field of that name could not be told from
    /// them otherwise: `ack`).
    pub const fn flags_are_listed(self) -> bool {
        matches!(self, Self::Tcp)
    }

    /// Offset and coverage of its checksum.
    pub const fn checksum(self) -> Option<(usize, Coverage)> {
        match self {
            Self::Ip4 => Some((10, Coverage::Header)),
            Self::Udp => Some((6, Coverage::Pseudo)),
            Self::Tcp => Some((16, Coverage::Pseudo)),
            Self::Icmp => Some((2, Coverage::Message)),
            Self::Icmp6 => Some((2, Coverage::Pseudo)),
            _ => None,
        }
    }

    /// Whether it takes `options HEX`, and how many bytes at most.
    pub const fn options_limit(self) -> Option<usize> {
        match self {
            Self::Ip4 | Self::Tcp => Some(40),
            Self::HopByHop | Self::DestinationOptions => Some(2046),
            _ => None,
        }
    }

    /// Its header before anything is set: what is usual.
    pub const fn header(self) -> &'static [u8] {
        match self {
            Self::Eth => &[0; 14],
            Self::Vlan => &[0; 4],
            Self::Arp => {
                &[0, 1, 8, 0, 6, 4, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
            }
            Self::Ip4 => &[0x45, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            Self::Ip6 => IP6,
            // What is not set otherwise is PadN (RFC 8200 §4.2).
            Self::HopByHop | Self::DestinationOptions => &[0, 0, 1, 4, 0, 0, 0, 0],
            Self::Fragment | Self::Udp => &[0; 8],
            Self::Tcp => &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0, 0xff, 0xff, 0, 0, 0, 0],
            Self::Icmp => &[8, 0, 0, 0, 0, 0, 0, 0],
            Self::Icmp6 => &[128, 0, 0, 0, 0, 0, 0, 0],
            Self::Hex | Self::Payload => &[],
        }
    }

    /// The EtherType that announces it.
    pub const fn ethertype(self) -> Option<u16> {
        match self {
            Self::Vlan => Some(0x8100),
            Self::Arp => Some(0x0806),
            Self::Ip4 => Some(0x0800),
            Self::Ip6 => Some(0x86dd),
            _ => None,
        }
    }

    /// The IP protocol number that announces it.
    pub const fn protocol(self) -> Option<u8> {
        match self {
            Self::Ip4 => Some(4),
            Self::Ip6 => Some(41),
            Self::HopByHop => Some(0),
            Self::DestinationOptions => Some(60),
            Self::Fragment => Some(44),
            Self::Udp => Some(17),
            Self::Tcp => Some(6),
            Self::Icmp => Some(1),
            Self::Icmp6 => Some(58),
            _ => None,
        }
    }
}
