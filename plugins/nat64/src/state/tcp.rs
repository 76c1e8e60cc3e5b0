//! The states of a TCP session (RFC 6146 §3.5.2.2).

use raddle_plugin_api::wire::TcpFlags;
use serde::Serialize;

/// Where a packet comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// From the IPv6 side, inside.
    Six,
    /// From the IPv4 side, outside.
    Four,
}

/// What is known of a connection. "CLOSED" is a session that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum TcpState {
    /// Not TCP: the session has no states.
    None,
    /// A SYN came from the IPv4 side.
    V4Init,
    /// A SYN came from the IPv6 side.
    V6Init,
    /// SYNs came from both sides.
    Established,
    /// A FIN came from the IPv4 side.
    V4Fin,
    /// A FIN came from the IPv6 side.
    V6Fin,
    /// FINs came from both sides.
    BothFin,
    /// A RST came.
    Transitory,
}

/// What a packet does to the session's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// It goes on.
    Keep,
    /// The session lives for TCP_EST from now on.
    Established,
    /// The session lives for TCP_TRANS from now on, even if it would have lived longer.
    Transitory,
}

impl TcpState {
    const ALL: [Self; 8] = [
        Self::None,
        Self::V4Init,
        Self::V6Init,
        Self::Established,
        Self::V4Fin,
        Self::V6Fin,
        Self::BothFin,
        Self::Transitory,
    ];

    /// From its number, as tables keep it. What is no state is one that ends soon.
    #[inline(always)]
    pub(super) fn from_number(number: u8) -> Self {
        Self::ALL.get(usize::from(number)).copied().unwrap_or(Self::Transitory)
    }

    /// Whether a packet is one of those in the middle of a connection, which leave the state as it is and give it TCP_EST.
    #[inline(always)]
    pub fn after_usual(self, flags: TcpFlags) -> bool {
        const ANY: TcpFlags = TcpFlags::SYN.union(TcpFlags::FIN).union(TcpFlags::RST);
        self == Self::Established && !flags.intersects(ANY)
    }

    /// The state after a packet that has gone through, and what becomes of the session's time.
    pub fn after(self, side: Side, flags: TcpFlags) -> (Self, Lifetime) {
        let (syn, fin, rst) =
            (flags.contains(TcpFlags::SYN), flags.contains(TcpFlags::FIN), flags.contains(TcpFlags::RST));
        match (self, side) {
            (Self::None, _) => (self, Lifetime::Keep),
            (Self::V4Init, Side::Six) if syn => (Self::Established, Lifetime::Established),
            (Self::V4Init, _) => (self, Lifetime::Keep),
            (Self::V6Init, Side::Four) if syn => (Self::Established, Lifetime::Established),
            (Self::V6Init, Side::Six) if syn => (self, Lifetime::Transitory),
            (Self::V6Init, _) => (self, Lifetime::Keep),
            (Self::Established, _) if rst => (Self::Transitory, Lifetime::Transitory),
            (Self::Established, Side::Four) if fin => (Self::V4Fin, Lifetime::Keep),
            (Self::Established, Side::Six) if fin => (Self::V6Fin, Lifetime::Keep),
            (Self::V4Fin, Side::Six) | (Self::V6Fin, Side::Four) if fin => {
                (Self::BothFin, Lifetime::Transitory)
            }
            (Self::Established | Self::V4Fin | Self::V6Fin, _) => (self, Lifetime::Established),
            (Self::BothFin, _) => (self, Lifetime::Keep),
            (Self::Transitory, _) if rst => (self, Lifetime::Keep),
            (Self::Transitory, _) => (Self::Established, Lifetime::Established),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYN: TcpFlags = TcpFlags::SYN;
    const ACK: TcpFlags = TcpFlags::ACK;
    const FIN: TcpFlags = TcpFlags(0x11);
    const RST: TcpFlags = TcpFlags::RST;

    #[test]
    fn states_have_their_numbers() {
        for (number, state) in (0..).zip(TcpState::ALL) {
            assert_eq!((TcpState::from_number(number), state as u8), (state, number));
        }
        assert_eq!(TcpState::from_number(99), TcpState::Transitory);
    }

    /// RFC 6146 §3.5.2.2, state by state.
    #[test]
    fn states_follow_the_machine() {
        use Lifetime as L;
        use Side::{Four, Six};
        use TcpState as S;
        for (state, side, flags, next, lifetime) in [
            (S::V4Init, Six, SYN, S::Established, L::Established),
            (S::V4Init, Four, SYN, S::V4Init, L::Keep),
            (S::V4Init, Four, RST, S::V4Init, L::Keep),
            (S::V6Init, Four, SYN, S::Established, L::Established),
            (S::V6Init, Six, SYN, S::V6Init, L::Transitory),
            (S::V6Init, Four, RST, S::V6Init, L::Keep),
            (S::Established, Four, ACK, S::Established, L::Established),
            (S::Established, Six, SYN, S::Established, L::Established),
            (S::Established, Four, FIN, S::V4Fin, L::Keep),
            (S::Established, Six, FIN, S::V6Fin, L::Keep),
            (S::Established, Six, RST, S::Transitory, L::Transitory),
            (S::V4Fin, Four, FIN, S::V4Fin, L::Established),
            (S::V4Fin, Six, ACK, S::V4Fin, L::Established),
            (S::V4Fin, Six, FIN, S::BothFin, L::Transitory),
            (S::V6Fin, Four, FIN, S::BothFin, L::Transitory),
            (S::V6Fin, Six, FIN, S::V6Fin, L::Established),
            (S::BothFin, Six, ACK, S::BothFin, L::Keep),
            (S::BothFin, Four, RST, S::BothFin, L::Keep),
            (S::Transitory, Four, RST, S::Transitory, L::Keep),
            (S::Transitory, Four, ACK, S::Established, L::Established),
            (S::None, Six, SYN, S::None, L::Keep),
        ] {
            assert_eq!(state.after(side, flags), (next, lifetime), "{state:?} {side:?} {flags:?}");
            if state.after_usual(flags) {
                assert_eq!((next, lifetime), (state, L::Established), "{state:?} {flags:?}");
            }
        }
    }
}
