//! What the local protocols stand on.

use std::sync::Arc;

use raddle_plugin_api::prelude::*;

use super::{LocalOutput, OwnTable};

init! { "local", start, runs_after: ["forwarding"] }

fn start(control: &mut Control<'_>) -> Result<(), Failure> {
    control.provide(Arc::new(OwnTable::new(control)))?;
    control.provide(Arc::new(LocalOutput::new(control)))
}
