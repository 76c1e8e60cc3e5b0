//! Needs the plugin `faulty` of a version that the tests know.
#![forbid(unsafe_code)]

use raddle_plugin_api::prelude::*;

plugin! { "leaner", "needs the plugin faulty", requires: [("faulty", "^1")] }
init! { "leaner", init }

fn init(_: &mut Control<'_>) -> Result<(), Failure> {
    Ok(())
}
