//! What the local protocols stand on.

use std::sync::Arc;

use raddle_plugin_api::prelude::*;

use super::{LocalOutput, OwnTable};
use crate::net::addresses::Addresses;
use crate::net::routes::Routes;

init! { "local", start, runs_after: ["forwarding"] }

fn start(control: &mut Control<'_>) -> Result<(), Failure> {
    let own = Arc::new(OwnTable::new(control));
    let addresses = control.resource::<Addresses>()?;
    let routes = control.resource::<Routes>()?;
    update(control, &own, &addresses, &routes);
    control.provide(Arc::clone(&own))?;
    let renew = move |control: &Control<'_>| {
        // They call this: they are there.
        if let (Ok(addresses), Ok(routes)) = (control.resource(), control.resource()) {
            update(control, &own, &addresses, &routes);
        }
    };
    routes.subscribe_on_link(renew.clone());
    addresses.subscribe(move |control, _| renew(control));
    control.provide(Arc::new(LocalOutput::new(control)))
}

fn update(control: &Control<'_>, own: &OwnTable, addresses: &Addresses, routes: &Routes) {
    let mut in_force: Vec<_> = addresses.in_force(control).iter().collect();
    in_force.sort_unstable_by_key(|(interface, _)| **interface);
    let each = in_force
        .into_iter()
        .flat_map(|(interface, list)| list.iter().map(move |address| (*interface, *address)));
    own.replace(control, each, addresses.bindings(), routes.on_link());
}
