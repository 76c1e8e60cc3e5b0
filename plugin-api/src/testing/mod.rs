//! Runs nodes without root and without daemon: frames in; packets, drops, counters and traces out.
//!
//! A [`Harness`] is a small host in the test's process. It runs the nodes that a test names, and collects what they
//! send to other nodes; what the image registers (init functions, features, commands, events, its section of the
//! configuration) works in it as in the daemon. Time is virtual, and the workers of several threads run one after the
//! other on the test's own thread, so that a test gives the same each time. Each test makes its own harness; any number
//! of them live side by side.
//!
//! ```
//! use raddle_plugin_api::prelude::*;
//! use raddle_plugin_api::testing::Harness;
//!
//! next! { enum TtlNext { Lookup => "ip4-lookup" } }
//! error! { enum TtlError { TooShort => "too-short": "shorter than an IPv4 header" } }
//!
//! struct TtlFloor;
//!
//! impl Node for TtlFloor {
//!     const NAME: &'static str = "ttl-floor";
//!     type Next = TtlNext;
//!     type Error = TtlError;
//!
//!     fn new(_: &NodeInit<'_>) -> Result<Self, Failure> {
//!         Ok(Self)
//!     }
//!
//!     fn process(&mut self, vector: Vector<'_, Self>) {
//!         vector.each(|_, packet| match packet.bytes_mut().get_mut(8) {
//!             Some(ttl) => {
//!                 *ttl = (*ttl).max(8);
//!                 Verdict::Next(TtlNext::Lookup)
//!             }
//!             None => Verdict::Drop(TtlError::TooShort),
//!         });
//!     }
//! }
//!
//! let mut host = Harness::builder().interface("wan", |wan| wan.mtu(1500)).build();
//! let out = host.run::<TtlFloor>([&[0x45; 20][..], &[0; 3]]);
//! assert_eq!(out.to(TtlNext::Lookup)[0].bytes()[8], 0x45);
//! assert_eq!(out.dropped(TtlError::TooShort), 1);
//! host.assert_no_leaks();
//! ```

mod arc;
mod execute;
mod file;
mod graph;
mod harness;
mod host;
mod image;
mod interface;
mod memory;
mod method;
mod order;
pub mod packets;
mod pool;
mod run;
mod sample;
mod schedule;
#[cfg(feature = "proptest")]
pub mod strategy;
mod table;
mod upgrade;

pub use execute::{Answer, Received};
pub use harness::{Builder, Harness};
pub use host::LogLine;
pub use interface::InterfaceSpec;
pub use run::{Dropped, Panicked, Reason, Run, Sent, Target, Trace};
pub use sample::Sample;
