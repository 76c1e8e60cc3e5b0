//! Interfaces: the registry, their devices and queues, and the way out.

mod device;
mod output;
mod registry;

pub use device::{Device, DriverEntry};
pub use output::InterfaceOutput;
pub use registry::{Interface, InterfaceError, Registry};
