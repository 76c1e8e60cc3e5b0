//! Selectors (RFC 4301 §4.4.1.1): which packets a policy is for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use raddle_plugin_api::wire::{Ip4Header, Ip6Header, Ip6Upper, IpPrefix, IpProtocol};

/// Which packets. What is `None` matches any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// Their source.
    pub source: Option<IpPrefix>,
    /// Their destination.
    pub destination: Option<IpPrefix>,
    /// Their transport protocol.
    pub protocol: Option<IpProtocol>,
    /// Their source ports, first and last.
    pub source_ports: Option<(u16, u16)>,
    /// Their destination ports, first and last.
    pub destination_ports: Option<(u16, u16)>,
}

/// What of a packet selectors look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Its source.
    pub source: IpAddr,
    /// Its destination.
    pub destination: IpAddr,
    /// Its transport protocol.
    pub protocol: IpProtocol,
    /// Its ports; `None` of later fragments, and of protocols that have none.
    pub ports: Option<(u16, u16)>,
}

impl Flow {
    /// Of a packet that begins with its IP header; `None` if that is cut short.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let (source, destination, protocol, transport): (IpAddr, IpAddr, _, _) = match bytes.first()? >> 4 {
            4 => {
                let (ip, _) = Ip4Header::parse(bytes)?;
                let transport = (!ip.is_later_fragment()).then(|| ip.header_length());
                (ip.source().to_std().into(), ip.destination().to_std().into(), ip.protocol(), transport)
            }
            _ => {
                let (ip, _) = Ip6Header::parse(bytes)?;
                let upper = Ip6Upper::find(bytes).ok()?;
                let transport = (!upper.is_later_fragment()).then_some(upper.offset);
                (ip.source().to_std().into(), ip.destination().to_std().into(), upper.protocol, transport)
            }
        };
        let ports =
            transport.filter(|_| has_ports(protocol)).and_then(|at| bytes.get(at..at + 4)).map(|bytes| {
                (u16::from_be_bytes([bytes[0], bytes[1]]), u16::from_be_bytes([bytes[2], bytes[3]]))
            });
        Some(Self { source, destination, protocol, ports })
    }
}

/// Whether packets of a protocol have ports.
pub const fn has_ports(protocol: IpProtocol) -> bool {
    matches!(protocol, IpProtocol::TCP | IpProtocol::UDP | IpProtocol::UDP_LITE | IpProtocol::SCTP)
}

impl Selector {
    /// Whether a flow is meant. One whose ports are not known (a later fragment) is meant by a selector of ports if `when_unknown`; one of
    /// a protocol without ports never is.
    pub fn matches(&self, flow: &Flow, when_unknown: bool) -> bool {
        let within = |prefix: Option<IpPrefix>, address| prefix.is_none_or(|prefix| prefix.contains(address));
        let in_range = |range: Option<(u16, u16)>, port: Option<u16>| match (range, port) {
            (None, _) => true,
            (Some((first, last)), Some(port)) => (first..=last).contains(&port),
            (Some(_), None) => when_unknown && has_ports(flow.protocol),
        };
        within(self.source, flow.source)
            && within(self.destination, flow.destination)
            && self.protocol.is_none_or(|protocol| protocol == flow.protocol)
            && in_range(self.source_ports, flow.ports.map(|ports| ports.0))
            && in_range(self.destination_ports, flow.ports.map(|ports| ports.1))
    }

    /// A flow that it means, as far as single values say which.
    pub fn example(&self, is_ip4: bool) -> Flow {
        let any: IpAddr = if is_ip4 { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let address = |prefix: Option<IpPrefix>| prefix.map_or(any, |prefix| prefix.network());
        let port = |range: Option<(u16, u16)>| range.map_or(0, |(first, _)| first);
        Flow {
            source: address(self.source),
            destination: address(self.destination),
            protocol: self.protocol.unwrap_or(IpProtocol(0)),
            ports: Some((port(self.source_ports), port(self.destination_ports))),
        }
    }
}
