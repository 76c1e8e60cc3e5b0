//! Virtual reassembly: fragments go on one by one, but none before the first of its datagram, which has the ports, and none
//! that would deceive who reads them (RFC 1858, RFC 3128, RFC 5722).

use raddle_plugin_api::L4Ports;

use super::full::Arrival;
use super::reason::ReassemblyError;
use super::shard::{Lost, Shard};
use super::spans::{Place, Span};

/// What becomes of a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    /// It goes on, as one of a datagram with these ports.
    On(L4Ports),
    /// It is kept until the first fragment comes.
    Kept,
    /// It is dropped.
    Refused(ReassemblyError),
}

impl<P> Shard<P> {
    /// Lets a fragment pass, or keeps it, by `take`. `ports` is what a first fragment says of them. Packets that go on because
    /// the first one has come go to `released`, those of datagrams that are given up to `lost`.
    pub fn pass(
        &mut self,
        arrival: &Arrival<'_>,
        ports: Option<L4Ports>,
        take: impl FnOnce() -> P,
        released: &mut Vec<P>,
        lost: &mut Lost<P>,
    ) -> Passed {
        let fragment = arrival.fragment;
        let slot = self.find_or_open(&fragment.key, arrival.interface, arrival.now_ns, lost);
        let (most, datagram) = (self.limits().fragments, self.datagram(slot));
        if datagram.is_condemned {
            return Passed::Refused(ReassemblyError::Condemned);
        }
        let at = match datagram.spans.place(fragment.start, fragment.end, fragment.last) {
            Place::New(at) => at,
            // A duplicate, or another datagram with the same identification where a fragment of this one was lost: it does no harm
            // as long as the ports are the same.
            Place::Same(_) => {
                return match datagram.ports {
                    Some(known) if ports.is_none_or(|ports| ports == known) => Passed::On(known),
                    Some(_) => self.refuse(slot, ReassemblyError::Overlap, lost),
                    None => Passed::Refused(ReassemblyError::Duplicate),
                };
            }
            Place::Conflict => return self.refuse(slot, ReassemblyError::Overlap, lost),
        };
        if datagram.spans.len() >= most {
            return self.refuse(slot, ReassemblyError::TooMany, lost);
        }
        datagram.ports = datagram.ports.or(ports);
        let known = datagram.ports;
        if known.is_none() && !self.charge(slot, arrival.holding(), lost) {
            return self.refuse(slot, ReassemblyError::NoRoom, lost);
        }
        let content = known.is_none().then(|| arrival.piece(take()));
        let datagram = self.datagram(slot);
        datagram.spans.insert(at, Span { start: fragment.start, end: fragment.end, content }, fragment.last);
        let Some(known) = known else { return Passed::Kept };
        let is_whole = datagram.spans.is_whole();
        if ports.is_some() {
            released.extend(datagram.spans.contents_mut().filter_map(Option::take).map(|piece| piece.packet));
            self.discharge(slot);
        }
        if is_whole {
            self.complete(slot);
        }
        Passed::On(known)
    }

    fn refuse(&mut self, slot: u32, why: ReassemblyError, lost: &mut Lost<P>) -> Passed {
        self.condemn(slot, why, lost);
        Passed::Refused(why)
    }
}
