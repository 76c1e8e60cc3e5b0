//! A packet's flow: protocol, addresses and ports.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use raddle_plugin_api::Packet;
use raddle_plugin_api::wire::{Ip4Address, Ip4Header, Ip6Address, Ip6Header, Ip6Upper, IpProtocol};
use serde::Serialize;

/// Why a packet has no flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoFlow {
    /// The IP header, or an extension header, is not what it should be.
    BadHeader,
    /// The packet ends before the ports of its protocol.
    NoPorts,
}

/// What all packets of a flow, in one direction, have in common. Ports are zero for protocols without, and in fragments
/// other than the first, which have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Where it comes from.
    pub source: SocketAddr,
    /// Where it goes.
    pub destination: SocketAddr,
    /// The protocol on top of IP.
    pub protocol: IpProtocol,
}

/// A flow as five words: source, destination, and the rest, which is never zero.
pub type Key = [u64; 5];

impl Flow {
    /// The flow of a packet that begins with its IPv4 header.
    ///
    /// # Errors
    /// It has none that can be told.
    pub fn of_ip4(packet: &Packet<'_>) -> Result<Self, NoFlow> {
        let ip = Ip4Header::check(packet.bytes(), packet.len()).map_err(|_| NoFlow::BadHeader)?;
        let ports =
            if ip.is_later_fragment() { (0, 0) } else { ports(packet, ip.protocol(), ip.header_length())? };
        Ok(Self::new(ip.source().to_std().into(), ip.destination().to_std().into(), ports, ip.protocol()))
    }

    /// The flow of a packet that begins with its IPv6 header.
    ///
    /// # Errors
    /// It has none that can be told.
    pub fn of_ip6(packet: &Packet<'_>) -> Result<Self, NoFlow> {
        let ip = Ip6Header::check(packet.bytes(), packet.len()).map_err(|_| NoFlow::BadHeader)?;
        let upper = Ip6Upper::find(packet.bytes()).map_err(|_| NoFlow::BadHeader)?;
        let ports =
            if upper.is_later_fragment() { (0, 0) } else { ports(packet, upper.protocol, upper.offset)? };
        Ok(Self::new(ip.source().to_std().into(), ip.destination().to_std().into(), ports, upper.protocol))
    }

    fn new(source: IpAddr, destination: IpAddr, ports: (u16, u16), protocol: IpProtocol) -> Self {
        Self {
            source: SocketAddr::new(source, ports.0),
            destination: SocketAddr::new(destination, ports.1),
            protocol,
        }
    }

    /// The flow as words.
    pub fn key(&self) -> Key {
        let [s0, s1] = words(self.source.ip());
        let [d0, d1] = words(self.destination.ip());
        let version = if self.source.is_ipv4() { 4 } else { 6 };
        let ports = u64::from(self.source.port()) << 16 | u64::from(self.destination.port());
        [s0, s1, d0, d1, version << 40 | u64::from(self.protocol.0) << 32 | ports]
    }

    /// The flow that [`Flow::key`] gave these words for.
    pub fn from_key(key: Key) -> Self {
        let [s0, s1, d0, d1, rest] = key;
        let address = |high: u64, low: u64| match rest >> 40 {
            4 => Ip4Address::from_bits(low as u32).to_std().into(),
            _ => Ip6Address::from_bits(u128::from(high) << 64 | u128::from(low)).to_std().into(),
        };
        let ports = ((rest >> 16) as u16, rest as u16);
        Self::new(address(s0, s1), address(d0, d1), ports, IpProtocol((rest >> 32) as u8))
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.protocol.name() {
            Some(name) => write!(f, "{name} ")?,
            None => write!(f, "protocol {} ", self.protocol.0)?,
        }
        if has_ports(self.protocol) {
            write!(f, "{} > {}", self.source, self.destination)
        } else {
            write!(f, "{} > {}", self.source.ip(), self.destination.ip())
        }
    }
}

impl Serialize for Flow {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "kebab-case")]
        struct Fields {
            protocol: u8,
            source: IpAddr,
            source_port: u16,
            destination: IpAddr,
            destination_port: u16,
        }
        Fields {
            protocol: self.protocol.0,
            source: self.source.ip(),
            source_port: self.source.port(),
            destination: self.destination.ip(),
            destination_port: self.destination.port(),
        }
        .serialize(serializer)
    }
}

fn words(address: IpAddr) -> [u64; 2] {
    match address {
        IpAddr::V4(address) => [0, u64::from(address.to_bits())],
        IpAddr::V6(address) => [(address.to_bits() >> 64) as u64, address.to_bits() as u64],
    }
}

fn has_ports(protocol: IpProtocol) -> bool {
    matches!(protocol, IpProtocol::TCP | IpProtocol::UDP | IpProtocol::SCTP | IpProtocol::UDP_LITE)
}

/// Source and destination port, which begin all headers that have any. The header may be in a later buffer.
fn ports(packet: &Packet<'_>, protocol: IpProtocol, offset: usize) -> Result<(u16, u16), NoFlow> {
    if !has_ports(protocol) {
        return Ok((0, 0));
    }
    let mut bytes = [0; 4];
    match packet.bytes().get(offset..offset + 4) {
        Some(near) => bytes.copy_from_slice(near),
        None if packet.copy_out(offset, &mut bytes) == 4 => {}
        None => return Err(NoFlow::NoPorts),
    }
    let [s0, s1, d0, d1] = bytes;
    Ok((u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_gives_back_its_flow() {
        for (source, destination, protocol) in [
            ("192.0.2.2:4242", "198.51.100.2:80", IpProtocol::TCP),
            ("[2001:db8::1]:65535", "[2001:db8:ffff::2]:1", IpProtocol::UDP),
            ("0.0.0.0:0", "0.0.0.0:0", IpProtocol::HOP_BY_HOP),
            ("[::]:0", "[::]:0", IpProtocol::HOP_BY_HOP),
        ] {
            let flow =
                Flow { source: source.parse().unwrap(), destination: destination.parse().unwrap(), protocol };
            assert_eq!(Flow::from_key(flow.key()), flow);
            assert_ne!(flow.key()[4], 0);
        }
    }

    #[test]
    fn flows_read_as_people_write_them() {
        let flow = |source: &str, destination: &str, protocol| {
            let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
            Flow { source, destination, protocol }.to_string()
        };
        assert_eq!(
            flow("192.0.2.2:42", "198.51.100.2:80", IpProtocol::TCP),
            "tcp 192.0.2.2:42 > 198.51.100.2:80"
        );
        assert_eq!(
            flow("[2001:db8::1]:0", "[2001:db8::2]:0", IpProtocol::GRE),
            "gre 2001:db8::1 > 2001:db8::2"
        );
        assert_eq!(flow("192.0.2.2:0", "192.0.2.3:0", IpProtocol(253)), "protocol 253 192.0.2.2 > 192.0.2.3");
    }
}
