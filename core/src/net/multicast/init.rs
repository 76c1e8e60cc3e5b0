//! Start of the groups, and those that follow from addresses: a router with an address is among all hosts and all routers of the
//! link (RFC 1112 §7.2, RFC 4291 §2.8).

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::Ip6Address;
use raddle_plugin_api::{InterfaceChange, InterfaceEvent};

use super::groups::Groups;
use crate::net::addresses::{AddressEvent, Addresses};

init! { "multicast", start, runs_after: ["forwarding", "local", "neighbor"] }

fn start(control: &mut Control<'_>) -> Result<(), Failure> {
    let groups = Arc::new(Groups::new(control)?);
    control.provide(Arc::clone(&groups))?;
    let addresses = control.resource::<Addresses>()?;
    let present = addresses.in_force(control).iter();
    let present: Vec<_> = present
        .flat_map(|(&interface, list)| list.iter().map(move |&address| (interface, address)))
        .collect();
    for (interface, address) in present {
        follow(control, &groups, &AddressEvent { interface, address, in_force: true });
    }
    addresses.subscribe(move |control, event| follow(control, &groups, event));
    Ok(())
}

/// Joins what an address belongs to as it comes, and leaves it as it goes: once for each address, so that the last one ends it.
fn follow(control: &Control<'_>, groups: &Groups, event: &AddressEvent) {
    let of_address = match event.address.address() {
        IpAddr::V4(_) => [Ipv4Addr::new(224, 0, 0, 1), Ipv4Addr::new(224, 0, 0, 2)].map(IpAddr::V4).to_vec(),
        IpAddr::V6(address) => {
            let anycast = event.address.subnet_router_anycast().map(Ip6Address::from);
            let solicited =
                [Some(address.into()), anycast].into_iter().flatten().map(|address| address.solicited_node());
            let of_all = [Ip6Address::ALL_NODES, Ip6Address::ALL_ROUTERS];
            of_all.into_iter().chain(solicited).map(|group| group.to_std().into()).collect()
        }
    };
    for group in of_address {
        // An interface that is gone has left its groups already.
        let done = if event.in_force {
            groups.join(control, event.interface, group)
        } else {
            groups.leave(control, event.interface, group).or(Ok(()))
        };
        if let Err(failure) = done {
            control.log(LogLevel::WARN, format_args!("group {group} of {}: {failure}", event.address));
        }
    }
}

/// Hears what has become of an interface, after its addresses.
///
/// # Errors
/// None.
pub fn interface_event(control: &Control<'_>, event: &InterfaceEvent) -> Result<(), Failure> {
    // Interfaces that come before the groups do have none.
    let Ok(groups) = control.resource::<Groups>() else { return Ok(()) };
    let interface = event.interface.index;
    match event.change {
        InterfaceChange::Up => groups.restart(control, interface),
        InterfaceChange::Deleted => groups.forget(control, interface),
        _ => {}
    }
    Ok(())
}
