//! What a packet asks of the device that sends it.

use crate::Packet;
use crate::abi::BufferFlags;
use crate::wire::virtio_net::{ChecksumOffload, Gso, Offload};

impl Packet<'_> {
    /// What the packet asks of the device that sends it. Positions count from the packet's present first byte.
    pub fn offload(&self) -> Offload {
        let header = self.header();
        Offload::from_parts(
            (header.flags & BufferFlags::CHECKSUM_PARTIAL != 0)
                .then_some((self.relative(header.checksum_start), header.checksum_offset)),
            (header.flags & BufferFlags::GSO != 0)
                .then_some((header.gso_kind, header.gso_size, self.relative(header.header_length))),
        )
    }

    /// Sets what the packet asks of the device that sends it. Positions count from the packet's present first byte.
    pub fn set_offload(&mut self, offload: &Offload) {
        let (checksum, gso) = offload.parts();
        let origin = self.header().current_data;
        let header = self.header_mut();
        header.flags &= !(BufferFlags::CHECKSUM_PARTIAL | BufferFlags::GSO);
        if let Some((start, offset)) = checksum {
            header.flags |= BufferFlags::CHECKSUM_PARTIAL;
            header.checksum_start = start.wrapping_add_signed(origin);
            header.checksum_offset = offset;
        }
        if let Some((kind, size, length)) = gso {
            header.flags |= BufferFlags::GSO;
            header.gso_kind = kind;
            header.gso_size = size;
            header.header_length = length.wrapping_add_signed(origin);
        }
    }

    /// A noted position (kept from the data area's start) as one from the packet's present first byte.
    fn relative(&self, position: u16) -> u16 {
        position.wrapping_sub(self.header().current_data as u16)
    }
}
