//! Start of the neighbour table, its timer, and what it hears of interfaces.

use std::sync::Arc;
use std::time::Duration;

use raddle_plugin_api::abi::LogLevel;
use raddle_plugin_api::prelude::*;
use raddle_plugin_api::{InterfaceChange, InterfaceEvent, task};

use super::command::set_static;
use super::config::StaticNeighbors;
use super::{NeighborKey, Neighbors};
use crate::net::addresses::Addresses;
use crate::net::local::OwnTable;

init! { "neighbor", start, runs_after: ["forwarding", "local"] }

/// The longest sleep: no deadline is set less than this ahead, so that none passes unseen (the shortest is the time
/// between two solicitations).
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
const SHORTEST_SLEEP: Duration = Duration::from_millis(5);

fn start(control: &mut Control<'_>) -> Result<(), Failure> {
    let neighbors = Arc::new(Neighbors::new(control)?);
    control.provide(Arc::clone(&neighbors))?;
    for interface in control.interfaces()? {
        neighbors.interface_there(control, interface.index);
        configure(control, interface.index, &interface.name)?;
    }
    control.resource::<Addresses>()?.subscribe(move |_, event| {
        if event.in_force {
            neighbors.announce(event.interface, &[event.address]);
        }
    });
    control.spawn("neighbor", |task| async move {
        loop {
            let wait_ns = task.with(|control| control.resource::<Neighbors>().ok()?.expire(control));
            let wait = wait_ns.map_or(LONGEST_SLEEP, Duration::from_nanos);
            task::sleep(wait.clamp(SHORTEST_SLEEP, LONGEST_SLEEP)).await;
        }
    });
    Ok(())
}

/// Hears what has become of an interface.
///
/// # Errors
/// The init function has not run, or the configuration of neighbours is wrong.
pub fn interface_event(control: &mut Control<'_>, event: InterfaceEvent) -> Result<(), Failure> {
    // Interfaces that come before the table was made are in it from the start.
    let Ok(neighbors) = control.resource::<Neighbors>() else { return Ok(()) };
    let InterfaceEvent { change, interface: info } = event;
    let (index, name) = (info.index, info.name.clone());
    match change {
        InterfaceChange::Created => {
            neighbors.interface_changed(control, info);
            configure(control, index, &name)?;
        }
        InterfaceChange::Changed => {
            // RFC 4861 §7.2.6: the link hears of a new link-layer address.
            if neighbors.interface_changed(control, info) {
                let own = control.resource::<OwnTable>()?;
                neighbors.announce(index, &own.get(control).of_interface(index));
            }
        }
        // Its addresses are announced as they come into force.
        InterfaceChange::Up => {
            neighbors.interface_changed(control, info);
        }
        InterfaceChange::Down => neighbors.interface_down(control, index, false),
        InterfaceChange::Deleted => neighbors.interface_down(control, index, true),
    }
    Ok(())
}

/// Sets the configured neighbours of an interface that has come to be. One that cannot be set does not keep the others.
fn configure(control: &Control<'_>, interface: InterfaceIndex, name: &str) -> Result<(), Failure> {
    let configured: StaticNeighbors = control.config("neighbor")?;
    for neighbor in configured.into_iter().filter(|neighbor| neighbor.interface == name) {
        let key = NeighborKey { interface, address: neighbor.address };
        if let Err(failure) = set_static(control, key, neighbor.mac) {
            let address = neighbor.address;
            control.log(LogLevel::ERROR, format_args!("configured neighbour {address} on {name}: {failure}"));
        }
    }
    Ok(())
}
