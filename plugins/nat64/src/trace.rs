//! What `show trace` says of a packet here.

use std::fmt;

use raddle_plugin_api::Packet;
use raddle_plugin_api::wire::{Ip4Header, Ip6Header};
use serde::Serialize;

/// A packet as it left.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Translation {
    /// Its source as it is now.
    pub source: String,
    /// Its destination as it is now.
    pub destination: String,
    /// Its length as it is now.
    pub length: usize,
    /// The session's number on its thread.
    pub session: Option<u32>,
}

impl Translation {
    /// Of a packet whose IP header is the new one.
    pub fn of(packet: &Packet<'_>, session: Option<u32>) -> Self {
        let bytes = packet.bytes();
        let (source, destination) =
            match bytes.first().map_or(0, |first| first >> 4) {
                4 => Ip4Header::parse(bytes)
                    .map(|(ip, _)| (ip.source().to_string(), ip.destination().to_string())),
                _ => Ip6Header::parse(bytes)
                    .map(|(ip, _)| (ip.source().to_string(), ip.destination().to_string())),
            }
            .unwrap_or_default();
        Self { source, destination, length: packet.len(), session }
    }
}

impl fmt::Display for Translation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, destination, length, session } = self;
        write!(f, "now {source} > {destination}, length {length}")?;
        session.map_or(Ok(()), |session| write!(f, ", session {session}"))
    }
}
