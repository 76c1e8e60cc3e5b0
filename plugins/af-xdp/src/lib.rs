//! `af-xdp`: interfaces of the host by AF_XDP sockets. Frames come and go in raddle's own packet buffers.
//!
//! The files: this one registers; `options.rs` has an interface's keys, `filter.rs` the traffic that is left to the host;
//! `program.rs` makes the XDP program of it, by `assembler.rs`, and `attachment.rs` puts that on a link; `links.rs` asks the host
//! about its links; `device.rs` is the device (`error.rs`: what can be wrong with it) with its queues in `rx_queue.rs` and `tx_queue.rs`, and
//! `retry.rs` for what cannot be sent at once; `checksum.rs` finds checksums
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
mod retry;
mod rx_queue;
mod tx_queue;

use std::os::fd::AsFd as _;
use std::sync::Arc;

use raddle_plugin_api::file::Interest;
use raddle_plugin_api::prelude::*;

use crate::device::AfXdp;
use crate::report::Devices;

plugin! { "af-xdp", "brings interfaces of the host by AF_XDP sockets" }

init! { "af-xdp-init", init }

raddle_plugin_api::driver!(AfXdp);

fn init(control: &mut Control<'_>) -> Result<(), Failure> {
    let devices = Arc::new(Devices::new()?);
    let (retry, all) = (devices.retry(), Arc::clone(&devices));
    control.watch_file(retry.as_fd(), Interest::Readable, 0, move |worker, _| all.resume(worker))?;
    control.provide(devices)
}
