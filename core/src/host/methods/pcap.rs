//! Methods on captures.

use raddle_plugin_api::Failure;
use serde_json::Value;

use super::table::typed;
use crate::host::Engine;

impl Engine {
    pub(super) fn add_pcap_methods(&self) {
        self.add_method("pcap.start", |engine, arguments| {
            engine.start_pcap(typed(arguments)?)?;
            Ok(Value::Null)
        });
        self.add_method("pcap.stop", |engine, number| {
            serde_json::to_value(engine.stop_pcap(typed(number)?)?).map_err(Failure::from)
        });
        self.add_method("pcap.show", |engine, _| {
            serde_json::to_value(engine.pcap_reports()).map_err(Failure::from)
        });
    }
}
