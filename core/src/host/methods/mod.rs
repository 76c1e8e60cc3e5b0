//! The methods of the control plane that the engine itself has: what the SDK's typed functions and the commands call.

mod graph;
mod handoff;
mod interface;
mod metric;
mod pcap;
mod placement;
mod plugin;
mod runtime;
mod section;
mod service;
mod system;
mod table;
mod trace;

pub use graph::{ArcReport, FeatureReport, InitReport, NodeErrorReport, NodeReport};
pub use handoff::HandoffReport;
pub use interface::DriverReport;
pub use plugin::{PluginReport, PluginRuntime, StepReport};
pub use runtime::{ErrorRow, NodeRuntime, RuntimeReport, ThreadRuntime};
pub use system::{
    BarrierBand, BarrierCause, BarrierReport, BufferReport, ProcessReport, ThreadBuffers, ThreadReport,
};
pub use trace::{DropReport, PacketReport, StayReport, TraceReport};

pub(super) use runtime::thread_name;
pub(super) use service::Services;
pub(super) use table::typed;
