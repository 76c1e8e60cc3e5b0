//! Protocols of the network: forwarding tables and the nodes that use them.

pub mod adjacency;
pub mod fib;
pub mod icmp4;
pub mod icmp6;
pub mod icmp_field;
pub mod local;
pub mod neighbor;
pub mod punt;
pub mod punt_unclaimed;
pub mod rate_limit;
