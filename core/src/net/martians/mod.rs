//! Special-purpose addresses (RFC 6890, RFC 1812 §5.3.7) that have no business in a packet from one host to another.
//!
//! What is never right (loopback, multicast and broadcast sources) every packet is checked for in `ip4-input` and `ip6-input`.
//! Here is the rest, by table, on interfaces for which the operator wants it.
#![forbid(unsafe_code)]

mod command;
mod ip4_martians;
mod ip6_martians;
mod ranges;
mod registry;
mod rule;
mod table;

pub use ip4_martians::Ip4Martians;
pub use ip6_martians::Ip6Martians;
pub use registry::{Columns, Special};
pub use rule::MartianError;
pub use table::{MartianInfo, MartianLists, Martians};
