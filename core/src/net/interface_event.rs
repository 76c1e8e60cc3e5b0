//! What becomes of interfaces, told to the parts of the network in the order in which they stand on each other.
#![forbid(unsafe_code)]

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::{InterfaceChange, InterfaceEvent};

use super::{forwarding_init, neighbor};

on_event! { "interface", interface_event }

/// Addresses and routes come before neighbours, which are told of after them, and go after them.
fn interface_event(control: &mut Control<'_>, event: InterfaceEvent) -> Result<(), Failure> {
    if event.change == InterfaceChange::Deleted {
        neighbor::interface_event(control, event.clone())?;
        return forwarding_init::interface_changed(control, event);
    }
    forwarding_init::interface_changed(control, event.clone())?;
    neighbor::interface_event(control, event)
}
