//! Start of the router advertisements, and what they hear of interfaces and addresses.

use std::sync::Arc;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::{InterfaceChange, InterfaceEvent};

use super::RouterAdvertisements;
use crate::net::addresses::Addresses;

init! { "router-advertisement", start, runs_after: ["neighbor"] }

fn start(control: &mut Control<'_>) -> Result<(), Failure> {
    let advertisements = Arc::new(RouterAdvertisements::new(control)?);
    control.provide(Arc::clone(&advertisements))?;
    for interface in control.interfaces()? {
        advertisements.interface_changed(control, interface);
    }
    // Link-local addresses are what is told from, the others are what is told of.
    control.resource::<Addresses>()?.subscribe(move |control, event| {
        if event.address.address().is_ipv6() {
            advertisements.refresh(control, event.interface);
        }
    });
    Ok(())
}

/// Hears what has become of an interface.
///
/// # Errors
/// None: the signature is that of its like.
pub fn interface_event(control: &mut Control<'_>, event: InterfaceEvent) -> Result<(), Failure> {
    // Interfaces that come before are known from the start.
    let Ok(advertisements) = control.resource::<RouterAdvertisements>() else { return Ok(()) };
    match event.change {
        InterfaceChange::Deleted => advertisements.interface_gone(event.interface.index),
        _ => advertisements.interface_changed(control, event.interface),
    }
    Ok(())
}
