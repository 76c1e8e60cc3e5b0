//! What is kept of a session.

use raddle_plugin_api::wire::IpProtocol;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::timeouts::Lifetime;
use crate::direction::Direction;

const FIN: u8 = 1 << 0;
const SYN: u8 = 1 << 1;
const RST: u8 = 1 << 2;
const ACK: u8 = 1 << 4;

/// A side of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Who sent the first packet.
    Initiator,
    /// Who answers.
    Responder,
}

/// How far a session has come. Of other protocols than TCP all are established.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Its handshake is not over.
    Transient,
    /// Both sides have said SYN and ACK.
    Established,
    /// Both sides have said FIN, or one RST.
    Closing,
}

impl State {
    /// As it is shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Established => "established",
            Self::Closing => "closing",
        }
    }
}

/// A packet, as far as a session that is there takes note of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Passing {
    /// Which end sends it, and which way it goes: as [`Flow`] has it of the first packet.
    way: u8,
    /// SYN, FIN, RST and ACK as the initiator would say them.
    said: u8,
    /// Its length, from the IP header on.
    pub bytes: u32,
}

impl Passing {
    /// A packet from the lower end or not, with these TCP flags; 0 of other protocols.
    #[inline(always)]
    pub fn new(direction: Direction, is_low: bool, flags: u8, bytes: u32) -> Self {
        let way = (u8::from(is_low) * LOW_BEGAN) | ((direction as u8) * BEGAN_OUT);
        Self { way, said: said(flags), bytes }
    }
}

/// FIN, SYN, RST as they stand, ACK beside them.
#[inline(always)]
const fn said(flags: u8) -> u8 {
    flags & (FIN | SYN | RST) | (flags & ACK) >> 1
}

/// What is kept of a session beside its key. Another version of the plugin finds it as it is: see [`super::SessionSizes`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct Flow {
    /// Bytes of its packets, from the IP header on.
    pub bytes: u64,
    /// Its packets.
    pub packets: u32,
    /// Under which state of the interface's lists it was judged.
    pub epoch: u32,
    /// The list whose rule began it, by its number.
    pub list: u16,
    /// That rule, by its place in the list.
    pub rule: u16,
    /// SYN, FIN, RST and ACK that each side has said: FIN, SYN, RST, ACK of the initiator in the low half.
    seen: u8,
    /// TCP flags of the first packet; of an ICMP query its type.
    pub first: u8,
    /// DSCP of the first packet.
    pub dscp: u8,
    /// Bits below.
    bits: u8,
}

const LOW_BEGAN: u8 = 1 << 0;
const BEGAN_OUT: u8 = 1 << 1;
const IS_TCP: u8 = 1 << 2;
/// The [`Lifetime`], from this bit on.
const LIFETIME_SHIFT: u8 = 4;
const LIFETIME: u8 = 7 << LIFETIME_SHIFT;

impl Flow {
    /// A session whose first packet went this way, from its lower end if `low_began`.
    pub fn new(direction: Direction, low_began: bool, protocol: u8) -> Self {
        let mut bits = u8::from(low_began) * LOW_BEGAN;
        bits |= u8::from(direction == Direction::Out) * BEGAN_OUT;
        bits |= u8::from(IpProtocol(protocol) == IpProtocol::TCP) * IS_TCP;
        bits |= (Lifetime::first(protocol) as u8) << LIFETIME_SHIFT;
        Self { bytes: 0, packets: 0, epoch: 0, list: 0, rule: 0, seen: 0, first: 0, dscp: 0, bits }
    }

    /// What its timeout goes by.
    #[inline(always)]
    pub fn lifetime(&self) -> Lifetime {
        Lifetime::of_number(self.bits >> LIFETIME_SHIFT & 7)
    }

    /// Counts a packet that changes nothing else: one of either side, under the lists as the session was judged by, that says
    /// nothing new, of a session that is not closing. `false`, and nothing done: it wants a closer look.
    #[inline(always)]
    pub fn count(&mut self, packet: Passing, epoch: u32) -> bool {
        const { assert!(LOW_BEGAN == 1 && BEGAN_OUT == 2) };
        // 0 of the initiator, 3 of the responder, else of neither.
        let turned = (self.bits ^ packet.way) & (LOW_BEGAN | BEGAN_OUT);
        let of_neither = (turned + 1) & 2;
        let news = packet.said << (turned & 2) << (turned & 2) & !self.seen;
        let is_closing = self.bits & LIFETIME == (Lifetime::TcpClosing as u8) << LIFETIME_SHIFT;
        if u32::from(of_neither | news) | (epoch ^ self.epoch) != 0 || is_closing {
            return false;
        }
        self.packets = self.packets.wrapping_add(1);
        self.bytes = self.bytes.wrapping_add(u64::from(packet.bytes));
        true
    }

    /// Which way the first packet went.
    #[inline(always)]
    pub fn direction(&self) -> Direction {
        if self.bits & BEGAN_OUT == 0 { Direction::In } else { Direction::Out }
    }

    /// Whether the first packet came from the lower end.
    #[inline(always)]
    pub fn low_began(&self) -> bool {
        self.bits & LOW_BEGAN != 0
    }

    /// Who sent a packet that goes this way and comes from the lower end or not; `None`: it is of neither side, as those come
    /// by their own directions only.
    #[inline(always)]
    pub fn side(&self, direction: Direction, is_low: bool) -> Option<Side> {
        let same_end = is_low == self.low_began();
        let same_way = direction == self.direction();
        match (same_end, same_way) {
            (true, true) => Some(Side::Initiator),
            (false, false) => Some(Side::Responder),
            _ => None,
        }
    }

    /// Notes a packet of a side; returns whether the state is another one now, so that another timeout counts.
    #[inline(always)]
    pub fn see(&mut self, side: Side, flags: u8, bytes: u64) -> bool {
        self.packets = self.packets.wrapping_add(1);
        self.bytes = self.bytes.wrapping_add(bytes);
        if self.bits & IS_TCP == 0 {
            return false;
        }
        let said = said(flags);
        let said = if side == Side::Initiator { said } else { said << 4 };
        if self.seen | said == self.seen {
            return false;
        }
        let before = self.lifetime();
        self.seen |= said;
        let after = match self.state() {
            State::Transient => Lifetime::TcpTransient,
            State::Established => Lifetime::TcpEstablished,
            State::Closing => Lifetime::TcpClosing,
        };
        self.bits = self.bits & !LIFETIME | (after as u8) << LIFETIME_SHIFT;
        before != after
    }

    /// Whether a segment of the initiator begins the connection anew.
    #[inline(always)]
    pub fn begins_anew(&self, side: Side, flags: u8) -> bool {
        self.bits & IS_TCP != 0
            && side == Side::Initiator
            && flags & (SYN | ACK | RST | FIN) == SYN
            && self.state() == State::Closing
    }

    /// How far it has come.
    #[inline(always)]
    pub fn state(&self) -> State {
        const OPEN: u8 = SYN | ACK >> 1;
        if self.bits & IS_TCP == 0 {
            return State::Established;
        }
        let (one, other) = (self.seen & 15, self.seen >> 4);
        if (one | other) & RST != 0 || one & other & FIN != 0 {
            State::Closing
        } else if one & OPEN == OPEN && other & OPEN == OPEN {
            State::Established
        } else {
            State::Transient
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp() -> Flow {
        Flow::new(Direction::In, true, 6)
    }

    #[test]
    fn handshake_establishes_and_both_fins_close() {
        let mut flow = tcp();
        let mut see = |side, flags| {
            flow.see(side, flags, 40);
            flow.state()
        };
        assert_eq!(see(Side::Initiator, SYN), State::Transient);
        assert_eq!(see(Side::Responder, SYN | ACK), State::Transient);
        assert_eq!(see(Side::Initiator, ACK), State::Established);
        assert_eq!(see(Side::Responder, FIN | ACK), State::Established);
        assert_eq!(see(Side::Initiator, FIN | ACK), State::Closing);
        assert!(flow.begins_anew(Side::Initiator, SYN) && !flow.begins_anew(Side::Responder, SYN));
        assert_eq!((flow.packets, flow.bytes), (5, 200));
    }

    #[test]
    fn packet_that_says_nothing_new_is_only_counted_and_another_wants_a_closer_look() {
        let mut flow = tcp();
        let (there, back) = (Direction::In, Direction::Out);
        flow.see(Side::Initiator, SYN, 40);
        assert!(flow.count(Passing::new(there, true, SYN, 40), 0), "said again");
        assert!(!flow.count(Passing::new(back, false, SYN | ACK, 40), 0), "the other side's first");
        flow.see(Side::Responder, SYN | ACK, 40);
        flow.see(Side::Initiator, ACK, 40);
        let before = (flow.packets, flow.bytes, flow.lifetime());
        assert_eq!(before, (4, 160, Lifetime::TcpEstablished));
        for (direction, is_low) in [(there, true), (back, false)] {
            assert!(flow.count(Passing::new(direction, is_low, ACK, 100), 0));
            assert!(!flow.count(Passing::new(direction, is_low, ACK, 100), 1), "another epoch");
            assert!(!flow.count(Passing::new(direction, is_low, FIN | ACK, 100), 0), "news");
            assert!(!flow.count(Passing::new(direction, !is_low, ACK, 100), 0), "of neither side");
        }
        assert_eq!((flow.packets, flow.bytes), (6, 360));
        flow.see(Side::Responder, RST, 40);
        assert_eq!(flow.lifetime(), Lifetime::TcpClosing);
        assert!(!flow.count(Passing::new(there, true, ACK, 40), 0), "closing");
    }

    #[test]
    fn reset_closes_at_once() {
        let mut flow = tcp();
        flow.see(Side::Initiator, SYN, 40);
        assert!(flow.see(Side::Responder, RST | ACK, 40));
        assert_eq!(flow.state(), State::Closing);
    }

    #[test]
    fn sides_come_by_their_own_directions() {
        let flow = Flow::new(Direction::Out, false, 17);
        assert_eq!(flow.side(Direction::Out, false), Some(Side::Initiator));
        assert_eq!(flow.side(Direction::In, true), Some(Side::Responder));
        assert_eq!(flow.side(Direction::In, false), None);
        assert_eq!(flow.side(Direction::Out, true), None);
        assert_eq!(flow.state(), State::Established);
    }

    #[test]
    fn a_million_sessions_of_either_version_fit_in_less_than_200_mib() {
        use raddle_plugin_api::table::Session;
        assert_eq!(size_of::<Flow>(), 24);
        assert_eq!(size_of::<Session<[u64; 2], Flow>>(), 64);
        // The index's share, the timer, the number when it is free, and the bit that says whether it is.
        let others = 15 + 32 + 4 + 1;
        assert!((size_of::<Session<[u64; 5], Flow>>() + others) << 20 < 200 << 20);
        assert!((size_of::<Session<[u64; 2], Flow>>() + others) << 20 < 128 << 20);
    }
}
