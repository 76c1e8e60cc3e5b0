//! Makes the forwarding state and keeps it in step with interfaces.
#![forbid(unsafe_code)]

use std::sync::Arc;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::{InterfaceChange, InterfaceEvent};

use super::addresses::Addresses;
use super::adjacency::AdjacencyTable;
use super::icmp_limits::IcmpLimits;
use super::ip4_options::Ip4OptionsPolicy;
use super::martians::Martians;
use super::multicast::GroupTable;
use super::port_policy::PortPolicies;
use super::punt::PuntReasons;
use super::routes::Routes;

init! { "forwarding", make_forwarding }

fn make_forwarding(control: &mut Control<'_>) -> Result<(), Failure> {
    let adjacencies = Arc::new(AdjacencyTable::new()?);
    let routes = Arc::new(Routes::new(control, Arc::clone(&adjacencies))?);
    let addresses = Arc::new(Addresses::new(control, Arc::clone(&routes)));
    control.provide(adjacencies)?;
    control.provide(Arc::clone(routes.forwarding()))?;
    control.provide(routes)?;
    control.provide(Arc::clone(&addresses))?;
    control.provide(Arc::new(PortPolicies::default()))?;
    control.provide(Arc::new(IcmpLimits::default()))?;
    let reasons = Arc::new(PuntReasons::new(control, control.config("punt")?)?);
    control.provide(Arc::clone(&reasons))?;
    // Plugins have registered theirs when tasks begin to run.
    control.spawn("punt-reasons", |task| async move {
        task.with(|control| {
            for failure in reasons.unknown() {
                log_warn!(control, "[punt]: {failure}");
            }
        });
    });
    control.provide(Arc::new(Ip4OptionsPolicy::default()))?;
    control.provide(Arc::new(GroupTable::new(control)))?;
    control.provide(Arc::new(Martians::new(control)?))?;
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
    control.resource::<PortPolicies>()?.interface_changed(control, &event)
}
