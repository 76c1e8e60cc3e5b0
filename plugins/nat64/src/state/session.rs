//! Flows and sessions.

use raddle_plugin_api::table::{HashSeed, TableKey};
use raddle_plugin_api::timer::Timer;
use raddle_plugin_api::wire::checksum::Delta;
use raddle_plugin_api::wire::{Ip4Address, Ip6Address, IpProtocol};
use serde::Serialize;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::rules::words;
use super::tcp::TcpState;

/// The protocols that have sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Protocol {
    /// TCP.
    Tcp = 0,
    /// UDP.
    Udp = 1,
    /// ICMP queries; their identifier stands for a port.
    Icmp = 2,
}

/// In a session's protocol: it is one with nobody, which keeps a binding that the host has asked for. No packet has such a protocol.
pub(super) const ASKED: u8 = 1 << 7;

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Icmp];

    /// From its number, as tables keep it.
    #[inline(always)]
    pub(super) const fn from_number(number: u8) -> Self {
        match number & !ASKED {
            0 => Self::Tcp,
            1 => Self::Udp,
            _ => Self::Icmp,
        }
    }

    /// As IPv6 names it.
    #[inline(always)]
    pub fn of_ip6(protocol: IpProtocol) -> Option<Self> {
        match protocol {
            IpProtocol::TCP => Some(Self::Tcp),
            IpProtocol::UDP => Some(Self::Udp),
            IpProtocol::ICMP6 => Some(Self::Icmp),
            _ => None,
        }
    }

    /// As IPv4 names it.
    #[inline(always)]
    pub fn of_ip4(protocol: IpProtocol) -> Option<Self> {
        match protocol {
            IpProtocol::TCP => Some(Self::Tcp),
            IpProtocol::UDP => Some(Self::Udp),
            IpProtocol::ICMP4 => Some(Self::Icmp),
            _ => None,
        }
    }

    /// The number that IPv4 gives it.
    pub const fn to_ip4(self) -> IpProtocol {
        match self {
            Self::Tcp => IpProtocol::TCP,
            Self::Udp => IpProtocol::UDP,
            Self::Icmp => IpProtocol::ICMP4,
        }
    }

    /// The number that IPv6 gives it.
    pub const fn to_ip6(self) -> IpProtocol {
        match self {
            Self::Icmp => IpProtocol::ICMP6,
            other => other.to_ip4(),
        }
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
        }
    }
}

/// A flow as the IPv6 side sees it: who is inside, and whom it talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow6 {
    /// The inside host.
    pub inside: Ip6Address,
    /// Its port or identifier.
    pub inside_port: u16,
    /// The outside host, taken out of its IPv6 address.
    pub remote: Ip4Address,
    /// Its port; of ICMP the identifier too.
    pub remote_port: u16,
    /// Protocol.
    pub protocol: Protocol,
    /// Number of the tenant whose host it is: several may have hosts of one address.
    pub tenant: u8,
}

impl TableKey for Flow6 {
    #[inline(always)]
    fn hash(&self, seed: &HashSeed) -> u64 {
        let ends = u64::from(u32::from_ne_bytes(self.remote.0)) << 32
            | u64::from(self.inside_port) << 16
            | u64::from(self.remote_port);
        // Protocol and tenant are spread all over the word of the network's address.
        let [high, low] = words(self.inside);
        let kind = (u64::from(self.tenant) << 2 | self.protocol as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        seed.hash([high ^ kind, low, ends])
    }
}

/// A flow as the IPv4 side sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow4 {
    /// The pool address.
    pub outside: Ip4Address,
    /// The port or identifier there.
    pub outside_port: u16,
    /// The outside host.
    pub remote: Ip4Address,
    /// Its port; of ICMP the identifier too.
    pub remote_port: u16,
    /// Protocol.
    pub protocol: Protocol,
}

impl TableKey for Flow4 {
    #[inline(always)]
    fn hash(&self, seed: &HashSeed) -> u64 {
        let word = |address: Ip4Address| u64::from(u32::from_ne_bytes(address.0));
        let addresses = word(self.outside) << 32 | word(self.remote);
        let ports = u64::from(self.outside_port) << 32 | u64::from(self.remote_port) << 16;
        seed.hash([addresses, ports | self.protocol as u64])
    }
}

/// A session (RFC 6146 §3.1): all that a packet of it needs in either direction, in one cache line. Plain, as versions of the
/// plugin share it.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C, align(64))]
pub struct Session {
    /// The inside host: X'.
    pub inside: Ip6Address,
    /// The pool address: T.
    pub outside: Ip4Address,
    /// The outside host: Z, within Y'.
    pub remote: Ip4Address,
    /// x.
    pub inside_port: u16,
    /// t.
    pub outside_port: u16,
    /// z and y; of ICMP on the IPv4 side t stands here.
    pub remote_port: u16,
    /// What changes in a TCP or UDP checksum from the IPv6 to the IPv4 packet.
    pub delta: Delta,
    /// The part of it that is in the pseudo header: for checksums that a device is to fill in.
    pub pseudo_delta: Delta,
    pub(super) protocol: u8,
    pub(super) state: u8,
    /// The tick at which it ends if it is not used.
    pub ends: u32,
    /// The tick at which it was made.
    pub began: u32,
    /// Its binding.
    pub(super) binding: u32,
    pub(super) timer: Timer,
    /// Number of the prefix by which the outside host is known inside.
    pub prefix: u8,
    /// Number of the tenant whose host it is.
    pub tenant: u8,
    /// Of a binding that the host has asked for: what tells it from others.
    pub(super) reserved: [u8; 6],
}

const _: () = assert!(size_of::<Session>() == 64);

impl Session {
    /// Protocol.
    #[inline(always)]
    pub fn protocol(&self) -> Protocol {
        Protocol::from_number(self.protocol)
    }

    /// Whether it is one with nobody, which keeps a binding that the host has asked for.
    pub fn is_asked(&self) -> bool {
        self.protocol & ASKED != 0
    }

    /// TCP's state.
    #[inline(always)]
    pub fn state(&self) -> TcpState {
        TcpState::from_number(self.state)
    }

    /// Has it end at this tick if it is not used. Within one tick that is written once, so that the line stays clean.
    #[inline(always)]
    pub(super) fn keep_until(&mut self, ends: u32) {
        if self.ends != ends {
            self.ends = ends;
        }
    }

    /// The flow that finds it from the IPv6 side.
    #[inline(always)]
    pub fn flow6(&self) -> Flow6 {
        Flow6 {
            inside: self.inside,
            inside_port: self.inside_port,
            remote: self.remote,
            remote_port: if self.protocol() == Protocol::Icmp { self.inside_port } else { self.remote_port },
            protocol: self.protocol(),
            tenant: self.tenant,
        }
    }

    /// The flow that finds it from the IPv4 side.
    #[inline(always)]
    pub fn flow4(&self) -> Flow4 {
        Flow4 {
            outside: self.outside,
            outside_port: self.outside_port,
            remote: self.remote,
            remote_port: if self.protocol() == Protocol::Icmp { self.outside_port } else { self.remote_port },
            protocol: self.protocol(),
        }
    }

    #[inline(always)]
    pub(super) fn is6(&self, flow: &Flow6) -> bool {
        self.inside == flow.inside
            && self.inside_port == flow.inside_port
            && self.remote == flow.remote
            && self.protocol == flow.protocol as u8
            && self.tenant == flow.tenant
            && (self.remote_port == flow.remote_port || self.protocol == Protocol::Icmp as u8)
    }

    #[inline(always)]
    pub(super) fn is4(&self, flow: &Flow4) -> bool {
        self.outside == flow.outside
            && self.outside_port == flow.outside_port
            && self.remote == flow.remote
            && self.protocol == flow.protocol as u8
            && (self.remote_port == flow.remote_port || self.protocol == Protocol::Icmp as u8)
    }
}
