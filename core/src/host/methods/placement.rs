//! Methods on the places of receive queues.

use raddle_plugin_api::Failure;
use serde::Deserialize;
use serde_json::Value;

use super::table::typed;
use crate::host::Engine;

#[derive(Deserialize)]
struct Move {
    interface: u32,
    queue: u32,
    thread: u32,
}

impl Engine {
    pub(super) fn add_placement_methods(&self) {
        self.add_method("interface.rx-placement", |engine, _| {
            serde_json::to_value(engine.rx_placements()).map_err(Failure::from)
        });
        self.add_method("interface.move-rx-queue", |engine, arguments| {
            let Move { interface, queue, thread } = typed(arguments)?;
            engine.move_rx_queue(interface, queue, thread as usize)?;
            Ok(Value::Null)
        });
    }
}
