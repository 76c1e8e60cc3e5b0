//! Next hops that do not answer: flows that have another path leave them, and they are asked for until they are back.
#![forbid(unsafe_code)]

use std::time::Duration;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::task;

use super::neighbor::{NeighborChange, NeighborEvent, NeighborKey, Neighbors};
use super::routes::Routes;

init! { "next-hop-watch", start, runs_after: ["forwarding", "neighbor"] }

/// How often next hops that did not answer are asked for: no packet goes to them that would do so.
const ASK_EVERY: Duration = Duration::from_secs(5);

fn start(control: &mut Control<'_>) -> Result<(), Failure> {
    control.resource::<Neighbors>()?.subscribe(heard);
    control.spawn("next-hop-watch", |task| async move {
        loop {
            task::sleep(ASK_EVERY).await;
            task.with(|control| ask(control));
        }
    });
    Ok(())
}

fn heard(control: &Control<'_>, event: &NeighborEvent) {
    // Neighbours stand on the routes: they are there.
    let Ok(routes) = control.resource::<Routes>() else { return };
    let NeighborKey { interface, address } = event.key;
    match event.change {
        NeighborChange::Unreachable => routes.next_hop_failed(control, interface, address),
        NeighborChange::Resolved => routes.next_hop_works(control, interface, address),
        NeighborChange::Forgotten => {}
    }
}

fn ask(control: &Control<'_>) {
    let (Ok(routes), Ok(neighbors)) = (control.resource::<Routes>(), control.resource::<Neighbors>()) else {
        return;
    };
    for (interface, address) in routes.failed_next_hops(control) {
        neighbors.resolve(control, NeighborKey { interface, address });
    }
}
