//! What the kernel's routes mean for raddle: a table of them, and what is to be changed over here. No clock, no socket.

mod kernel_route;
#[cfg(test)]
mod laws;
mod table;

pub use kernel_route::{Device, Devices, Hop, KernelRoute, KernelTarget, Object, Objects};
pub use table::{MirrorTable, Standing};
