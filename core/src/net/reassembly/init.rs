//! Start of reassembly, its timer, its end, and what it hears of interfaces.

use std::sync::Arc;
use std::time::Duration;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::{InterfaceChange, InterfaceEvent, task};

use super::config::ReassemblyConfig;
use super::service::Reassembly;

init! { "reassembly", start, runs_after: ["forwarding", "local"] }
exit! { "reassembly", end }

/// How often the main thread looks for datagrams that were not complete in time. It needs no worker for that: those that
/// sleep go on sleeping.
const AGEING: Duration = Duration::from_millis(500);

fn start(control: &mut Control<'_>) -> Result<(), Failure> {
    let config: ReassemblyConfig = control.config("reassembly")?;
    control.provide(Arc::new(Reassembly::new(control, &config)?))?;
    control.spawn("reassembly", |task| async move {
        loop {
            task::sleep(AGEING).await;
            task.with(|control| {
                if let Ok(reassembly) = control.resource::<Reassembly>() {
                    reassembly.expire(control.now_ns());
                }
            });
        }
    });
    Ok(())
}

fn end(control: &mut Control<'_>) -> Result<(), Failure> {
    control.resource::<Reassembly>()?.clear();
    Ok(())
}

/// Hears what has become of an interface.
pub fn interface_event(control: &Control<'_>, event: &InterfaceEvent) {
    // Before it is there, there is nothing to forget.
    if event.change == InterfaceChange::Deleted
        && let Ok(reassembly) = control.resource::<Reassembly>()
    {
        reassembly.forget(Some(event.interface.index));
    }
}
