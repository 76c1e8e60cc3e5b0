//! ICMPv6: errors and echo.
#![forbid(unsafe_code)]

mod ip6_icmp_echo;
mod ip6_icmp_error;
mod message;

pub use ip6_icmp_echo::Ip6IcmpEcho;
pub use ip6_icmp_error::Ip6IcmpError;
