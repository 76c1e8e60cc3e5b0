//! What a packet asks of the device that sends it.

use crate::Packet;
use crate::abi::BufferFlags;
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

    /// A noted position (kept from the data area's start) as one from the packet's present first byte.
    fn relative(&self, position: u16) -> u16 {
        position.wrapping_sub(self.header().current_data as u16)
    }
}
