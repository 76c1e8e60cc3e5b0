//! The engine: what holds the parts together on the main thread, and the host's side of the ABI.

mod baselines;
mod engine;
mod figures;
mod images;
mod interfaces;
mod inventory;
mod life;
mod main_loop;
mod memory;
pub mod methods;
mod table;
#[cfg(test)]
mod tests;

pub use engine::{Answer, CommandEntry, Engine, EngineConfig, EngineError, Remote, Reply};
pub use images::{Image, ImageParts, ImageState, registered};
pub use interfaces::{Asked, InterfaceRequest, InterfaceState};
pub use inventory::{ArcEntry, NodeEntry};
