//! Capture files: started and ended by the main thread, written by a thread of their own.

mod file;
mod names;
mod service;
mod writer;

pub use service::{PcapReport, PcapService};
