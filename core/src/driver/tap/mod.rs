//! `tap`: a virtual Ethernet cable to the host, or to one of its network namespaces; `tun`: the same for IP packets.
//!
//! Frames come and go with a virtio-net header: partial checksums and GSO packets of up to 64 KiB stay as they are.

mod device;
mod options;
mod rx_queue;
mod sys;
#[cfg(test)]
mod tests;
mod tx_queue;

pub use device::{Tap, TapDevice, Tun};
pub use options::{Options, OptionsError, TunOptions};
pub use rx_queue::TapRx;
pub use tx_queue::TapTx;

raddle_plugin_api::driver!(Tap);
raddle_plugin_api::driver!(Tun);
