//! The packet generator: an interface whose packets are made up, from templates or capture files.
//!
//! What it *receives* is what its streams make; what the router *sends* to it is counted, and captured if asked.

#![forbid(unsafe_code)]

mod capture;
mod command;
mod compile;
mod device;
mod fields;
mod generator;
mod layer;
mod options;
mod pace;
mod pcap;
mod print;
mod program;
mod queue;
mod random;
mod rate;
mod replay;
mod report;
mod sizes;
mod stream;
mod template;
#[cfg(test)]
mod tests_commands;
#[cfg(test)]
mod tests_packets;
#[cfg(test)]
mod tests_queues;
mod transmit;
mod value;

pub use capture::{Capture, CaptureError};
pub use compile::CompileError;
pub use device::{GeneratorDevice, PacketGenerator};
pub use generator::{Generator, Generators};
pub use layer::LayerKind;
pub use options::{Content, GeneratorOptions, StreamOptions};
pub use pcap::{CaptureFormat, PcapError, read_packets};
pub use program::{Cursor, Program};
pub use queue::{GeneratorRx, Sink};
pub use rate::{Rate, RateError};
pub use replay::Replay;
pub use report::{Report, StreamReport};
pub use sizes::{Sizes, SizesError};
pub use stream::{Stream, StreamState};
pub use template::{Layer, Setting, Template, TemplateError};
pub use transmit::GeneratorTx;
pub use value::{Mode, Span, Value};
