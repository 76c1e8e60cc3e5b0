//! What a node is: its state, its nexts, its errors, and where a packet goes.

use serde::Serialize;

use crate::{Failure, NodeIndex, NodeInit, Vector};

/// A node of the graph. One value of it is made for each thread; it is the node's state there.
///
/// Declare it with [`node!`](crate::node), which registers it.
///
/// ```
/// use raddle_plugin_api::prelude::*;
///
/// next! { pub enum TtlNext { Lookup => "ip4-lookup" } }
/// error! { pub enum TtlError { TooShort => "too-short": "shorter than an IPv4 header" } }
///
/// pub struct TtlFloor;
///
/// impl Node for TtlFloor {
///     const NAME: &'static str = "ttl-floor";
///     type Next = TtlNext;
///     type Error = TtlError;
///
///     fn new(_: &NodeInit<'_>) -> Result<Self, Failure> {
///         Ok(Self)
///     }
///
///     fn process(&mut self, vector: Vector<'_, Self>) {
///         vector.each(|_, packet| match packet.bytes_mut().get_mut(8) {
///             Some(ttl) => {
///                 *ttl = (*ttl).max(8);
///                 Verdict::Next(TtlNext::Lookup)
///             }
///             None => Verdict::Drop(TtlError::TooShort),
///         });
///     }
/// }
///
/// node!(TtlFloor);
/// # fn main() {}
/// ```
pub trait Node: Sized + Send + 'static {
    /// Name, unique in the graph: lower case, words joined by `-`.
    const NAME: &'static str;
    /// Where its packets can go, beside `drop` and along a feature arc.
    type Next: Next;
    /// Why it drops packets.
    type Error: Errors;

    /// Makes the node's state for one thread. Runs on the main thread, after the plugin's init functions.
    ///
    /// # Errors
    /// What the node needs is not there; the plugin is refused with that reason.
    fn new(init: &NodeInit<'_>) -> Result<Self, Failure>;

    /// Sends each packet of the frame somewhere. Runs on the state's thread.
    fn process(&mut self, vector: Vector<'_, Self>);
}

/// A node that brings packets in, called once in each pass of its thread's loop.
pub trait InputNode: Sized + Send + 'static {
    /// Name, unique in the graph.
    const NAME: &'static str;
    /// Where its packets can go.
    type Next: Next;

    /// Makes the node's state for one thread.
    ///
    /// # Errors
    /// As [`Node::new`].
    fn new(init: &NodeInit<'_>) -> Result<Self, Failure>;

    /// Brings packets in by `output`.
    fn poll(&mut self, output: &mut crate::Output<'_, Self::Next>);
}

/// The nexts of a node: an enum made by [`next!`](crate::next).
pub trait Next: Copy + 'static {
    /// Name of the node behind each variant, in order.
    const NAMES: &'static [crate::abi::Text];

    /// Position of the variant.
    fn slot(self) -> usize;
}

/// The errors of a node, which are the reasons of its drops: an enum made by [`error!`](crate::error).
pub trait Errors: Copy + 'static {
    /// Name of each variant, in order.
    const NAMES: &'static [crate::abi::Text];
    /// What each variant means.
    const TEXTS: &'static [crate::abi::Text];

    /// Position of the variant.
    fn slot(self) -> usize;
}

/// No nexts: all packets are dropped or go along an arc.
#[derive(Clone, Copy, Debug)]
pub enum NoNext {}

impl Next for NoNext {
    const NAMES: &'static [crate::abi::Text] = &[];

    fn slot(self) -> usize {
        match self {}
    }
}

/// No errors: the node drops nothing.
#[derive(Clone, Copy, Debug)]
pub enum NoError {}

impl Errors for NoError {
    const NAMES: &'static [crate::abi::Text] = &[];
    const TEXTS: &'static [crate::abi::Text] = &[];

    fn slot(self) -> usize {
        match self {}
    }
}

/// Where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<N, E> {
    /// To one of the node's nexts.
    Next(N),
    /// To the next feature of the arc that the packet is on, or to the arc's end.
    Continue,
    /// Nowhere: dropped, and counted by this reason.
    Drop(E),
    /// To a node that a table names (an adjacency, a feature's): see [`crate::Env::enter_arc`].
    To(NodeIndex),
}

/// What a node notes of a traced packet: serialised for `--json`, displayed for people.
pub trait TraceRecord: Serialize + std::fmt::Display {}

impl<T: Serialize + std::fmt::Display> TraceRecord for T {}

/// Declares the nexts of a node: an enum whose variants name nodes.
///
/// `next! { pub enum MyNext { Lookup => "ip4-lookup", Punt => "punt" } }`
#[macro_export]
macro_rules! next {
    ($(#[$meta:meta])* $visibility:vis enum $name:ident { $($(#[$vmeta:meta])* $variant:ident => $node:expr),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $visibility enum $name {
            $($(#[$vmeta])* #[doc = concat!("To `", $node, "`.")] $variant,)+
        }

        impl $crate::Next for $name {
            const NAMES: &'static [$crate::abi::Text] = &[$($crate::abi::Text::new($node)),+];

            #[inline(always)]
            fn slot(self) -> usize {
                self as usize
            }
        }
    };
}

/// Declares the errors of a node: an enum whose variants have a name for counters and a text for people.
///
/// `error! { pub enum MyError { TooShort => "too-short": "shorter than its header" } }`
#[macro_export]
macro_rules! error {
    ($(#[$meta:meta])* $visibility:vis enum $name:ident { $($variant:ident => $error:literal : $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $visibility enum $name {
            $(#[doc = concat!("`", $error, "`: ", $text, ".")] $variant,)+
        }

        impl $crate::Errors for $name {
            const NAMES: &'static [$crate::abi::Text] = &[$($crate::abi::Text::new($error)),+];
            const TEXTS: &'static [$crate::abi::Text] = &[$($crate::abi::Text::new($text)),+];

            #[inline(always)]
            fn slot(self) -> usize {
                self as usize
            }
        }
    };
}
