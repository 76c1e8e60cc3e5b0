//! A rule, and its text: `permit tcp from 10.0.0.0/8 to @servers port 80,443 log`.

use std::fmt;

use raddle_plugin_api::wire::{IpPrefix, IpProtocol};

/// What becomes of a packet that a rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// It passes.
    Permit,
    /// It is dropped.
    Deny,
    /// It passes, and so do the answers to it.
    Reflect,
}

impl Action {
    /// As it stands in a rule.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Permit => "permit",
            Self::Deny => "deny",
            Self::Reflect => "reflect",
        }
    }
}

/// A version of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// IPv4.
    Ip4,
    /// IPv6.
    Ip6,
}

/// Addresses that a rule names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Addresses {
    /// All.
    #[default]
    Any,
    /// Those of a prefix.
    Prefix(IpPrefix),
    /// Those of a set, by its name.
    Set(String),
}

/// One side of a rule: addresses, and ports, all if there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Side {
    /// The addresses.
    pub addresses: Addresses,
    /// Ranges of ports, both ends included.
    pub ports: Vec<(u16, u16)>,
}

/// Which fragments a rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fragments {
    /// Packets that are fragments.
    Any,
    /// First fragments.
    First,
    /// Fragments other than the first.
    Later,
    /// Packets that are whole.
    None,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    /// What becomes of packets.
    pub action: Action,
    /// Of which version of IP; both, if `None`.
    pub version: Option<Version>,
    /// Of which protocol.
    pub protocol: Option<IpProtocol>,
    /// Where they come from.
    pub from: Side,
    /// Where they go.
    pub to: Side,
    /// Types of ICMP messages, both ends included.
    pub icmp_type: Option<(u8, u8)>,
    /// Codes of ICMP messages.
    pub icmp_code: Option<(u8, u8)>,
    /// TCP flags: which are looked at, and which of those are set.
    pub flags: Option<TcpFlagMatch>,
    /// The DSCP.
    pub dscp: Option<u8>,
    /// As fragments.
    pub fragments: Option<Fragments>,
    /// Whether matches are logged.
    pub log: bool,
}

/// TCP flags that are looked at, and how they must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TcpFlagMatch {
    /// Those that are set.
    pub value: u8,
    /// Those that are looked at.
    pub mask: u8,
}

impl Rule {
    /// Whether the rule looks at what is behind the IP header: what only the first fragment of a datagram has.
    pub fn looks_at_transport(&self) -> bool {
        !self.from.ports.is_empty()
            || !self.to.ports.is_empty()
            || self.icmp_type.is_some()
            || self.icmp_code.is_some()
            || self.flags.is_some()
            || self.action == Action::Reflect
    }

    /// Names of the sets that the rule refers to.
    pub fn sets(&self) -> impl Iterator<Item = &str> {
        [&self.from, &self.to].into_iter().filter_map(|side| match &side.addresses {
            Addresses::Set(name) => Some(name.as_str()),
            _ => None,
        })
    }
}

/// Names of TCP flags, from the lowest bit on.
pub const TCP_FLAGS: [&str; 8] = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"];

impl fmt::Display for TcpFlagMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |bits: u8| {
            let names: Vec<_> = (0..8).filter(|bit| bits & 1 << bit != 0).map(|bit| TCP_FLAGS[bit]).collect();
            if names.is_empty() { "none".to_owned() } else { names.join("+") }
        };
        write!(f, "{}/{}", names(self.value), names(self.mask))
    }
}

struct Range<T>(T, T);

impl<T: fmt::Display + PartialEq> fmt::Display for Range<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == self.1 { self.0.fmt(f) } else { write!(f, "{}-{}", self.0, self.1) }
    }
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Prefix(prefix) => prefix.fmt(f),
            Self::Set(name) => write!(f, "@{name}"),
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.addresses.fmt(f)?;
        for (at, &(first, last)) in self.ports.iter().enumerate() {
            write!(f, "{}{}", if at == 0 { " port " } else { "," }, Range(first, last))?;
        }
        Ok(())
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.action.word())?;
        match (self.version, self.protocol) {
            (_, Some(IpProtocol::ICMP4)) => f.write_str(" icmp")?,
            (_, Some(IpProtocol::ICMP6)) => f.write_str(" icmp6")?,
            (Some(Version::Ip4), _) => f.write_str(" ip4")?,
            (Some(Version::Ip6), _) => f.write_str(" ip6")?,
            (None, None) => f.write_str(" ip")?,
            (None, Some(_)) => {}
        }
        if let Some(protocol) = self.protocol
            && protocol != IpProtocol::ICMP4
            && protocol != IpProtocol::ICMP6
        {
            write!(f, " {}", ProtocolName(protocol))?;
        }
        if self.from != Side::default() {
            write!(f, " from {}", self.from)?;
        }
        if self.to != Side::default() {
            write!(f, " to {}", self.to)?;
        }
        if let Some((first, last)) = self.icmp_type {
            write!(f, " type {}", Range(first, last))?;
        }
        if let Some((first, last)) = self.icmp_code {
            write!(f, " code {}", Range(first, last))?;
        }
        if let Some(flags) = self.flags {
            write!(f, " flags {flags}")?;
        }
        if let Some(dscp) = self.dscp {
            write!(f, " dscp {dscp}")?;
        }
        match self.fragments {
            Some(Fragments::Any) => f.write_str(" fragment any")?,
            Some(Fragments::First) => f.write_str(" fragment first")?,
            Some(Fragments::Later) => f.write_str(" fragment later")?,
            Some(Fragments::None) => f.write_str(" fragment none")?,
            None => {}
        }
        if self.log { f.write_str(" log") } else { Ok(()) }
    }
}

/// A protocol as a rule names it.
struct ProtocolName(IpProtocol);

impl fmt::Display for ProtocolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match PROTOCOLS.iter().find(|(_, protocol)| *protocol == self.0) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "proto {}", self.0.0),
        }
    }
}

/// Protocols that have a word in rules, beside `icmp` and `icmp6`.
pub const PROTOCOLS: [(&str, IpProtocol); 11] = [
    ("tcp", IpProtocol::TCP),
    ("udp", IpProtocol::UDP),
    ("sctp", IpProtocol::SCTP),
    ("udp-lite", IpProtocol::UDP_LITE),
    ("esp", IpProtocol::ESP),
    ("ah", IpProtocol::AH),
    ("gre", IpProtocol::GRE),
    ("ospf", IpProtocol::OSPF),
    ("vrrp", IpProtocol::VRRP),
    ("igmp", IpProtocol::IGMP),
    ("ipip", IpProtocol::IP4),
];
