//! The engine: what holds the parts together on the main thread, and the host's side of the ABI.

#[cfg(test)]
mod barrier_tests;
mod baselines;
mod bring_in;
mod engine;
mod features;
mod figures;
mod grants;
#[cfg(test)]
mod handoff_tests;
mod images;
mod interfaces;
mod inventory;
mod kept_memory;
mod life;
mod main_loop;
mod memory;
pub mod methods;
mod pcap;
mod placement;
#[cfg(test)]
mod process_tests;
mod processes;
mod registered_metrics;
mod snapshot;
mod splice;
mod table;
#[cfg(test)]
mod tests;
mod upgrade;
#[cfg(test)]
mod wake_tests;
mod watchdog;
mod withdraw;

pub use engine::{Answer, CommandEntry, Engine, EngineConfig, EngineError, Remote, Reply};
pub use images::{AbsentPlugin, Image, ImageParts, ImageState, Step, registered};
pub use interfaces::{Asked, InterfaceRequest, InterfaceState};
pub use inventory::{ArcEntry, NodeEntry, section_schemas};
pub use pcap::PcapReport;
pub use placement::RxPlacement;
pub use registered_metrics::{MetricSample, SampleValue};
pub use snapshot::{NodeSample, PluginSample, Snapshot, ThreadSample};
pub use upgrade::Upgraded;
pub use withdraw::Departure;
