//! The core's own commands: thin functions over the methods of the control plane, and the text of what they return.

mod config;
mod create;
mod driver_options;
mod errors;
mod graph;
mod handoff;
mod interface;
mod layout;
mod metrics;
mod pcap;
mod placement;
mod plugins;
mod runtime;
mod system;
#[cfg(test)]
mod tests;
mod trace;
