//! Protocols of the network: forwarding tables and the nodes that use them.

pub mod adjacency;
pub mod fib;
pub mod icmp_field;
pub mod neighbor;
