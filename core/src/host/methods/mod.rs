//! The methods of the control plane that the engine itself has: what the SDK's typed functions and the commands call.

mod interface;
mod runtime;
mod table;

pub use interface::DriverReport;
pub use runtime::{ErrorRow, NodeRuntime, RuntimeReport, ThreadRuntime};
