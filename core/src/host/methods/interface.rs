//! Methods on interfaces, their drivers and features.

use raddle_plugin_api::driver::Change;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::table::typed;
use crate::host::{Engine, InterfaceRequest};
use crate::runtime::{InterfaceCounter, RxMode};

#[derive(Deserialize)]
struct ByName {
    name: String,
}

#[derive(Deserialize)]
struct ByIndex {
    interface: u32,
}

#[derive(Deserialize)]
struct FeatureSwitch {
    interface: u32,
    feature: String,
    enabled: bool,
}

#[derive(Deserialize)]
struct FeatureHold {
    interface: u32,
    feature: String,
    held: bool,
}

#[derive(Deserialize)]
struct StateSwitch {
    interface: u32,
    up: bool,
}

#[derive(Deserialize)]
struct FibSwitch {
    interface: u32,
    ip4: u32,
    ip6: u32,
}

#[derive(Deserialize)]
struct ChangeRequest {
    interface: u32,
    change: Change,
}

#[derive(Deserialize)]
struct PromiscuousSwitch {
    interface: u32,
    by: String,
    on: bool,
}

#[derive(Deserialize)]
struct FlagSwitch {
    interface: u32,
    set: u32,
    clear: u32,
}

#[derive(Deserialize)]
struct RxModeSwitch {
    interface: u32,
    queue: Option<u32>,
    mode: RxMode,
}

#[derive(Deserialize)]
struct Xconnect {
    interface: u32,
    peer: Option<u32>,
}

#[derive(Deserialize)]
struct StateQuery {
    interface: Option<u32>,
    #[serde(default)]
    verbose: bool,
}

/// A driver, for `show drivers`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DriverReport {
    /// Its name.
    pub name: String,
    /// What it drives.
    pub summary: String,
    /// JSON Schema of its options.
    pub schema: Value,
}

impl Engine {
    pub(super) fn add_interface_methods(&self) {
        self.add_method("interface.list", |engine, _| {
            let interfaces = engine.interfaces.borrow();
            let all: Vec<_> = interfaces.iter().filter_map(|(index, _)| interfaces.info(index)).collect();
            Ok(serde_json::to_value(all)?)
        });
        self.add_method("interface.find", |engine, arguments| {
            let index = engine.find_interface(&typed::<ByName>(arguments)?.name)?;
            Ok(serde_json::to_value(engine.interfaces.borrow().info(index))?)
        });
        self.add_method("interface.states", |engine, arguments| {
            let query: StateQuery = typed(arguments)?;
            Ok(serde_json::to_value(engine.interface_states(query.interface, query.verbose))?)
        });
        self.add_method("interface.clear-counters", |engine, _| {
            engine.clear_interface_counters();
            Ok(Value::Null)
        });
        self.add_method("interface.create", |engine, arguments| {
            Ok(json!(engine.add_interface(typed::<InterfaceRequest>(arguments)?)?))
        });
        self.add_method("interface.delete", |engine, arguments| {
            engine.remove_interface(typed::<ByIndex>(arguments)?.interface);
            Ok(Value::Null)
        });
        self.add_method("interface.up", |engine, arguments| {
            let StateSwitch { interface, up } = typed(arguments)?;
            engine.set_interface_up(interface, up)?;
            Ok(Value::Null)
        });
        self.add_method("interface.change", |engine, arguments| {
            let ChangeRequest { interface, change } = typed(arguments)?;
            engine.change_interface(interface, change)?;
            Ok(Value::Null)
        });
        self.add_method("interface.refresh", |engine, arguments| {
            engine.refresh_interface(typed::<ByIndex>(arguments)?.interface);
            Ok(Value::Null)
        });
        self.add_method("interface.promiscuous", |engine, arguments| {
            let PromiscuousSwitch { interface, by, on } = typed(arguments)?;
            engine.set_promiscuous(interface, &by, on)?;
            Ok(Value::Null)
        });
        self.add_method("interface.flags", |engine, arguments| {
            let FlagSwitch { interface, set, clear } = typed(arguments)?;
            engine.change_flags(interface, set, clear)?;
            Ok(Value::Null)
        });
        self.add_method("interface.xconnect", |engine, arguments| {
            let Xconnect { interface, peer } = typed(arguments)?;
            engine.set_xconnect(interface, peer)?;
            Ok(Value::Null)
        });
        self.add_method("interface.set-fib", |engine, arguments| {
            let FibSwitch { interface, ip4, ip6 } = typed(arguments)?;
            engine.set_interface_fib(interface, ip4, ip6)?;
            Ok(Value::Null)
        });
        self.add_method("interface.rx-mode", |engine, arguments| {
            let RxModeSwitch { interface, queue, mode } = typed(arguments)?;
            engine.set_rx_mode(interface, queue, mode)?;
            Ok(Value::Null)
        });
        self.add_method("feature.set", |engine, arguments| {
            let FeatureSwitch { interface, feature, enabled } = typed(arguments)?;
            engine.set_feature(interface, &feature, enabled)?;
            Ok(Value::Null)
        });
        self.add_method("feature.hold", |engine, arguments| {
            let FeatureHold { interface, feature, held } = typed(arguments)?;
            engine.hold_feature(interface, &feature, held)?;
            Ok(Value::Null)
        });
        self.add_method("driver.list", |engine, _| {
            let all = engine.drivers().into_iter();
            let report =
                all.map(|(name, summary, schema)| DriverReport { name, summary, schema }).collect::<Vec<_>>();
            Ok(serde_json::to_value(report)?)
        });
    }

    fn clear_interface_counters(&self) {
        let (interfaces, threads) = (self.interfaces.borrow(), self.threads.borrow());
        let mut baselines = self.baselines.borrow_mut();
        for (index, _) in interfaces.iter() {
            let counts = InterfaceCounter::ALL.map(|counter| {
                threads.all_shared().map(|shared| shared.interfaces.read(index, counter)).sum()
            });
            baselines.interfaces.insert(index, counts);
        }
    }
}
