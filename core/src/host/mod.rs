//! The engine: what holds the parts together on the main thread, and the host's side of the ABI.

mod baselines;
mod engine;
mod images;
mod interfaces;
mod main_loop;
mod memory;
pub mod methods;
mod table;

pub use engine::{Answer, CommandEntry, Engine, EngineConfig, EngineError, Remote, Reply};
pub use images::{Image, ImageParts, ImageState};
pub use interfaces::{InterfaceRequest, InterfaceState};
