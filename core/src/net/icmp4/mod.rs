//! ICMP for IPv4: errors and echo.
#![forbid(unsafe_code)]

mod ip4_icmp_echo;
mod ip4_icmp_error;
mod message;

pub use ip4_icmp_echo::Ip4IcmpEcho;
pub use ip4_icmp_error::Ip4IcmpError;
