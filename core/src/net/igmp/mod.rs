//! IGMP as a host speaks it (RFC 3376, RFC 9776; RFC 2236 and RFC 1112 with older routers).
#![forbid(unsafe_code)]

mod igmp_input;
mod message;

pub use igmp_input::IgmpInput;
pub use message::{framed, packets};
