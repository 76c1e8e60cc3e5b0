//! What is said when the process dies of a signal: whose code it was, and where.

mod labels;
mod report;
mod scribe;

pub use labels::{
    Call, CallLabel, NodeLabel, PluginLabel, call, calls, current_call, make_label, node_label, plugin_label,
    return_to, set_label, set_mapped,
};
pub use report::{LAST_CRASH, install, this_thread};
