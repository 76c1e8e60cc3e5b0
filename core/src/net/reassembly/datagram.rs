//! A datagram in progress.

use raddle_plugin_api::L4Ports;

use super::spans::Spans;

/// A fragment that is kept.
#[derive(Debug)]
pub struct Piece<P> {
    /// The packet.
    pub packet: P,
    /// Where the fragment's data begins in it.
    pub data_at: u16,
}

/// A datagram in progress: `P` is the packets.
#[derive(Debug)]
pub struct Datagram<P> {
    /// What has come; a stretch whose packet has gone on has no piece any more.
    pub spans: Spans<Option<Piece<P>>>,
    /// What its first fragment says of ports.
    pub ports: Option<L4Ports>,
    /// Bit *n* is set when a fragment had *n* in its bits of congestion notification.
    pub ecn: u8,
    /// Length of the largest fragment that came, from its IP header on.
    pub largest: u32,
    /// It was given up: all that still comes of it is dropped (RFC 5722 §4).
    pub is_condemned: bool,
}

impl<P> Default for Datagram<P> {
    fn default() -> Self {
        Self { spans: Spans::default(), ports: None, ecn: 0, largest: 0, is_condemned: false }
    }
}

impl<P> Datagram<P> {
    /// The packets that it holds, in the order of the data, and none left. It forgets what has come.
    pub fn drain(&mut self) -> impl Iterator<Item = P> + use<P> {
        self.spans.take().flatten().map(|piece| piece.packet)
    }
}
