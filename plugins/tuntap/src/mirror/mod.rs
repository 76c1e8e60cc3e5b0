//! What the kernel's routes mean for raddle: a table of them, and what is to be changed over here. No clock, no socket.

mod kernel_route;
#[cfg(test)]
mod laws;
mod prefix_routes;
mod shared;
mod table;
#[cfg(test)]
mod table_tests;

pub use kernel_route::{Device, Devices, Hop, KernelRoute, KernelTarget, KernelTargets, Object, Objects};
pub use shared::SharedTable;
pub use table::{Changed, MirrorTable, Standing};
