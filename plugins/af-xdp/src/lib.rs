//! `af-xdp`: interfaces of the host by AF_XDP sockets. Frames come and go in raddle's own packet buffers.
//!
//! The files: this one registers; `options.rs` has an interface's keys, `filter.rs` the traffic that is left to the host;
//! `program.rs` makes the XDP program of it, by `assembler.rs`, and `attachment.rs` puts that on a link; `links.rs` asks the host
//! about its links; `device.rs` is the device (`error.rs`: what can be wrong with it) with its queues in `rx_queue.rs` and `tx_queue.rs`; `checksum.rs` finds checksums
//! that a sender on this host has left to its device; `report.rs` shows it all.
#![forbid(unsafe_code)]

mod assembler;
mod attachment;
mod checksum;
mod counts;
mod device;
mod error;
mod filter;
mod links;
mod options;
mod program;
mod report;
mod rx_queue;
mod tx_queue;

use std::sync::Arc;

use raddle_plugin_api::prelude::*;

use crate::device::AfXdp;
use crate::report::Devices;

plugin! { "af-xdp", "brings interfaces of the host by AF_XDP sockets" }

init! { "af-xdp-init", init }

raddle_plugin_api::driver!(AfXdp);

fn init(control: &mut Control<'_>) -> Result<(), Failure> {
    control.provide(Arc::new(Devices::default()))
}
