//! The plugin in the SDK's harness: packets in, packets out, with virtual time.

mod config;
mod life;
mod packets;
mod pair;
mod policies;
