//! The method by which plugins change routes.

use raddle_plugin_api::route::{MAX_BATCH, RouteBatch, RouteDone, RouteTarget};
use raddle_plugin_api::{Control, Failure, bail, failure};

use crate::host::Engine;
use crate::net::fib::{Action, NextHop};
use crate::net::routes::{BulkChange, Routes};

/// Preferences below this are the core's.
const LEAST_PREFERENCE: u8 = 10;

/// Adds the methods `route.change` and `route.fib-index`.
pub fn add_route_method(engine: &Engine) {
    engine.add_method("route.fib-index", |engine, arguments| {
        let table: raddle_plugin_api::route::TableKey = serde_json::from_value(arguments)?;
        let found = engine.with_core(|control| control.resource::<Routes>()?.find_table(&table))?;
        Ok(found.1.into())
    });
    engine.add_method("route.change", |engine, arguments| {
        let batch: RouteBatch = serde_json::from_value(arguments)?;
        check(&batch)?;
        let done = RouteDone { routes: batch.routes.len() };
        let done = if engine.is_overruled() {
            done
        } else if engine.is_put_off() {
            engine.put_off(move |engine| {
                if let Err(failure) = change_for(engine, &batch) {
                    tracing::error!(plugin = engine.current_plugin(), "its routes: {failure}");
                }
            });
            done
        } else {
            change_for(engine, &batch)?
        };
        Ok(serde_json::to_value(done)?)
    });
}

/// Changes routes of the plugin in whose code the main thread is; they are its own until it goes.
fn change_for(engine: &Engine, batch: &RouteBatch) -> Result<RouteDone, Failure> {
    let plugin = engine.current_plugin();
    let owner = plugin.clone();
    engine.note_kept("routes".to_owned(), move |engine| {
        let withdrawn = engine.with_core(|control| {
            control.resource::<Routes>()?.withdraw(control, &owner);
            Ok(())
        });
        if let Err(failure) = withdrawn {
            tracing::error!(plugin = owner, "its routes are not withdrawn: {failure}");
        }
    });
    engine.with_core(|control| change(control, &plugin, batch))
}

fn check(batch: &RouteBatch) -> Result<(), Failure> {
    let RouteBatch { preference, targets, routes: changes, .. } = batch;
    if *preference < LEAST_PREFERENCE {
        bail!("preference {preference} is the core's own; a plugin's is {LEAST_PREFERENCE} or more");
    }
    if changes.len() > MAX_BATCH {
        bail!("a batch of {} routes is more than {MAX_BATCH}", changes.len());
    }
    if let Some((prefix, at)) = changes
        .iter()
        .find_map(|(prefix, at)| at.filter(|at| *at as usize >= targets.len()).map(|at| (prefix, at)))
    {
        bail!("route {prefix} has target {at} of {}", targets.len());
    }
    Ok(())
}

fn change(control: &Control<'_>, plugin: &str, batch: &RouteBatch) -> Result<RouteDone, Failure> {
    let RouteBatch { table, preference, owner, targets, routes: changes } = batch;
    let routes = control.resource::<Routes>()?;
    let actions =
        targets.iter().map(|target| action(control, &routes, target)).collect::<Result<_, Failure>>()?;
    let source = routes.source_of(plugin, *preference, *owner)?;
    let mut bulk = routes.begin(table, source, actions)?;
    let changes: &[BulkChange] = changes;
    let turn = routes.turn(control, &mut bulk, changes, u64::MAX);
    routes.end(control, bulk);
    match turn.failure {
        Some(failure) => Err(failure!("stopped behind {} routes, which stay: {failure}", turn.done)),
        None => Ok(RouteDone { routes: turn.done }),
    }
}

fn action(control: &Control<'_>, routes: &Routes, target: &RouteTarget) -> Result<Action, Failure> {
    Ok(match target {
        RouteTarget::Blackhole => Action::Blackhole,
        RouteTarget::Unreachable => Action::Unreachable,
        RouteTarget::Prohibit => Action::Prohibit,
        RouteTarget::Table(table) => Action::Table { table: routes.find_table(table)?.0 },
        RouteTarget::Node(name) => Action::Node { node: control.node(name)?.number(), name: name.clone() },
        RouteTarget::Via(hops) => {
            let hop = |hop: &raddle_plugin_api::route::RouteHop| NextHop {
                address: hop.address,
                interface: hop.interface.map(|interface| interface.0),
                weight: hop.weight,
            };
            match hops.iter().map(hop).collect::<Vec<_>>().as_slice() {
                [NextHop { address: None, interface: Some(interface), .. }] => {
                    Action::Connected { interface: *interface }
                }
                next_hops => Action::Via(next_hops.to_vec()),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use raddle_plugin_api::route::{RouteHop, TableKey};
    use serde_json::json;

    use super::*;
    use crate::host::EngineConfig;

    fn batch(routes: &[(&str, Option<u32>)]) -> RouteBatch {
        RouteBatch {
            table: TableKey::DEFAULT,
            preference: 20,
            owner: 7,
            targets: vec![
                RouteTarget::Via(vec![RouteHop::recursive("192.0.2.1".parse().unwrap())]),
                RouteTarget::Prohibit,
            ],
            routes: routes.iter().map(|(prefix, at)| (prefix.parse().unwrap(), *at)).collect(),
        }
    }

    #[test]
    fn plugins_add_replace_and_remove_routes_in_batches() {
        let engine = Engine::create(EngineConfig { buffers: 1024, ..EngineConfig::default() }).unwrap();
        add_route_method(&engine);
        let call = |batch: &RouteBatch| {
            engine
                .call("route.change", serde_json::to_value(batch).unwrap())
                .map_err(|error| error.to_string())
        };
        let shown = |prefix: &str| {
            let found = engine.with_core(|control| {
                control.resource::<Routes>()?.find(&TableKey::DEFAULT, prefix.parse().unwrap())
            });
            found.unwrap().map(|route| (route.prefix, route.source, route.route))
        };
        let done =
            call(&batch(&[("10.0.0.0/8", Some(0)), ("2001:db8::/32", Some(1)), ("10.1.0.0/16", None)]));
        assert_eq!(done, Ok(json!({ "routes": 3 })));
        let expected = ("10.0.0.0/8".into(), "plugin core 20/7".into(), "via 192.0.2.1".into());
        assert_eq!(shown("10.0.0.0/8"), Some(expected));
        assert_eq!(shown("2001:db8::/32").unwrap().2, "prohibit");
        assert!(call(&batch(&[("10.0.0.0/8", Some(1)), ("2001:db8::/32", None)])).is_ok());
        assert_eq!((shown("10.0.0.0/8").unwrap().2, shown("2001:db8::/32")), ("prohibit".into(), None));
        for (wrong, message) in [
            (
                RouteBatch { preference: 1, ..batch(&[]) },
                "preference 1 is the core's own; a plugin's is 10 or more",
            ),
            (batch(&[("10.0.0.0/8", Some(2))]), "route 10.0.0.0/8 has target 2 of 2"),
            (RouteBatch { table: TableKey::Id(9), ..batch(&[]) }, "there is no routing table 9"),
            (
                batch(&[("11.0.0.0/8", Some(1)), ("2001:db8::/32", Some(0))]),
                "stopped behind 1 routes, which stay: next hop 192.0.2.1 of 2001:db8::/32 is of the other family and needs \
                 an interface",
            ),
        ] {
            assert_eq!(call(&wrong), Err(message.to_owned()));
        }
    }
}
