//! What goes into the neighbour table and what comes out of it.
#![forbid(unsafe_code)]

use raddle_plugin_api::wire::MacAddress;

use super::entry::NeighborKey;

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action<Q> {
    /// Ask for the neighbour: everyone on the link, or the one at `mac` whether it is still there.
    Solicit {
        /// Whom.
        key: NeighborKey,
        /// Where it was last.
        mac: Option<MacAddress>,
    },
    /// Packets to the neighbour go to this MAC address from now on. With `watch`, tell the table of the next one
    /// ([`Table::used`](super::Table::used)).
    Link {
        /// Whose.
        key: NeighborKey,
        /// Where it is.
        mac: MacAddress,
        /// Whether the next use is of interest.
        watch: bool,
    },
    /// The neighbour is not known any more: packets to it must come here.
    Unlink {
        /// Whose.
        key: NeighborKey,
    },
    /// It was asked often enough and has not answered.
    Failed {
        /// Who.
        key: NeighborKey,
    },
    /// The packet can be sent.
    Send {
        /// Towards whom.
        key: NeighborKey,
        /// The packet.
        packet: Q,
    },
    /// Nobody answers: tell the packet's sender.
    Unreachable {
        /// Towards whom.
        key: NeighborKey,
        /// The packet.
        packet: Q,
    },
    /// The packet found no room, or its neighbour was forgotten.
    Drop {
        /// The packet.
        packet: Q,
        /// Why.
        reason: DropReason,
    },
}

/// Why a waiting packet is dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DropReason {
    /// Too many packets wait for the neighbour, or on the interface.
    QueueFull,
    /// Too many neighbours are being resolved, or the table is full.
    TooMany,
    /// The neighbour was removed: its interface went down, or the operator cleared it.
    Removed,
    /// The interface has asked for as many neighbours as it may in a second.
    RateLimited,
}

/// What a neighbour said of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Heard {
    /// It asked for us: an ARP request, a solicitation (RFC 4861 §7.2.3).
    Request {
        /// Where it is.
        mac: MacAddress,
    },
    /// It told where it is: an ARP reply, an advertisement (RFC 4861 §7.2.5).
    Answer {
        /// Where it is; `None` if it did not say.
        mac: Option<MacAddress>,
        /// We asked.
        solicited: bool,
        /// What was known is to be replaced.
        overrides: bool,
        /// It is a router; `None` where the protocol does not say.
        router: Option<bool>,
    },
}
