//! The methods of the control plane that the engine itself has: what the SDK's typed functions and the commands call.

mod graph;
mod interface;
mod plugin;
mod runtime;
mod system;
mod table;
mod trace;

pub use graph::{ArcReport, FeatureReport, InitReport, NodeErrorReport, NodeReport};
pub use interface::DriverReport;
pub use plugin::PluginReport;
pub use runtime::{ErrorRow, NodeRuntime, RuntimeReport, ThreadRuntime};
pub use system::{
    BarrierBand, BarrierCause, BarrierReport, BufferReport, ProcessReport, ThreadBuffers, ThreadReport,
};
pub use trace::{DropReport, PacketReport, StayReport, TraceReport};
