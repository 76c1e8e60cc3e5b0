//! What becomes of neighbours, for who wants to know: routes that avoid a next hop that does not answer, for example.
#![forbid(unsafe_code)]

use raddle_plugin_api::Control;

use super::entry::NeighborKey;

/// What became of a neighbour.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NeighborChange {
    /// It is known from now on: packets to it are sent.
    Resolved,
    /// It was asked often enough and has not answered (RFC 4861 §7.3.3). It is forgotten, and is asked for again when a
    /// packet needs it or by [`Neighbors::resolve`](super::Neighbors::resolve).
    Unreachable,
    /// It was forgotten: it aged, found no room, its interface went down, or the operator removed it.
    Forgotten,
}

/// Something became of a neighbour.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NeighborEvent {
    /// The neighbour.
    pub key: NeighborKey,
    /// What.
    pub change: NeighborChange,
}

/// A function that hears of neighbours, on the main thread, when forwarding has changed already.
pub type NeighborListener = dyn Fn(&Control<'_>, &NeighborEvent) + Send + Sync;
