//! How a traced IPv4 packet is noted by each node of its way.
#![forbid(unsafe_code)]

use std::fmt;

use raddle_plugin_api::Packet;
use raddle_plugin_api::wire::{Ip4Header, IpProtocol};
use serde::Serialize;

use super::adjacency::{AdjacencyIndex, AdjacencyKind};

/// The header of a packet, as far as there is one.
#[derive(Debug, Serialize)]
pub struct Ip4Trace {
    header: Option<Header>,
    #[serde(skip_serializing_if = "Option::is_none")]
    adjacency: Option<(AdjacencyIndex, AdjacencyKind)>,
}

#[derive(Debug, Serialize)]
struct Header {
    source: String,
    destination: String,
    protocol: u8,
    ttl: u8,
    length: u16,
}

impl Ip4Trace {
    /// The header that the packet starts with.
    pub fn of(packet: &Packet<'_>) -> Self {
        let header = Ip4Header::parse(packet.bytes()).map(|(header, _)| Header {
            source: header.source().to_string(),
            destination: header.destination().to_string(),
            protocol: header.protocol().0,
            ttl: header.ttl(),
            length: header.total_length(),
        });
        Self { header, adjacency: None }
    }

    /// The same, and what the lookup found.
    pub fn with_adjacency(packet: &Packet<'_>, index: u32, kind: AdjacencyKind) -> Self {
        Self { adjacency: Some((AdjacencyIndex(index), kind)), ..Self::of(packet) }
    }
}

impl fmt::Display for Ip4Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.header {
            Some(ip) => write!(
                f,
                "{} -> {} {} ttl {} length {}",
                ip.source,
                ip.destination,
                IpProtocol(ip.protocol),
                ip.ttl,
                ip.length
            )?,
            None => f.write_str("no header")?,
        }
        match &self.adjacency {
            Some((index, kind)) => write!(f, ", adjacency {} {kind}", index.0),
            None => Ok(()),
        }
    }
}
