//! Start of the sub-interfaces, and what they hear of interfaces.
#![forbid(unsafe_code)]

use std::sync::Arc;

use raddle_plugin_api::InterfaceEvent;
use raddle_plugin_api::prelude::*;

use super::Vlans;

init! { "vlan", start }

fn start(control: &mut Control<'_>) -> Result<(), Failure> {
    control.provide(Arc::new(Vlans::new(control)?))
}

/// Hears what has become of an interface.
///
/// # Errors
/// The host does not answer as it should.
pub fn interface_event(control: &Control<'_>, event: &InterfaceEvent) -> Result<(), Failure> {
    // Interfaces that come before the init function are known from the start.
    let Ok(vlans) = control.resource::<Vlans>() else { return Ok(()) };
    vlans.interface_event(control, event)
}
