//! Protocols of the network: forwarding tables and the nodes that use them.

mod address_command;
pub mod addresses;
pub mod adjacency;
mod adjacency_kind;
mod connected;
pub mod ethernet;
pub mod fib;
pub mod flow_hash;
pub mod forwarding;
mod forwarding_init;
pub mod icmp4;
pub mod icmp6;
pub mod icmp_field;
mod interface_event;
pub mod ip4_check;
pub mod ip4_input;
pub mod ip4_lookup;
pub mod ip4_multicast;
pub mod ip4_rewrite;
pub mod ip4_trace;
pub mod ip6_check;
pub mod ip6_input;
pub mod ip6_lookup;
pub mod ip6_multicast;
pub mod ip6_rewrite;
pub mod ip6_trace;
pub mod l2_xconnect;
pub mod leaf;
pub mod leaf_resolver;
pub mod link;
pub mod local;
pub mod mtu;
pub mod neighbor;
pub mod ping;
pub mod plain_hop;
pub mod punt;
pub mod punt_unclaimed;
pub mod rate_limit;
pub mod rewrite;
mod route_command;
pub mod route_view;
pub mod routes;
pub mod static_route;
pub mod table_cache;

#[cfg(test)]
mod tests;
