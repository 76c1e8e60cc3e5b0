//! New packets that carry a part of another one, or all of it.
#![forbid(unsafe_code)]

use raddle_plugin_api::{HeldPacket, Packet, Reader, Worker};

/// A packet that goes the way of `packet`, with `header` and the next `count` bytes of `reader` behind it. `None` if there
/// are no buffers left, or fewer bytes.
pub fn part(
    worker: &Worker<'_>,
    packet: &Packet<'_>,
    header: &[u8],
    reader: &mut Reader<'_>,
    count: usize,
) -> Option<HeldPacket> {
    let mut held = worker.allocate_like(packet)?;
    let mut made = worker.open(&mut held);
    if worker.append(&mut made, header) && worker.append_from(&mut made, reader, count) {
        return Some(held);
    }
    worker.free(held);
    None
}

/// A copy of `packet` that nobody shares, which goes its way and asks for the same. `None` if there are no buffers left.
pub fn whole(worker: &Worker<'_>, packet: &Packet<'_>) -> Option<HeldPacket> {
    let mut held = part(worker, packet, &[], &mut packet.reader(), packet.len())?;
    worker.open(&mut held).set_offload(&packet.offload());
    Some(held)
}
