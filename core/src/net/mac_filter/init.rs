//! Start of the filters, and what they hear of interfaces.
#![forbid(unsafe_code)]

use std::sync::Arc;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::{InterfaceChange, InterfaceEvent};

use super::MacFilters;

init! { "mac-filter", start, runs_before: ["duplicate-detection", "multicast", "neighbor"] }

fn start(control: &mut Control<'_>) -> Result<(), Failure> {
    control.provide(Arc::new(MacFilters::new(control)))
}

/// Hears what has become of an interface, after its groups.
pub fn interface_event(control: &Control<'_>, event: &InterfaceEvent) {
    // Interfaces that come before the filters have no addresses yet.
    if event.change == InterfaceChange::Deleted
        && let Ok(filters) = control.resource::<MacFilters>()
    {
        filters.forget(control, event.interface.index);
    }
}
