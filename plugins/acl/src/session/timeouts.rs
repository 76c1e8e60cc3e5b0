//! How long a session lasts that is not used.

use raddle_plugin_api::wire::IpProtocol;

/// What a session's timeout goes by: its protocol, and how far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Lifetime {
    /// UDP (RFC 4787 REQ-5).
    Udp = 0,
    /// TCP whose handshake is not over (RFC 5382 REQ-5: four minutes).
    TcpTransient = 1,
    /// TCP that is established (RFC 5382 REQ-5: two hours and four minutes).
    TcpEstablished = 2,
    /// TCP both of whose sides have ended it, or one has reset it.
    TcpClosing = 3,
    /// ICMP queries (RFC 5508 REQ-2).
    Icmp = 4,
    /// Other protocols.
    Other = 5,
}

impl Lifetime {
    /// By the number that stands for it; [`Lifetime::Other`] of numbers that stand for none.
    #[inline(always)]
    pub const fn of_number(number: u8) -> Self {
        match number {
            0 => Self::Udp,
            1 => Self::TcpTransient,
            2 => Self::TcpEstablished,
            3 => Self::TcpClosing,
            4 => Self::Icmp,
            _ => Self::Other,
        }
    }

    /// Of a session of this protocol that has just begun.
    #[inline(always)]
    pub const fn first(protocol: u8) -> Self {
        match IpProtocol(protocol) {
            IpProtocol::UDP => Self::Udp,
            IpProtocol::TCP => Self::TcpTransient,
            IpProtocol::ICMP4 | IpProtocol::ICMP6 => Self::Icmp,
            _ => Self::Other,
        }
    }
}

/// Times after which a session ends that is not used, in ns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// By [`Lifetime`]; a power of two of them, so that every number is within.
    by_lifetime: [u64; 8],
}

impl Timeouts {
    /// What `of` says of each lifetime.
    pub fn new(of: impl Fn(Lifetime) -> u64) -> Self {
        Self { by_lifetime: std::array::from_fn(|number| of(Lifetime::of_number(number as u8))) }
    }

    /// The time of a session, in ns.
    #[inline(always)]
    pub fn of(&self, lifetime: Lifetime) -> u64 {
        self.by_lifetime[lifetime as usize % self.by_lifetime.len()]
    }
}
