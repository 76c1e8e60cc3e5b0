//! ARP for IPv4 over Ethernet (RFC 826, RFC 5227).

use std::fmt;

use zerocopy::byteorder::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{EtherType, Ip4Address, MacAddress};

/// What an ARP packet asks or says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(transparent)]
pub struct ArpOperation(pub u16);

impl ArpOperation {
    /// Who has the target address?
    pub const REQUEST: Self = Self(1);
    /// The sender has it.
    pub const REPLY: Self = Self(2);
}

impl fmt::Display for ArpOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::REQUEST => f.pad("request"),
            Self::REPLY => f.pad("reply"),
            Self(number) => write!(f, "operation {number}"),
        }
    }
}

reasons! {
    /// Why bytes are not an ARP packet for IPv4 over Ethernet.
    pub enum ArpMalformed {
        /// Fewer than 28 bytes.
        Truncated = "arp packet truncated",
        /// `ar$hrd` is not 1.
        HardwareType = "arp hardware type is not ethernet",
        /// `ar$pro` is not 0x0800.
        ProtocolType = "arp protocol type is not ip4",
        /// `ar$hln` is not 6 or `ar$pln` is not 4.
        AddressLengths = "arp address lengths are not 6 and 4",
    }
}

/// An ARP packet for IPv4 over Ethernet; only `parse` and the builders make one, so its types and lengths are
/// right.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ArpPacket {
    hardware_type: U16,
    protocol_type: U16,
    hardware_length: u8,
    protocol_length: u8,
    operation: U16,
    /// The sender's MAC address.
    pub sender_mac: MacAddress,
    /// The sender's IPv4 address; 0.0.0.0 in a probe.
    pub sender_ip: Ip4Address,
    /// The target's MAC address; zero in a request.
    pub target_mac: MacAddress,
    /// The target's IPv4 address.
    pub target_ip: Ip4Address,
}

const _: () = assert!(size_of::<ArpPacket>() == ArpPacket::LENGTH && align_of::<ArpPacket>() == 1);

impl ArpPacket {
    /// Bytes on the wire.
    pub const LENGTH: usize = 28;

    /// The packet at the front of `bytes`; Ethernet padding may follow.
    ///
    /// # Errors
    /// The first thing that is wrong, in the order of the fields (RFC 826 "Packet Reception").
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<&Self, ArpMalformed> {
        let Ok((packet, _)) = Self::ref_from_prefix(bytes) else {
            return Err(ArpMalformed::Truncated);
        };
        if packet.hardware_type.get() != HARDWARE_ETHERNET {
            return Err(ArpMalformed::HardwareType);
        }
        if packet.protocol_type.get() != EtherType::IP4.0 {
            return Err(ArpMalformed::ProtocolType);
        }
        if packet.hardware_length != 6 || packet.protocol_length != 4 {
            return Err(ArpMalformed::AddressLengths);
        }
        Ok(packet)
    }

    /// Asks who has `target_ip`.
    pub const fn request(sender_mac: MacAddress, sender_ip: Ip4Address, target_ip: Ip4Address) -> Self {
        Self::new(ArpOperation::REQUEST, sender_mac, sender_ip, MacAddress::ZERO, target_ip)
    }

    /// Asks whether anyone has an address that we mean to use (RFC 5227 §2.1.1).
    pub const fn probe(sender_mac: MacAddress, ip: Ip4Address) -> Self {
        Self::request(sender_mac, Ip4Address::UNSPECIFIED, ip)
    }

    /// Tells everyone that `ip` is at `mac` (RFC 5227 §2.3).
    pub const fn announcement(mac: MacAddress, ip: Ip4Address) -> Self {
        Self::request(mac, ip, ip)
    }

    /// Answers this request: its target is at `mac`.
    pub const fn reply(&self, mac: MacAddress) -> Self {
        Self::new(ArpOperation::REPLY, mac, self.target_ip, self.sender_mac, self.sender_ip)
    }

    /// What it asks or says.
    #[inline]
    pub const fn operation(&self) -> ArpOperation {
        ArpOperation(self.operation.get())
    }

    /// Whether the sender claims an address of its own accord: sender and target address are one (RFC 5227
    /// §3).
    #[inline]
    pub fn is_gratuitous(&self) -> bool {
        self.sender_ip == self.target_ip
    }

    /// Copies the packet to the front of `bytes`; gives what follows it, or `None` when it does not fit.
    #[inline]
    pub fn write_to<'a>(&self, bytes: &'a mut [u8]) -> Option<&'a mut [u8]> {
        let (front, rest) = bytes.split_at_mut_checked(Self::LENGTH)?;
        front.copy_from_slice(self.as_bytes());
        Some(rest)
    }

    const fn new(
        operation: ArpOperation,
        sender_mac: MacAddress,
        sender_ip: Ip4Address,
        target_mac: MacAddress,
        target_ip: Ip4Address,
    ) -> Self {
        Self {
            hardware_type: U16::new(HARDWARE_ETHERNET),
            protocol_type: U16::new(EtherType::IP4.0),
            hardware_length: 6,
            protocol_length: 4,
            operation: U16::new(operation.0),
            sender_mac,
            sender_ip,
            target_mac,
            target_ip,
        }
    }
}

const HARDWARE_ETHERNET: u16 = 1;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use smoltcp::wire as oracle;

    use super::*;

    const REQUEST: [u8; 28] = [
        0x00, 0x01, 0x08, 0x00, 0x06, 0x04, 0x00, 0x01, 0x02, 0x00, 0x00, 0x00, 0x00, 0x01, 192, 0, 2, 1, 0,
        0, 0, 0, 0, 0, 192, 0, 2, 2,
    ];

    #[test]
    fn reads_a_request_and_answers_it() {
        let request = ArpPacket::parse(&REQUEST).unwrap();
        let (mac, ip) = (MacAddress([2, 0, 0, 0, 0, 1]), Ip4Address([192, 0, 2, 1]));
        assert_eq!(*request, ArpPacket::request(mac, ip, Ip4Address([192, 0, 2, 2])));
        assert!(!request.is_gratuitous());
        let reply = request.reply(MacAddress([2, 0, 0, 0, 0, 2]));
        assert_eq!(reply.operation(), ArpOperation::REPLY);
        assert_eq!(
            (reply.sender_ip, reply.target_ip, reply.target_mac),
            (Ip4Address([192, 0, 2, 2]), ip, mac)
        );
        assert!(ArpPacket::announcement(mac, ip).is_gratuitous());
        assert_eq!(ArpPacket::probe(mac, ip).sender_ip, Ip4Address::UNSPECIFIED);
    }

    #[test]
    fn refuses_packets_cut_at_every_byte() {
        for length in 0..28 {
            assert_eq!(ArpPacket::parse(&REQUEST[..length]), Err(ArpMalformed::Truncated), "{length}");
        }
    }

    #[test]
    fn refuses_other_media_and_protocols() {
        for (offset, reason) in [
            (0, ArpMalformed::HardwareType),
            (1, ArpMalformed::HardwareType),
            (2, ArpMalformed::ProtocolType),
            (3, ArpMalformed::ProtocolType),
            (4, ArpMalformed::AddressLengths),
            (5, ArpMalformed::AddressLengths),
        ] {
            let mut packet = REQUEST;
            packet[offset] ^= 0x10;
            assert_eq!(ArpPacket::parse(&packet), Err(reason), "{offset}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_smoltcp(operation in 1u16..3, senders: [u8; 10], targets: [u8; 10]) {
            let mut bytes = REQUEST;
            bytes[6..8].copy_from_slice(&operation.to_be_bytes());
            bytes[8..18].copy_from_slice(&senders);
            bytes[18..28].copy_from_slice(&targets);
            let ours = ArpPacket::parse(&bytes).unwrap();
            let packet = oracle::ArpPacket::new_checked(&bytes[..]).unwrap();
            let oracle::ArpRepr::EthernetIpv4 {
                operation: theirs, source_hardware_addr, source_protocol_addr, target_hardware_addr, target_protocol_addr,
            } = oracle::ArpRepr::parse(&packet).unwrap() else { panic!("not ethernet") };
            prop_assert_eq!(ours.operation().0, u16::from(theirs));
            prop_assert_eq!(ours.sender_mac.0, source_hardware_addr.0);
            prop_assert_eq!(ours.target_mac.0, target_hardware_addr.0);
            prop_assert_eq!(ours.sender_ip.to_std(), source_protocol_addr);
            prop_assert_eq!(ours.target_ip.to_std(), target_protocol_addr);
        }
    }
}
