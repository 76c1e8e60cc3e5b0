//! Start of the bridges, their ageing, and what they hear of interfaces.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use raddle_plugin_api::InterfaceEvent;
use raddle_plugin_api::prelude::*;
use raddle_plugin_api::task;

use super::bridges::Bridges;
use super::rewrites::Rewrites;

init! { "l2", start, runs_after: ["vlan"] }

/// Time between two looks for addresses that were not seen.
const AGEING_STEP: Duration = Duration::from_secs(1);

fn start(control: &mut Control<'_>) -> Result<(), Failure> {
    control.provide(Arc::new(Bridges::new(control)?))?;
    control.provide(Arc::new(Rewrites::new(control)?))?;
    control.spawn("bridge-ageing", |task| async move {
        loop {
            task::sleep(AGEING_STEP).await;
            task.with(|control| {
                if let Ok(bridges) = control.resource::<Bridges>() {
                    bridges.age(control.now_ns());
                }
            });
        }
    });
    Ok(())
}

/// Hears what has become of an interface.
pub fn interface_event(control: &Control<'_>, event: &InterfaceEvent) {
    // Interfaces that come before the init function are known from the start.
    if let Ok(rewrites) = control.resource::<Rewrites>() {
        rewrites.interface_event(control, event);
    }
    if let Ok(bridges) = control.resource::<Bridges>() {
        bridges.interface_event(control, event);
    }
}
