//! Methods on metrics.

use raddle_plugin_api::Failure;
use raddle_plugin_api::metric::{Registration, Report};
use serde_json::Value;

use super::table::typed;
use crate::graph::Owner;
use crate::host::Engine;

impl Engine {
    pub(super) fn add_metric_methods(&self) {
        self.add_method("metric.register", |engine, arguments| {
            let registration: Registration = typed(arguments)?;
            let (owner, plugin) = engine.calling_plugin();
            let mut metrics = engine.registered_metrics.borrow_mut();
            let place = metrics.register(owner, plugin.as_deref(), registration)?;
            serde_json::to_value(place).map_err(Failure::from)
        });
        self.add_method("metric.report", |engine, arguments| {
            let report: Report = typed(arguments)?;
            let (_, plugin) = engine.calling_plugin();
            engine.registered_metrics.borrow_mut().report(plugin.as_deref(), report)?;
            Ok(Value::Null)
        });
    }

    /// In whose code the main thread is: its number, and its name unless it is the core.
    fn calling_plugin(&self) -> (Owner, Option<String>) {
        let owner = self.current_owner.get();
        let name = self.owner_name(owner);
        (owner, (owner != Owner::CORE).then_some(name))
    }
}
