//! Source checks by the way back: unicast reverse path forwarding (RFC 3704, RFC 8704 §2).
#![forbid(unsafe_code)]

mod check;
mod ip4_urpf;
mod ip6_urpf;

pub use check::UrpfError;
pub use ip4_urpf::Ip4Urpf;
pub use ip6_urpf::Ip6Urpf;
