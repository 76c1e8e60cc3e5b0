//! What the local protocols stand on.

use std::sync::Arc;

use raddle_plugin_api::prelude::*;

use super::{LocalOutput, OwnTable};
use crate::net::addresses::Addresses;

init! { "local", start, runs_after: ["forwarding"] }

fn start(control: &mut Control<'_>) -> Result<(), Failure> {
    let own = Arc::new(OwnTable::new(control));
    let addresses = control.resource::<Addresses>()?;
    update(control, &own, &addresses);
    control.provide(Arc::clone(&own))?;
    addresses.subscribe(move |control, _| {
        // It calls this: it is there.
        if let Ok(addresses) = control.resource::<Addresses>() {
            update(control, &own, &addresses);
        }
    });
    control.provide(Arc::new(LocalOutput::new(control)))
}

fn update(control: &Control<'_>, own: &OwnTable, addresses: &Addresses) {
    let mut in_force: Vec<_> = addresses.in_force(control).iter().collect();
    in_force.sort_unstable_by_key(|(interface, _)| **interface);
    let each = in_force
        .into_iter()
        .flat_map(|(interface, list)| list.iter().map(move |address| (*interface, *address)));
    own.replace(control, each);
}
