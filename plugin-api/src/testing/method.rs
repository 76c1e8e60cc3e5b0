//! Methods of the control plane, as far as a harness has them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, TryLockError};

use serde::Deserialize;
use serde_json::Value;

use super::host::{Host, lock};
use crate::config::nearest;
use crate::{Failure, InterfaceIndex};

type Mock = Box<dyn FnMut(Value) -> Result<Value, Failure> + Send>;

#[derive(Default)]
pub(super) struct Methods {
    mocks: BTreeMap<String, Arc<Mutex<Mock>>>,
    calls: Vec<(String, Value)>,
}

impl Methods {
    /// Has `mock` answer the method from now on.
    pub(super) fn mock(&mut self, method: &str, mock: Mock) {
        self.mocks.insert(method.to_owned(), Arc::new(Mutex::new(mock)));
    }

    /// Arguments of the calls of one method, in order.
    pub(super) fn calls(&self, method: &str) -> Vec<Value> {
        let calls = self.calls.iter().filter(|(name, _)| name == method);
        calls.map(|(_, arguments)| arguments.clone()).collect()
    }
}

#[derive(Deserialize)]
struct ByName {
    name: String,
}

#[derive(Deserialize)]
struct FeatureSwitch {
    interface: InterfaceIndex,
    feature: String,
    enabled: bool,
}

/// Calls a method: a test's mock if there is one, else the harness's own.
pub(super) fn call(host: &Host, method: &str, arguments: &str) -> Result<Value, Failure> {
    if host.is_closed() {
        crate::bail!("the harness is gone");
    }
    let arguments: Value = serde_json::from_str(arguments)?;
    let mock = {
        let mut methods = lock(&host.methods);
        methods.calls.push((method.to_owned(), arguments.clone()));
        methods.mocks.get(method).cloned()
    };
    if let Some(mock) = mock {
        return match mock.try_lock() {
            Ok(mut mock) => mock(arguments),
            Err(TryLockError::Poisoned(mock)) => mock.into_inner()(arguments),
            Err(TryLockError::WouldBlock) => crate::bail!("the mock of `{method}` calls itself"),
        };
    }
    match method {
        "interface.list" => {
            let interfaces = lock(&host.interfaces);
            let list: Vec<_> = interfaces.all().map(|(index, spec)| spec.info(index)).collect();
            Ok(serde_json::to_value(list)?)
        }
        "interface.find" => {
            let ByName { name } = serde_json::from_value(arguments)?;
            let interfaces = lock(&host.interfaces);
            match interfaces.find(&name) {
                Some((index, spec)) => Ok(serde_json::to_value(spec.info(index))?),
                None => {
                    let known = interfaces.all().map(|(_, spec)| spec.name.as_str());
                    let hint = nearest(&name, known).map(|near| format!("; did you mean `{near}`?"));
                    crate::bail!("there is no interface `{name}`{}", hint.unwrap_or_default())
                }
            }
        }
        "feature.set" => {
            let FeatureSwitch { interface, feature, enabled } = serde_json::from_value(arguments)?;
            set_feature(host, interface, &feature, enabled)?;
            Ok(Value::Null)
        }
        _ => crate::bail!("there is no method `{method}`; a test adds it with `Harness::mock`"),
    }
}

/// Switches a feature on an interface.
pub(super) fn set_feature(
    host: &Host,
    interface: InterfaceIndex,
    feature: &str,
    enabled: bool,
) -> Result<(), Failure> {
    let (arcs, interfaces) = (lock(&host.arcs), lock(&host.interfaces));
    if interfaces.spec(interface).is_none() {
        crate::bail!("there is no interface {interface}");
    }
    arcs.switch(interface, feature, enabled)?;
    if let Some(output) = arcs.index("interface-output") {
        interfaces.set_output_features(interface, arcs.mask(output, interface));
    }
    Ok(())
}
