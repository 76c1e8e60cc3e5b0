//! Tests of nodes and routes together, on the SDK's harness.

mod ethernet;
mod forwarding;
mod ip4_way;
mod ip6_way;
mod local;
mod neighbors;
mod setup;
