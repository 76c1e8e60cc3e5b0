//! All methods, by name.

use raddle_plugin_api::Failure;
use serde::Deserialize;
use serde_json::Value;

use crate::host::Engine;

/// The arguments of a method, typed.
pub(in crate::host) fn typed<T: for<'de> Deserialize<'de>>(arguments: Value) -> Result<T, Failure> {
    Ok(serde_json::from_value(arguments)?)
}

impl Engine {
    pub(in crate::host) fn add_core_methods(&self) {
        self.add_interface_methods();
        self.add_runtime_methods();
        self.add_graph_methods();
        self.add_plugin_methods();
        self.add_system_methods();
        self.add_event_methods();
        self.add_handoff_methods();
        self.add_metric_methods();
        self.add_section_methods();
        self.add_pcap_methods();
        self.add_placement_methods();
        self.add_service_methods();
        self.add_trace_methods();
    }
}
