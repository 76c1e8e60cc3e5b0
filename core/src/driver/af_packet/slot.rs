//! What stands in a slot of a TPACKET_V2 ring (packet(7), Linux `Documentation/networking/packet_mmap.rst`): reading a
//! received frame, writing one to be sent. What the kernel wrote is checked like anything from outside.

use crate::driver::vnet::ETHERNET_BYTES;
pub use crate::driver::vnet::VNET_BYTES;

/// Rx status: the slot is ours to read.
pub const TP_STATUS_USER: u32 = 1 << 0;
/// Rx status: the frame is cut off here and stands whole in the socket's queue.
pub const TP_STATUS_COPY: u32 = 1 << 1;
/// Rx status: frames were lost since the statistics were asked for.
pub const TP_STATUS_LOSING: u32 = 1 << 2;
/// Rx status: the kernel took a VLAN tag out of the frame.
const TP_STATUS_VLAN_VALID: u32 = 1 << 4;
/// Rx status: the header says which kind of tag.
const TP_STATUS_VLAN_TPID_VALID: u32 = 1 << 6;
/// Status of an rx slot that is the kernel's.
pub const TP_STATUS_KERNEL: u32 = 0;

/// Tx status: the slot is ours to write.
pub const TP_STATUS_AVAILABLE: u32 = 0;
/// Tx status: the frame is to be sent.
pub const TP_STATUS_SEND_REQUEST: u32 = 1 << 0;
/// Tx status: the kernel refused the frame.
pub const TP_STATUS_WRONG_FORMAT: u32 = 1 << 2;
/// The bits of a tx status that are not about timestamps.
pub const TX_STATUS_MASK: u32 = 0x7;

/// Bytes of `tpacket2_hdr`; `sockaddr_ll` follows it on receive, the data on transmit.
const HEADER_BYTES: usize = 32;
const TX_DATA_OFFSET: usize = HEADER_BYTES;
/// Where `sll_pkttype` stands.
const PACKET_TYPE_OFFSET: usize = HEADER_BYTES + 10;
const PACKET_OUTGOING: u8 = 4;

/// Bytes of an rx slot in front of the frame, at most: header, address and alignment to 16 with a MAC header of up to
/// 16 bytes (`tpacket_rcv`).
pub const RX_OVERHEAD_BYTES: usize = 80 + VNET_BYTES;
/// Bytes of a tx slot in front of the frame.
pub const TX_OVERHEAD_BYTES: usize = TX_DATA_OFFSET + VNET_BYTES;
/// Frames up to this length go to the kernel as a whole in the packet's linear part: no page of the ring is lent out,
/// so that the slot is free again sooner.
const LINEAR_BYTES: usize = 2048;

/// Why a received slot is not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SlotMalformed {
    /// The frame reaches out of its slot.
    #[error("the frame lies outside its slot")]
    Outside,
    /// The frame has no full Ethernet header.
    #[error("the frame is shorter than an Ethernet header")]
    Short,
    /// The part that is there is longer than the frame.
    #[error("the frame is longer than it says")]
    Longer,
}

/// A VLAN tag as the kernel hands it over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StrippedTag {
    /// EtherType of the tag.
    pub ethertype: u16,
    /// Priority and VLAN.
    pub control: u16,
}

/// A received frame in its slot.
#[derive(Debug, PartialEq, Eq)]
pub struct ReceivedFrame<'a> {
    /// The virtio-net header in front of it.
    pub vnet: &'a [u8],
    /// The frame, or its beginning.
    pub bytes: &'a [u8],
    /// Whether all of it is here.
    pub whole: bool,
    /// The tag that was taken out of it.
    pub tag: Option<StrippedTag>,
    /// Whether it is one that this host sends.
    pub outgoing: bool,
}

/// Reads a received slot whose status is `status`.
///
/// # Errors
/// What the slot says does not fit it.
#[inline]
pub fn parse(slot: &[u8], status: u32) -> Result<ReceivedFrame<'_>, SlotMalformed> {
    let header = slot.first_chunk::<HEADER_BYTES>().ok_or(SlotMalformed::Outside)?;
    let word = |at: usize| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let half = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
    let (length, here, start) = (word(4) as usize, word(8) as usize, usize::from(half(12)));
    let vnet_start = start.checked_sub(VNET_BYTES).filter(|start| *start >= HEADER_BYTES);
    let vnet = vnet_start.and_then(|from| slot.get(from..start)).ok_or(SlotMalformed::Outside)?;
    let bytes = slot.get(start..start.saturating_add(here)).ok_or(SlotMalformed::Outside)?;
    if here > length {
        return Err(SlotMalformed::Longer);
    }
    if length < ETHERNET_BYTES {
        return Err(SlotMalformed::Short);
    }
    let tag = (status & TP_STATUS_VLAN_VALID != 0).then(|| StrippedTag {
        ethertype: if status & TP_STATUS_VLAN_TPID_VALID != 0 { half(26) } else { 0x8100 },
        control: half(24),
    });
    let outgoing = slot.get(PACKET_TYPE_OFFSET) == Some(&PACKET_OUTGOING);
    Ok(ReceivedFrame { vnet, bytes, whole: here == length, tag, outgoing })
}

/// Writes a frame of `length` bytes, given in pieces, into a slot to be sent. `false`, and the slot is not to be sent,
/// if it does not fit or the pieces have another length.
#[inline]
pub fn write<'s>(
    slot: &mut [u8],
    vnet: &[u8; VNET_BYTES],
    length: usize,
    pieces: impl Iterator<Item = &'s [u8]>,
) -> bool {
    let end = TX_OVERHEAD_BYTES + length;
    if end > slot.len() {
        return false;
    }
    slot[4..8].copy_from_slice(&((VNET_BYTES + length) as u32).to_ne_bytes());
    slot[TX_DATA_OFFSET..TX_OVERHEAD_BYTES].copy_from_slice(vnet);
    let mut at = TX_OVERHEAD_BYTES;
    for piece in pieces {
        let Some(room) = slot.get_mut(at..at + piece.len()) else { return false };
        room.copy_from_slice(piece);
        at += piece.len();
    }
    at == end
}

/// The virtio-net header's bytes for a frame of `length` bytes that is no GSO packet: the header length, which is of no
/// other use then, has the kernel copy the frame instead of lending out the ring's pages.
pub fn with_linear_length(mut vnet: [u8; VNET_BYTES], length: usize) -> [u8; VNET_BYTES] {
    vnet[2..4].copy_from_slice(&(length.min(LINEAR_BYTES) as u16).to_ne_bytes());
    vnet
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn slot(length: u32, here: u32, start: u16) -> Vec<u8> {
        let mut slot = vec![0; 2048];
        slot[4..8].copy_from_slice(&length.to_ne_bytes());
        slot[8..12].copy_from_slice(&here.to_ne_bytes());
        slot[12..14].copy_from_slice(&start.to_ne_bytes());
        slot[24..26].copy_from_slice(&0x6005_u16.to_ne_bytes());
        slot[26..28].copy_from_slice(&0x88a8_u16.to_ne_bytes());
        slot
    }

    #[test]
    fn reads_a_frame_where_the_kernel_puts_it() {
        let mut bytes = slot(60, 60, 76);
        bytes[66] = 1;
        bytes[76] = 0xff;
        let frame = parse(&bytes, TP_STATUS_USER).unwrap();
        assert_eq!((frame.vnet[0], frame.bytes[0], frame.bytes.len()), (1, 0xff, 60));
        assert!(frame.whole && frame.tag.is_none() && !frame.outgoing);
    }

    #[test]
    fn reads_the_tag_that_the_kernel_took_out() {
        let bytes = slot(60, 60, 76);
        let tag = |status| parse(&bytes, TP_STATUS_USER | status).unwrap().tag;
        assert_eq!(tag(TP_STATUS_VLAN_VALID), Some(StrippedTag { ethertype: 0x8100, control: 0x6005 }));
        assert_eq!(
            tag(TP_STATUS_VLAN_VALID | TP_STATUS_VLAN_TPID_VALID),
            Some(StrippedTag { ethertype: 0x88a8, control: 0x6005 })
        );
    }

    #[test]
    fn knows_own_frames_and_cut_ones() {
        let mut bytes = slot(60_000, 1900, 76);
        bytes[42] = PACKET_OUTGOING;
        let frame = parse(&bytes, TP_STATUS_USER).unwrap();
        assert!(frame.outgoing && !frame.whole);
    }

    #[test]
    fn refuses_what_lies_outside_the_slot() {
        for (length, here, start, reason) in [
            (60, 60, 0, SlotMalformed::Outside),
            (60, 60, 41, SlotMalformed::Outside),
            (60, 60, 2000, SlotMalformed::Outside),
            (60, 60, u16::MAX, SlotMalformed::Outside),
            (u32::MAX, u32::MAX, 76, SlotMalformed::Outside),
            (2048, 2048, 76, SlotMalformed::Outside),
            (60, 61, 76, SlotMalformed::Longer),
            (13, 13, 76, SlotMalformed::Short),
        ] {
            assert_eq!(
                parse(&slot(length, here, start), TP_STATUS_USER),
                Err(reason),
                "{length} {here} {start}"
            );
        }
        assert_eq!(parse(&[0; 31], TP_STATUS_USER), Err(SlotMalformed::Outside));
    }

    #[test]
    fn writes_a_frame_where_the_kernel_reads_it() {
        let mut slot = vec![0; 2048];
        assert!(write(&mut slot, &[9; VNET_BYTES], 5, [&b"ab"[..], b"cde"].into_iter()));
        assert_eq!(slot[4..8], 15_u32.to_ne_bytes());
        assert_eq!(slot[32..42], [9; 10]);
        assert_eq!(&slot[42..47], b"abcde");
    }

    #[test]
    fn writes_nothing_that_does_not_fit() {
        let mut slot = vec![0; 64];
        assert!(!write(&mut slot, &[0; VNET_BYTES], 23, std::iter::empty()));
        assert!(!write(&mut slot, &[0; VNET_BYTES], 2, [&b"abc"[..]].into_iter()), "longer than it says");
        assert!(!write(&mut slot, &[0; VNET_BYTES], 4, [&b"abc"[..]].into_iter()), "shorter than it says");
        assert!(!write(&mut slot, &[0; VNET_BYTES], 2, [&[0; 40][..]].into_iter()), "beyond the slot");
    }

    proptest! {
        #[test]
        fn no_slot_makes_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..160), status: u32) {
            if let Ok(frame) = parse(&bytes, status) {
                prop_assert!(frame.bytes.len() + VNET_BYTES + HEADER_BYTES <= bytes.len());
            }
        }
    }
}
