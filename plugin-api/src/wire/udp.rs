//! UDP (RFC 768; over IPv6: RFC 8200 §8.1).

use zerocopy::byteorder::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::checksum::{self, Sum, never_zero};

reasons! {
    /// Why bytes are not a UDP datagram.
    pub enum UdpMalformed {
        /// Fewer than 8 bytes.
        Truncated = "udp header truncated",
        /// The length does not cover the header itself.
        LengthShort = "udp length below 8",
        /// The length is beyond the packet.
        LengthBeyond = "udp length beyond packet",
    }
}

/// The UDP header. The setters of the ports keep the checksum right if there is one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct UdpHeader {
    source_port: U16,
    destination_port: U16,
    length: U16,
    checksum: U16,
}

wire_header!(UdpHeader, 8);

impl UdpHeader {
    /// A header without a checksum; `None` when header and payload are beyond 65,535 bytes.
    #[inline]
    pub fn new(source_port: u16, destination_port: u16, payload_length: usize) -> Option<Self> {
        let length = u16::try_from(payload_length.checked_add(Self::LENGTH)?).ok()?;
        Some(Self {
            source_port: U16::new(source_port),
            destination_port: U16::new(destination_port),
            length: U16::new(length),
            checksum: U16::ZERO,
        })
    }

    /// The checked header at the front of `bytes`, the first segment of an IP payload of `packet_length`
    /// bytes. The checksum is not looked at.
    ///
    /// # Errors
    /// The first thing that is wrong, in the order of `UdpMalformed`.
    #[inline]
    pub fn check(bytes: &[u8], packet_length: usize) -> Result<&Self, UdpMalformed> {
        let Some((header, _)) = Self::parse(bytes) else {
            return Err(UdpMalformed::Truncated);
        };
        let length = header.length() as usize;
        if length < Self::LENGTH {
            return Err(UdpMalformed::LengthShort);
        }
        if length > packet_length {
            return Err(UdpMalformed::LengthBeyond);
        }
        Ok(header)
    }

    /// The source port; 0 when no answer is wanted.
    #[inline]
    pub const fn source_port(&self) -> u16 {
        self.source_port.get()
    }

    /// The destination port.
    #[inline]
    pub const fn destination_port(&self) -> u16 {
        self.destination_port.get()
    }

    /// Bytes of header and payload.
    #[inline]
    pub const fn length(&self) -> u16 {
        self.length.get()
    }

    /// The checksum as stored; 0 means that there is none, which IPv4 allows.
    #[inline]
    pub const fn checksum(&self) -> u16 {
        self.checksum.get()
    }

    /// Whether there is a checksum.
    #[inline]
    pub const fn has_checksum(&self) -> bool {
        self.checksum.get() != 0
    }

    /// Whether the checksum of a datagram (header and payload, exactly) is right under that pseudo header.
    /// One without a checksum is not: whether that is allowed is the IP version's matter.
    #[inline]
    pub fn is_checksum_valid(pseudo: Sum, datagram: &[u8]) -> bool {
        pseudo.add_bytes(datagram).is_valid()
            && Self::parse(datagram).is_some_and(|(udp, _)| udp.has_checksum())
    }

    /// Stores the checksum over that pseudo header, this header and the payload.
    #[inline]
    pub fn fill_checksum(&mut self, pseudo: Sum, payload: &[u8]) {
        self.checksum = U16::ZERO;
        let sum = pseudo.add_bytes(self.as_bytes()).add_bytes(payload);
        self.checksum = U16::new(sum.udp_checksum());
    }

    /// Stores a checksum as it is.
    #[inline]
    pub fn set_checksum(&mut self, checksum: u16) {
        self.checksum = U16::new(checksum);
    }

    /// Sets the bytes of header and payload; the checksum does not follow.
    #[inline]
    pub fn set_length(&mut self, length: u16) {
        self.length = U16::new(length);
    }

    /// Sets the source port.
    #[inline]
    pub fn set_source_port(&mut self, port: u16) {
        self.update(self.source_port.get(), port);
        self.source_port = U16::new(port);
    }

    /// Sets the destination port.
    #[inline]
    pub fn set_destination_port(&mut self, port: u16) {
        self.update(self.destination_port.get(), port);
        self.destination_port = U16::new(port);
    }

    /// Changes the checksum, if there is one, as that difference in the data or pseudo header asks; never to
    /// 0.
    #[inline]
    pub fn apply(&mut self, delta: checksum::Delta) {
        if self.has_checksum() {
            self.checksum = U16::new(never_zero(delta.apply(self.checksum.get())));
        }
    }

    #[inline]
    fn update(&mut self, old: u16, new: u16) {
        if self.has_checksum() {
            self.checksum = U16::new(never_zero(checksum::update_u16(self.checksum.get(), old, new)));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use smoltcp::wire as oracle;

    use super::*;
    use crate::wire::checksum::Delta;
    use crate::wire::{Ip4Address, IpProtocol};

    const FROM: Ip4Address = Ip4Address([10, 0, 0, 1]);
    const TO: Ip4Address = Ip4Address([10, 0, 0, 2]);

    fn pseudo(length: usize) -> Sum {
        Sum::pseudo_ip4(FROM, TO, IpProtocol::UDP, length as u16)
    }

    #[test]
    fn refuses_datagrams_by_length() {
        let bytes = [0x13, 0x88, 0, 53, 0, 12, 0, 0, 1, 2, 3, 4];
        let udp = UdpHeader::check(&bytes, 12).unwrap();
        assert_eq!((udp.source_port(), udp.destination_port(), udp.length()), (5000, 53, 12));
        assert!(!udp.has_checksum() && !UdpHeader::is_checksum_valid(pseudo(12), &bytes));
        for length in 0..12 {
            let reason = if length < 8 { UdpMalformed::Truncated } else { UdpMalformed::LengthBeyond };
            assert_eq!(UdpHeader::check(&bytes[..length], length), Err(reason), "{length}");
        }
        assert_eq!(UdpHeader::check(&[0, 1, 0, 2, 0, 7, 0, 0], 8), Err(UdpMalformed::LengthShort));
        assert!(UdpHeader::new(1, 2, 65_528).is_none());
    }

    #[test]
    fn absent_checksum_stays_absent() {
        let mut udp = UdpHeader::new(1, 2, 0).unwrap();
        udp.set_source_port(3);
        udp.apply(Delta::between(Sum::new(), Sum::new().add_u16(9)));
        assert_eq!((udp.source_port(), udp.checksum()), (3, 0));
    }

    proptest! {
        #[test]
        fn checksum_is_what_smoltcp_takes(ports: [u16; 4], payload: Vec<u8>) {
            let mut udp = UdpHeader::new(ports[0], ports[1], payload.len()).unwrap();
            udp.fill_checksum(pseudo(8 + payload.len()), &payload);
            for port in [None, Some((ports[2], ports[3]))] {
                if let Some((source, destination)) = port {
                    udp.set_source_port(source);
                    udp.set_destination_port(destination);
                }
                let bytes = [udp.as_bytes(), &payload[..]].concat();
                prop_assert!(UdpHeader::is_checksum_valid(pseudo(bytes.len()), &bytes));
                let theirs = oracle::UdpPacket::new_checked(&bytes[..]).unwrap();
                prop_assert!(theirs.verify_checksum(&FROM.to_std().into(), &TO.to_std().into()));
                prop_assert_eq!((theirs.src_port(), theirs.dst_port()), (udp.source_port(), udp.destination_port()));
            }
        }

        #[test]
        fn checksum_is_never_written_as_zero(port: u16, sum: u16) {
            let mut udp = UdpHeader::new(0, 0, 0).unwrap();
            udp.set_checksum(sum.max(1));
            udp.set_source_port(port);
            prop_assert!(udp.has_checksum());
        }
    }
}
