//! What becomes of interfaces, told to the parts of the network in the order in which they stand on each other.
#![forbid(unsafe_code)]

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::{InterfaceChange, InterfaceEvent};

use super::{forwarding_init, l2, mac_filter, multicast, neighbor, reassembly, router_advertisement, vlan};

on_event! { "interface", interface_event }

/// Addresses and routes come before neighbours, groups and what is told to hosts, which are told of after them, and go after
/// them.
fn interface_event(control: &mut Control<'_>, event: InterfaceEvent) -> Result<(), Failure> {
    reassembly::interface_event(control, &event);
    if event.change == InterfaceChange::Deleted {
        // Sub-interfaces and BVIs go down before what they stand on is gone.
        vlan::interface_event(control, &event)?;
        l2::interface_event(control, &event);
        router_advertisement::interface_event(control, event.clone())?;
        neighbor::interface_event(control, event.clone())?;
        multicast::interface_event(control, &event)?;
        mac_filter::interface_event(control, &event);
        return forwarding_init::interface_changed(control, event);
    }
    forwarding_init::interface_changed(control, event.clone())?;
    neighbor::interface_event(control, event.clone())?;
    multicast::interface_event(control, &event)?;
    router_advertisement::interface_event(control, event.clone())?;
    vlan::interface_event(control, &event)?;
    l2::interface_event(control, &event);
    Ok(())
}
