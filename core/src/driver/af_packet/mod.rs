//! `af-packet`: an interface of the host, by packet sockets with mapped rings (packet(7)).
//!
//! Frames come and go with a virtio-net header: partial checksums and GSO packets of up to 64 KiB stay as they are.

mod device;
mod options;
mod ring;
mod rx_queue;
mod slot;
mod socket;
#[cfg(test)]
mod tests;
mod tx_queue;

pub use device::{AfPacket, AfPacketDevice};
pub use options::{Fanout, Options, OptionsError};
pub use rx_queue::AfPacketRx;
pub use tx_queue::AfPacketTx;

raddle_plugin_api::driver!(AfPacket);
