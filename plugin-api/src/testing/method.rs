//! Methods of the control plane, as far as a harness has them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, TryLockError};

use serde::Deserialize;
use serde_json::Value;

use super::host::{Host, lock};
use crate::abi::ServiceTable;
use crate::config::nearest;
use crate::event::{Signal, Subscribe, Take, Taken};
use crate::metric::{MetricKind, Place, Registration, cells_of_histogram};
use crate::service::{Exported, Identity};
use crate::{Failure, InterfaceIndex};

type Mock = Box<dyn FnMut(Value) -> Result<Value, Failure> + Send>;

#[derive(Default)]
pub(super) struct Methods {
    mocks: BTreeMap<String, Arc<Mutex<Mock>>>,
    calls: Vec<(String, Value)>,
    /// How many times the image under test holds a feature on an interface.
    holds: BTreeMap<(InterfaceIndex, String), u32>,
    services: BTreeMap<String, Offer>,
}

/// A service that is offered; holds a reference to its table.
struct Offer(Exported);

impl Offer {
    /// The service, with one reference more.
    fn retained(&self, wanted: &Identity<String>) -> Result<&Exported, Failure> {
        self.0.identity.judge(wanted)?;
        // SAFETY: the table is alive while this holds it.
        unsafe { ((*self.table()).retain)(self.table()) };
        Ok(&self.0)
    }

    fn table(&self) -> *const ServiceTable {
        self.0.table as usize as *const ServiceTable
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        // SAFETY: the reference was handed over with the offer.
        unsafe { ((*self.table()).release)(self.table()) };
    }
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
struct FibSwitch {
    interface: InterfaceIndex,
    ip4: u32,
    ip6: u32,
}

#[derive(Deserialize)]
struct FeatureSwitch {
    interface: InterfaceIndex,
    feature: String,
    enabled: bool,
}

#[derive(Deserialize)]
struct FlagSwitch {
    interface: InterfaceIndex,
    set: u32,
    clear: u32,
}

#[derive(Deserialize)]
struct FeatureHold {
    interface: InterfaceIndex,
    feature: String,
    held: bool,
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
        "interface.flags" => {
            let FlagSwitch { interface, set, clear } = serde_json::from_value(arguments)?;
            lock(&host.interfaces).change_flags(interface, set, clear);
            Ok(Value::Null)
        }
        "interface.refresh" | "interface.promiscuous" | "interface.change" => Ok(Value::Null),
        "interface.set-fib" => {
            let FibSwitch { interface, ip4, ip6 } = serde_json::from_value(arguments)?;
            let mut interfaces = lock(&host.interfaces);
            if !interfaces.set_fibs(interface, ip4, ip6) {
                crate::bail!("there is no interface {interface}");
            }
            Ok(Value::Null)
        }
        "feature.set" => {
            let FeatureSwitch { interface, feature, enabled } = serde_json::from_value(arguments)?;
            set_feature(host, interface, &feature, enabled)?;
            Ok(Value::Null)
        }
        "feature.hold" => {
            let FeatureHold { interface, feature, held } = serde_json::from_value(arguments)?;
            hold_feature(host, interface, feature, held)?;
            Ok(Value::Null)
        }
        "metric.register" => {
            let Registration { metric, kind, bounds, .. } = serde_json::from_value(arguments)?;
            let cells = if kind == MetricKind::Histogram { cells_of_histogram(&bounds) } else { 1 };
            let place = Place { length: metric.series.len() * cells, counters: metric.name };
            Ok(serde_json::to_value(place)?)
        }
        "metric.report" | "config.report" => Ok(Value::Null),
        "event.subscribe" => {
            let Subscribe { name } = serde_json::from_value(arguments)?;
            Ok(lock(&host.events).subscribe((), name).into())
        }
        "event.unsubscribe" => {
            lock(&host.events).unsubscribe(serde_json::from_value(arguments)?);
            Ok(Value::Null)
        }
        "event.take" => {
            let Take { subscription, task } = serde_json::from_value(arguments)?;
            let taken = lock(&host.events).take(subscription, task)?;
            Ok(serde_json::to_value(taken.map(|data| Taken { data }))?)
        }
        "event.signal" => {
            let Signal { name, data } = serde_json::from_value(arguments)?;
            let (heard, tasks) = lock(&host.events).signal(&name, &data);
            tasks.into_iter().for_each(|task| lock(&host.schedule).wake(task));
            Ok(heard.into())
        }
        "plugin.is-being-replaced" => {
            Ok(Value::Bool(host.replaces.load(std::sync::atomic::Ordering::Acquire)))
        }
        "service.export" => {
            let exported: Exported = serde_json::from_value(arguments)?;
            let mut methods = lock(&host.methods);
            let name = exported.identity.name.clone();
            if methods.services.contains_key(&name) {
                crate::bail!("the service `{name}` is offered already");
            }
            methods.services.insert(name, Offer(exported));
            Ok(Value::Null)
        }
        "service.find" => {
            let wanted: Identity<String> = serde_json::from_value(arguments)?;
            match lock(&host.methods).services.get(&wanted.name) {
                Some(offer) => Ok(serde_json::to_value(offer.retained(&wanted)?)?),
                None => crate::bail!("no plugin offers the service `{}`", wanted.name),
            }
        }
        _ => crate::bail!("there is no method `{method}`; a test adds it with `Harness::mock`"),
    }
}

/// Gives back the services that the image under test has exported.
pub(super) fn forget_services(host: &Host) {
    let services = std::mem::take(&mut lock(&host.methods).services);
    // Their owner's code runs with nothing locked.
    drop(services);
}

/// Counts who holds a feature on an interface; with the first it goes on, with the last off. One that the image under test has not
/// is another image's, which is not here: it is only counted.
fn hold_feature(host: &Host, interface: InterfaceIndex, feature: String, held: bool) -> Result<(), Failure> {
    let is_own = lock(&host.arcs).knows(&feature);
    if held {
        if is_own {
            set_feature(host, interface, &feature, true)?;
        }
        *lock(&host.methods).holds.entry((interface, feature)).or_default() += 1;
        return Ok(());
    }
    let left = {
        let mut methods = lock(&host.methods);
        let count = methods.holds.get_mut(&(interface, feature.clone())).filter(|count| **count > 0);
        let Some(count) = count else {
            crate::bail!("feature `{feature}` is not held on the interface with index {interface}")
        };
        *count -= 1;
        *count
    };
    if left == 0 && is_own { set_feature(host, interface, &feature, false) } else { Ok(()) }
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
