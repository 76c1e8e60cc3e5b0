//! What the first pass over a frame has seen of its packets.

use raddle_plugin_api::abi::FRAME_SIZE;
use raddle_plugin_api::wire::{Ip4Address, Ip6Address, TcpFlags};

use crate::flow::Plain;
use crate::state::{Flow4, Flow6, Protocol};

/// How many packets ahead sessions are fetched: as many as are decided about while a line comes from far.
pub const AHEAD: usize = 12;

/// A packet, as the first pass has seen it.
#[derive(Clone, Copy)]
pub struct Seen<F> {
    /// Its flow and what else was read.
    pub plain: Plain<F>,
    /// The flow's hash.
    pub hash: u64,
    /// Number of the session that it probably is of.
    pub number: u32,
    /// Whether it is of the usual kind; else nothing of all this is true.
    pub is_plain: bool,
}

impl<F: Copy> Seen<F> {
    /// Room for a frame.
    pub fn frame(none: F) -> Box<[Self; FRAME_SIZE]> {
        let plain = Plain { flow: none, flags: TcpFlags(0), prefix: 0 };
        Box::new([Self { plain, hash: 0, number: u32::MAX, is_plain: false }; FRAME_SIZE])
    }

    /// Notes a packet of the usual kind with its hash, or that it is none.
    #[inline(always)]
    pub fn note(&mut self, plain: Option<(u64, Plain<F>)>) {
        self.is_plain = plain.is_some();
        if let Some((hash, plain)) = plain {
            (self.hash, self.plain) = (hash, plain);
        }
    }
}

impl Flow6 {
    /// A flow that no packet has.
    pub const NONE: Self = Self {
        inside: Ip6Address::from_bits(0),
        inside_port: 0,
        remote: Ip4Address::UNSPECIFIED,
        remote_port: 0,
        protocol: Protocol::Udp,
        tenant: 0,
    };
}

impl Flow4 {
    /// A flow that no packet has.
    pub const NONE: Self = Self {
        outside: Ip4Address::UNSPECIFIED,
        outside_port: 0,
        remote: Ip4Address::UNSPECIFIED,
        remote_port: 0,
        protocol: Protocol::Udp,
    };
}
