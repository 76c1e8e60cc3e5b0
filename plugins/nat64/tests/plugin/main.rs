//! The plugin in the SDK's harness: packets in, packets out, with virtual time.

mod errors;
mod forwarding;
mod laws;
mod log;
mod mapped;
mod pcp;
mod router;
mod sessions;
mod surroundings;
mod upgrade;
