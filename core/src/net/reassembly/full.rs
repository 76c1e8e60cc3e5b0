//! Full reassembly: fragments are kept until all of a datagram are there (RFC 791 §3.2, RFC 8200 §4.5).

use raddle_plugin_api::InterfaceIndex;

use super::datagram::{Datagram, Piece};
use super::fragment::Fragment;
use super::reason::ReassemblyError;
use super::shard::{Holding, Lost, Shard};
use super::spans::{Place, Span};

/// What became of a fragment.
#[derive(Debug)]
pub enum Offered<P> {
    /// It is kept.
    Kept,
    /// It was kept, and completes this datagram.
    Complete(Datagram<P>),
    /// It was not taken.
    Refused(ReassemblyError),
}

/// A fragment that comes to a shard.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// What it says of itself.
    pub fragment: &'a Fragment,
    /// Where it came in.
    pub interface: InterfaceIndex,
    /// Buffers that its packet holds.
    pub buffers: usize,
    /// Now, in ns of the monotonic clock.
    pub now_ns: u64,
}

impl Arrival<'_> {
    pub(super) fn holding(&self) -> Holding {
        Holding { buffers: self.buffers, bytes: self.fragment.length as usize }
    }

    /// The piece that its packet is.
    pub(super) fn piece<P>(&self, packet: P) -> Piece<P> {
        Piece { packet, data_at: self.fragment.data_at }
    }
}

/// The packet of a fragment, while it is not decided whether it is kept.
pub trait Incoming<P> {
    /// Whether its data is that of a piece which covers the same stretch.
    fn is_same(&mut self, piece: &mut Piece<P>) -> bool;

    /// Gives it up, to be kept.
    fn take(&mut self) -> P;
}

impl<P> Shard<P> {
    /// Takes a fragment in if it fits. Packets of datagrams that are given up go to `lost`.
    pub fn offer(
        &mut self,
        arrival: &Arrival<'_>,
        incoming: &mut impl Incoming<P>,
        lost: &mut Lost<P>,
    ) -> Offered<P> {
        let fragment = arrival.fragment;
        let slot = self.find_or_open(&fragment.key, arrival.interface, arrival.now_ns, lost);
        let (most, datagram) = (self.limits().fragments, self.datagram(slot));
        if datagram.is_condemned {
            return Offered::Refused(ReassemblyError::Condemned);
        }
        let at = match datagram.spans.place(fragment.start, fragment.end, fragment.last) {
            Place::New(at) => at,
            // RFC 8200 §4.5: an exact duplicate does no harm; another content is an overlap.
            Place::Same(at)
                if datagram
                    .spans
                    .content_mut(at)
                    .and_then(Option::as_mut)
                    .is_some_and(|piece| incoming.is_same(piece)) =>
            {
                return Offered::Refused(ReassemblyError::Duplicate);
            }
            Place::Same(_) | Place::Conflict => return self.give_up(slot, ReassemblyError::Overlap, lost),
        };
        if datagram.spans.len() >= most {
            return self.give_up(slot, ReassemblyError::TooMany, lost);
        }
        if !self.charge(slot, arrival.holding(), lost) {
            return self.give_up(slot, ReassemblyError::NoRoom, lost);
        }
        let datagram = self.datagram(slot);
        datagram.ecn |= 1 << (fragment.ecn & 3);
        datagram.largest = datagram.largest.max(fragment.length);
        let content = Some(arrival.piece(incoming.take()));
        datagram.spans.insert(at, Span { start: fragment.start, end: fragment.end, content }, fragment.last);
        if datagram.spans.is_whole() { Offered::Complete(self.complete(slot)) } else { Offered::Kept }
    }

    fn give_up(&mut self, slot: u32, why: ReassemblyError, lost: &mut Lost<P>) -> Offered<P> {
        self.condemn(slot, why, lost);
        Offered::Refused(why)
    }
}
