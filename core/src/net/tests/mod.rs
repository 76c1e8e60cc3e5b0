//! Tests of nodes and routes together, on the SDK's harness.

mod bridge;
mod duplicates;
mod ethernet;
mod forwarding;
mod fragment_and_join;
mod fragmentation;
mod fragments;
mod gro;
mod ip4_options;
mod ip4_way;
mod ip6_way;
mod local;
mod mtu;
mod multicast;
mod neighbors;
mod offload;
mod policy;
mod policy_routing;
mod proxy;
mod punt;
mod reassembly;
mod router_advertisement;
pub mod setup;
mod tables;
mod virtual_reassembly;
mod vlan;
