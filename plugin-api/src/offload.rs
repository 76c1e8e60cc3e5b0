//! What a packet asks of the device that sends it.

use crate::Packet;
use crate::abi::BufferFlags;
use crate::wire::checksum::{Sum, never_zero};
use crate::wire::{ChecksumOffload, Gso, GsoKind, Offload};

/// Values of `BufferHeader::gso_kind`: those of the virtio-net header (virtio 1.2 §5.1.6).
const KINDS: [(u8, GsoKind); 4] =
    [(1, GsoKind::Tcp4), (4, GsoKind::Tcp6), (3, GsoKind::UdpFragments), (5, GsoKind::UdpSegments)];
const ECN: u8 = 0x80;

impl Packet<'_> {
    /// What the packet asks of the device that sends it. Positions count from the packet's present first byte; one that
    /// lies in front of it comes out far beyond the packet's end, where no reader takes it for valid.
    pub fn offload(&self) -> Offload {
        let header = self.header();
        let checksum = (header.flags & BufferFlags::CHECKSUM_PARTIAL != 0).then(|| ChecksumOffload {
            start: self.relative(header.checksum_start),
            offset: header.checksum_offset,
        });
        let kind = KINDS.iter().find(|(value, _)| *value == header.gso_kind & !ECN);
        let gso = kind.filter(|_| header.flags & BufferFlags::GSO != 0).map(|(_, kind)| Gso {
            kind: *kind,
            size: header.gso_size,
            header_length: self.relative(header.header_length),
            ecn: header.gso_kind & ECN != 0,
        });
        Offload { checksum, data_valid: header.flags & BufferFlags::CHECKSUM_VALID != 0, gso }
    }

    /// Sets what the packet asks of the device that sends it. Positions count from the packet's present first byte, and
    /// stay with the bytes that they name when headers are taken off or put on.
    pub fn set_offload(&mut self, offload: &Offload) {
        let origin = self.header().current_data;
        self.set_checksum_valid(offload.data_valid);
        let header = self.raw();
        header.flags &= !(BufferFlags::CHECKSUM_PARTIAL | BufferFlags::GSO);
        if let Some(checksum) = offload.checksum {
            header.flags |= BufferFlags::CHECKSUM_PARTIAL;
            header.checksum_start = checksum.start.wrapping_add_signed(origin);
            header.checksum_offset = checksum.offset;
        }
        if let Some(gso) = offload.gso {
            let ecn = if gso.ecn { ECN } else { 0 };
            header.flags |= BufferFlags::GSO;
            // Every kind is in the table.
            header.gso_kind =
                KINDS.iter().find(|(_, kind)| *kind == gso.kind).map_or(0, |(value, _)| *value) | ecn;
            header.gso_size = gso.size;
            header.header_length = gso.header_length.wrapping_add_signed(origin);
        }
    }

    /// Fills in a checksum that was left to the device; nothing to do where there is none. A sum of zero is written as all
    /// ones, which every receiver takes and UDP needs (RFC 768). `false`, and nothing done, if the field lies outside of
    /// the packet. Must not be asked of a packet that is shared, nor of a GSO packet, whose segments have checksums of
    /// their own.
    pub fn complete_checksum(&mut self) -> bool {
        let Some(ChecksumOffload { start, offset }) = self.offload().checksum else { return true };
        let (start, field) = (usize::from(start), usize::from(start) + usize::from(offset));
        if field + 2 > self.len() {
            return false;
        }
        let mut reader = self.reader();
        // The field behind `start` is within the packet.
        reader.skip(start);
        let mut sum = Sum::new();
        while let Some(chunk) = reader.next_chunk(usize::MAX) {
            sum = sum.add_bytes(chunk);
        }
        let checksum = never_zero(sum.checksum()).to_be_bytes();
        if let Some(bytes) = self.bytes_mut().get_mut(field..field + 2) {
            bytes.copy_from_slice(&checksum);
        } else {
            self.for_each_segment_mut(|at, piece| {
                for (position, byte) in (field..).zip(checksum) {
                    if let Some(target) = position.checked_sub(at).and_then(|within| piece.get_mut(within)) {
                        *target = byte;
                    }
                }
            });
        }
        self.raw().flags &= !BufferFlags::CHECKSUM_PARTIAL;
        self.set_checksum_valid(true);
        true
    }

    /// A noted position (kept from the data area's start) as one from the packet's present first byte.
    fn relative(&self, position: u16) -> u16 {
        position.wrapping_sub(self.header().current_data as u16)
    }
}
