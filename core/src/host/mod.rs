//! The engine: what holds the parts together on the main thread, and the host's side of the ABI.

mod baselines;
mod engine;
mod figures;
mod images;
mod inventory;
mod interfaces;
mod main_loop;
mod memory;
pub mod methods;
mod table;
#[cfg(test)]
mod tests;

pub use engine::{Answer, CommandEntry, Engine, EngineConfig, EngineError, Remote, Reply};
pub use images::{Image, ImageParts, ImageState, registered};
pub use inventory::{ArcEntry, NodeEntry};
pub use interfaces::{InterfaceRequest, InterfaceState};
