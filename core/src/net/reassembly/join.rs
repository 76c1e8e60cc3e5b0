//! Makes one packet of a datagram's fragments: their buffers in a chain, behind the first one's header.

use raddle_plugin_api::wire::{Ip4Header, Ip6Header, Ip6Upper, Offload};
use raddle_plugin_api::{HeldPacket, Packet, Worker};

use super::datagram::{Datagram, Piece};
use super::key::Scope;
use super::reason::ReassemblyError;

/// Bits of congestion notification (RFC 3168 §5), as bits of a set.
const NOT_CAPABLE: u8 = 1 << 0;
const CONGESTION: u8 = 1 << 3;

/// Sets right the header of the whole packet, which begins with that of its first fragment.
type Mend = fn(&mut Packet<'_>, Mending) -> Option<()>;

/// What there is to set right.
#[derive(Clone, Copy)]
pub(super) struct Mending {
    scope: Scope,
    is_congested: bool,
}

/// Joins the fragments of a complete IPv4 datagram.
///
/// # Errors
/// Why it cannot be, with the packets that are left of it.
pub fn join4(
    worker: &Worker<'_>,
    datagram: Datagram<HeldPacket>,
    scope: Scope,
) -> Result<HeldPacket, (ReassemblyError, Vec<HeldPacket>)> {
    join(worker, datagram, scope, mend4)
}

/// Joins the fragments of a complete IPv6 datagram.
///
/// # Errors
/// As [`join4`].
pub fn join6(
    worker: &Worker<'_>,
    datagram: Datagram<HeldPacket>,
    scope: Scope,
) -> Result<HeldPacket, (ReassemblyError, Vec<HeldPacket>)> {
    join(worker, datagram, scope, mend6)
}

fn join(
    worker: &Worker<'_>,
    mut datagram: Datagram<HeldPacket>,
    scope: Scope,
    mend: Mend,
) -> Result<HeldPacket, (ReassemblyError, Vec<HeldPacket>)> {
    // RFC 3168 §5.3: a mark on one fragment is one on the datagram, which must be capable of it.
    let is_congested = datagram.ecn & CONGESTION != 0;
    if is_congested && datagram.ecn & NOT_CAPABLE != 0 {
        return Err((ReassemblyError::Ecn, datagram.drain().collect()));
    }
    let mut pieces = datagram.spans.take().flatten();
    let Some(Piece { packet: mut whole, .. }) = pieces.next() else {
        return Err((ReassemblyError::Malformed, Vec::new()));
    };
    let joined =
        join_pieces(worker, &mut worker.open(&mut whole), &mut pieces, Mending { scope, is_congested }, mend);
    match joined {
        Ok(()) => Ok(whole),
        Err((why, tail)) => {
            let rest = pieces.map(|piece| piece.packet);
            Err((why, std::iter::once(whole).chain(tail).chain(rest).collect()))
        }
    }
}

fn join_pieces(
    worker: &Worker<'_>,
    packet: &mut Packet<'_>,
    pieces: &mut impl Iterator<Item = Piece<HeldPacket>>,
    mending: Mending,
    mend: Mend,
) -> Result<(), (ReassemblyError, Option<HeldPacket>)> {
    for Piece { packet: mut tail, data_at } in pieces {
        if !worker.open(&mut tail).advance(data_at.into()) {
            return Err((ReassemblyError::Malformed, Some(tail)));
        }
        worker.append_packet(packet, tail).map_err(|tail| (ReassemblyError::TooMany, Some(tail)))?;
    }
    // What a device said of one fragment says nothing of the whole.
    packet.set_offload(&Offload::default());
    mend(packet, mending).ok_or((ReassemblyError::TooLong, None))
}

fn mend4(packet: &mut Packet<'_>, mending: Mending) -> Option<()> {
    let length = u16::try_from(packet.len()).ok()?;
    let (ip, _) = Ip4Header::parse_mut(packet.bytes_mut())?;
    ip.set_fragment(0, false);
    ip.set_total_length(length);
    if mending.is_congested {
        ip.set_ecn(3);
    }
    if mending.scope == Scope::Feature {
        // Its sender let it be cut, so that it may be again behind us.
        ip.set_dont_fragment(false);
    }
    packet.mark_l3();
    Some(())
}

/// RFC 8200 §4.5: the part in front of the fragment header, with what was behind it.
fn mend6(packet: &mut Packet<'_>, mending: Mending) -> Option<()> {
    const FRAGMENT_HEADER: usize = 8;
    let bytes = packet.bytes_mut();
    let fragment = Ip6Upper::find(bytes).ok()?.fragment?;
    let next = *bytes.get(fragment.header_at)?;
    *bytes.get_mut(fragment.named_at)? = next;
    bytes.copy_within(..fragment.header_at, FRAGMENT_HEADER);
    packet.advance(FRAGMENT_HEADER).then_some(())?;
    let length = u16::try_from(packet.len() - Ip6Header::LENGTH).ok()?;
    let (ip, _) = Ip6Header::parse_mut(packet.bytes_mut())?;
    ip.set_payload_length(length);
    if mending.is_congested {
        ip.set_ecn(3);
    }
    packet.mark_l3();
    Some(())
}

/// Whether two packets have the same `length` bytes, of each from its own offset on.
pub fn is_same_data(one: (&Packet<'_>, usize), other: (&Packet<'_>, usize), length: usize) -> bool {
    const STEP: usize = 256;
    let (mut left, mut right) = ([0; STEP], [0; STEP]);
    (0..length).step_by(STEP).all(|done| {
        let part = STEP.min(length - done);
        let counts = (
            one.0.copy_out(one.1 + done, &mut left[..part]),
            other.0.copy_out(other.1 + done, &mut right[..part]),
        );
        counts == (part, part) && left[..part] == right[..part]
    })
}
