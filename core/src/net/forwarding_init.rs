//! Makes the forwarding state and keeps it in step with interfaces.
#![forbid(unsafe_code)]

use std::sync::Arc;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::{InterfaceChange, InterfaceEvent};

use super::addresses::Addresses;
use super::adjacency::AdjacencyTable;
use super::fib::Fib;
use super::forwarding::ForwardingTables;
use super::routes::Routes;

init! { "forwarding", make_forwarding }

fn make_forwarding(control: &mut Control<'_>) -> Result<(), Failure> {
    let (ip4, ip6) = (Fib::new()?, Fib::new()?);
    let adjacencies = Arc::new(AdjacencyTable::new()?);
    let readers = (vec![ip4.reader()], vec![ip6.reader()]);
    let tables = Arc::new(ForwardingTables::new(control, Arc::clone(&adjacencies), readers.0, readers.1)?);
    let routes = Arc::new(Routes::new(control, Arc::clone(&tables), ip4, ip6)?);
    let addresses = Arc::new(Addresses::new(control, Arc::clone(&routes)));
    control.provide(adjacencies)?;
    control.provide(tables)?;
    control.provide(routes)?;
    control.provide(Arc::clone(&addresses))?;
    // Interfaces that were made before tell of themselves only once more.
    for interface in control.interfaces()? {
        addresses.interface_changed(control, &InterfaceEvent { change: InterfaceChange::Changed, interface });
    }
    Ok(())
}

/// Hears what has become of an interface.
///
/// # Errors
/// The init function has not run.
pub fn interface_changed(control: &mut Control<'_>, event: InterfaceEvent) -> Result<(), Failure> {
    control.resource::<Addresses>()?.interface_changed(control, &event);
    Ok(())
}
