//! MLD as a host speaks it (RFC 3810, RFC 9777; RFC 2710 with older routers).
#![forbid(unsafe_code)]

mod message;
mod mld_input;

pub use message::packets;
pub use mld_input::MldInput;
