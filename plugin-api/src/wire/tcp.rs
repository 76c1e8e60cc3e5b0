//! The TCP header (RFC 9293 §3.1) and its common options (RFC 9293 §3.2, RFC 7323, RFC 2018).

use std::fmt;

use zerocopy::byteorder::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::HeaderOptions;
use super::checksum::{self, Sum};

reasons! {
    /// Why bytes are not a TCP segment.
    pub enum TcpMalformed {
        /// Fewer than 20 bytes.
        Truncated = "tcp header truncated",
        /// The data offset is below 20 bytes.
        DataOffset = "tcp data offset below 20",
        /// The header with its options reaches beyond the data.
        OptionsTruncated = "tcp options truncated",
    }
}

/// The eight control bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(transparent)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// No more data from the sender.
    pub const FIN: Self = Self(0x01);
    /// Synchronise sequence numbers.
    pub const SYN: Self = Self(0x02);
    /// Reset.
    pub const RST: Self = Self(0x04);
    /// Push.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgement number counts.
    pub const ACK: Self = Self(0x10);
    /// The urgent pointer counts.
    pub const URG: Self = Self(0x20);
    /// Congestion was seen (RFC 3168).
    pub const ECE: Self = Self(0x40);
    /// The congestion window was reduced (RFC 3168).
    pub const CWR: Self = Self(0x80);

    /// Whether all of these are set.
    #[inline]
    pub const fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// Whether any of these is set.
    #[inline]
    pub const fn intersects(self, flags: Self) -> bool {
        self.0 & flags.0 != 0
    }

    /// Both sets.
    #[inline]
    #[must_use]
    pub const fn union(self, flags: Self) -> Self {
        Self(self.0 | flags.0)
    }
}

impl fmt::Display for TcpFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 8] = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"];
        let mut names = NAMES.iter().enumerate().filter(|(bit, _)| self.0 >> bit & 1 != 0);
        let Some((_, first)) = names.next() else {
            return f.write_str("none");
        };
        f.write_str(first)?;
        names.try_for_each(|(_, name)| write!(f, ",{name}"))
    }
}

impl fmt::Debug for TcpFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The 20 bytes that every TCP header has. The setters of the ports keep the checksum right if it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct TcpHeader {
    source_port: U16,
    destination_port: U16,
    sequence: U32,
    acknowledgement: U32,
    data_offset: u8,
    flags: u8,
    window: U16,
    checksum: U16,
    urgent: U16,
}

wire_header!(TcpHeader, 20);

impl TcpHeader {
    /// The longest header: with 40 bytes of options.
    pub const MAX_LENGTH: usize = 60;

    /// A header without options, window 0, without a checksum.
    #[inline]
    pub const fn new(
        source_port: u16,
        destination_port: u16,
        sequence: u32,
        acknowledgement: u32,
        flags: TcpFlags,
    ) -> Self {
        Self {
            source_port: U16::new(source_port),
            destination_port: U16::new(destination_port),
            sequence: U32::new(sequence),
            acknowledgement: U32::new(acknowledgement),
            data_offset: 5 << 4,
            flags: flags.0,
            window: U16::ZERO,
            checksum: U16::ZERO,
            urgent: U16::ZERO,
        }
    }

    /// The checked header at the front of `bytes`, which hold its options too. The checksum is not looked at.
    ///
    /// # Errors
    /// The first thing that is wrong, in the order of `TcpMalformed`.
    #[inline]
    pub fn check(bytes: &[u8]) -> Result<&Self, TcpMalformed> {
        let Some((header, _)) = Self::parse(bytes) else {
            return Err(TcpMalformed::Truncated);
        };
        if header.header_length() < Self::LENGTH {
            return Err(TcpMalformed::DataOffset);
        }
        if header.header_length() > bytes.len() {
            return Err(TcpMalformed::OptionsTruncated);
        }
        Ok(header)
    }

    /// The source port.
    #[inline]
    pub const fn source_port(&self) -> u16 {
        self.source_port.get()
    }

    /// The destination port.
    #[inline]
    pub const fn destination_port(&self) -> u16 {
        self.destination_port.get()
    }

    /// The sequence number of the first byte of data.
    #[inline]
    pub const fn sequence(&self) -> u32 {
        self.sequence.get()
    }

    /// The sequence number that the sender expects next.
    #[inline]
    pub const fn acknowledgement(&self) -> u32 {
        self.acknowledgement.get()
    }

    /// Bytes of the header with its options; 20…60 in a checked header.
    #[inline]
    pub const fn header_length(&self) -> usize {
        (self.data_offset >> 4) as usize * 4
    }

    /// The control bits.
    #[inline]
    pub const fn flags(&self) -> TcpFlags {
        TcpFlags(self.flags)
    }

    /// The window as sent, not scaled.
    #[inline]
    pub const fn window(&self) -> u16 {
        self.window.get()
    }

    /// The checksum as stored.
    #[inline]
    pub const fn checksum(&self) -> u16 {
        self.checksum.get()
    }

    /// The urgent pointer.
    #[inline]
    pub const fn urgent(&self) -> u16 {
        self.urgent.get()
    }

    /// The options of the header at the front of `bytes`; none when it is cut short.
    #[inline]
    pub fn options(bytes: &[u8]) -> HeaderOptions<'_> {
        let options =
            Self::parse(bytes).and_then(|(header, _)| bytes.get(Self::LENGTH..header.header_length()));
        HeaderOptions::new(options.unwrap_or_default())
    }

    /// Whether the checksum of a segment (header and payload, exactly) is right under that pseudo header.
    #[inline]
    pub fn is_checksum_valid(pseudo: Sum, segment: &[u8]) -> bool {
        pseudo.add_bytes(segment).is_valid()
    }

    /// Stores the checksum over that pseudo header, this header and what follows it (options and payload).
    #[inline]
    pub fn fill_checksum(&mut self, pseudo: Sum, behind: &[u8]) {
        self.checksum = U16::ZERO;
        let sum = pseudo.add_bytes(self.as_bytes()).add_bytes(behind);
        self.checksum = U16::new(sum.checksum());
    }

    /// Stores a checksum as it is.
    #[inline]
    pub fn set_checksum(&mut self, checksum: u16) {
        self.checksum = U16::new(checksum);
    }

    /// Changes the checksum as that difference in the data or pseudo header asks.
    #[inline]
    pub fn apply(&mut self, delta: checksum::Delta) {
        self.checksum = U16::new(delta.apply(self.checksum.get()));
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

    /// Sets the sequence number; the checksum does not follow (segmentation computes it anew).
    #[inline]
    pub fn set_sequence(&mut self, sequence: u32) {
        self.sequence = U32::new(sequence);
    }

    /// Sets the control bits; the checksum does not follow.
    #[inline]
    pub fn set_flags(&mut self, flags: TcpFlags) {
        self.flags = flags.0;
    }

    /// Sets the window; the checksum does not follow.
    #[inline]
    pub fn set_window(&mut self, window: u16) {
        self.window = U16::new(window);
    }

    /// Sets the header length to cover this many bytes of options (only whole words up to 40 count); the
    /// checksum does not follow.
    #[inline]
    pub fn set_options_length(&mut self, length: usize) {
        self.data_offset = (5 + (length / 4).min(10) as u8) << 4 | self.data_offset & 0xf;
    }

    #[inline]
    fn update(&mut self, old: u16, new: u16) {
        self.checksum = U16::new(checksum::update_u16(self.checksum.get(), old, new));
    }
}

/// A TCP option that raddle understands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TcpOption<'a> {
    /// The largest segment that the sender takes, in bytes (RFC 9293 §3.7.1).
    MaximumSegmentSize(u16),
    /// The window's shift (RFC 7323 §2).
    WindowScale(u8),
    /// Selective acknowledgements may be sent (RFC 2018 §2).
    SackPermitted,
    /// Value and echo (RFC 7323 §3).
    Timestamps {
        /// The sender's clock.
        value: u32,
        /// The peer's clock as last seen.
        echo: u32,
    },
    /// Any other, or one of these with a length that is not its own.
    Other {
        /// What it is.
        kind: u8,
        /// What is behind its length byte.
        data: &'a [u8],
    },
}

impl<'a> From<super::HeaderOption<'a>> for TcpOption<'a> {
    #[inline]
    fn from(option: super::HeaderOption<'a>) -> Self {
        match (option.kind, option.data) {
            (2, &[a, b]) => Self::MaximumSegmentSize(u16::from_be_bytes([a, b])),
            (3, &[shift]) => Self::WindowScale(shift),
            (4, []) => Self::SackPermitted,
            (8, &[a, b, c, d, e, f, g, h]) => Self::Timestamps {
                value: u32::from_be_bytes([a, b, c, d]),
                echo: u32::from_be_bytes([e, f, g, h]),
            },
            (kind, data) => Self::Other { kind, data },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use smoltcp::wire as oracle;

    use super::*;
    use crate::wire::{Ip6Address, IpProtocol};

    // A SYN of Linux: mss 1460, sack permitted, timestamps, nop, window scale 7.
    const SYN: [u8; 40] = [
        0x9c, 0x40, 0x00, 0x50, 0x12, 0x34, 0x56, 0x78, 0, 0, 0, 0, 0xa0, 0x02, 0xfa, 0xf0, 0xab, 0xcd, 0, 0,
        2, 4, 0x05, 0xb4, 4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0, 1, 3, 3, 7,
    ];

    #[test]
    fn reads_a_syn_with_its_options() {
        let tcp = TcpHeader::check(&SYN).unwrap();
        assert_eq!((tcp.source_port(), tcp.destination_port()), (40_000, 80));
        assert_eq!((tcp.sequence(), tcp.acknowledgement()), (0x1234_5678, 0));
        assert_eq!((tcp.header_length(), tcp.window(), tcp.urgent()), (40, 64_240, 0));
        assert!(tcp.flags().contains(TcpFlags::SYN) && !tcp.flags().intersects(TcpFlags::ACK));
        let options: Vec<TcpOption<'_>> =
            TcpHeader::options(&SYN).map(|option| option.unwrap().into()).collect();
        assert_eq!(
            options,
            [
                TcpOption::MaximumSegmentSize(1460),
                TcpOption::SackPermitted,
                TcpOption::Timestamps { value: 9, echo: 0 },
                TcpOption::WindowScale(7),
            ]
        );
    }

    #[test]
    fn refuses_headers_cut_at_every_byte() {
        for length in 0..40 {
            let reason = if length < 20 { TcpMalformed::Truncated } else { TcpMalformed::OptionsTruncated };
            assert_eq!(TcpHeader::check(&SYN[..length]), Err(reason), "{length}");
            assert_eq!(TcpHeader::options(&SYN[..length]).count(), 0);
        }
        for offset in 0..5 {
            let mut short = SYN;
            short[12] = offset << 4;
            assert_eq!(TcpHeader::check(&short), Err(TcpMalformed::DataOffset));
            assert_eq!(TcpHeader::options(&short).count(), 0);
        }
    }

    #[test]
    fn flags_have_names() {
        assert_eq!(TcpFlags::SYN.union(TcpFlags::ACK).to_string(), "syn,ack");
        assert_eq!(TcpFlags::default().to_string(), "none");
    }

    proptest! {
        #[test]
        fn agrees_with_etherparse(mut bytes: [u8; 60]) {
            bytes[12] |= 0x80;
            let (theirs, _) = etherparse::TcpHeader::from_slice(&bytes).unwrap();
            let ours = TcpHeader::check(&bytes).unwrap();
            prop_assert_eq!((ours.source_port(), ours.destination_port()), (theirs.source_port, theirs.destination_port));
            prop_assert_eq!(ours.sequence(), theirs.sequence_number);
            prop_assert_eq!(ours.acknowledgement(), theirs.acknowledgment_number);
            prop_assert_eq!(ours.header_length(), theirs.header_len());
            prop_assert_eq!((ours.window(), ours.urgent()), (theirs.window_size, theirs.urgent_pointer));
            let flags = [theirs.fin, theirs.syn, theirs.rst, theirs.psh, theirs.ack, theirs.urg, theirs.ece, theirs.cwr];
            let flags = flags.iter().enumerate().map(|(bit, set)| (*set as u8) << bit).sum();
            prop_assert_eq!(ours.flags(), TcpFlags(flags));
        }

        #[test]
        fn checksum_is_what_smoltcp_takes(from: [u8; 16], to: [u8; 16], ports: [u16; 4], payload: Vec<u8>) {
            let (from, to) = (Ip6Address(from), Ip6Address(to));
            let pseudo = Sum::pseudo_ip6(from, to, IpProtocol::TCP, 20 + payload.len() as u32);
            let mut tcp = TcpHeader::new(ports[0], ports[1], 7, 8, TcpFlags::ACK);
            tcp.set_window(100);
            tcp.fill_checksum(pseudo, &payload);
            tcp.set_source_port(ports[2].max(1));
            tcp.set_destination_port(ports[3].max(1));
            let bytes = [tcp.as_bytes(), &payload[..]].concat();
            prop_assert!(TcpHeader::is_checksum_valid(pseudo, &bytes));
            let theirs = oracle::TcpPacket::new_checked(&bytes[..]).unwrap();
            prop_assert!(theirs.verify_checksum(&from.to_std().into(), &to.to_std().into()));
        }
    }
}
