//! Start of the detection of duplicates.

use std::sync::Arc;

use raddle_plugin_api::prelude::*;

use super::DuplicateDetection;
use crate::net::addresses::Addresses;

init! { "duplicate-detection", start, runs_after: ["neighbor"], runs_before: ["router-advertisement"] }

fn start(control: &mut Control<'_>) -> Result<(), Failure> {
    let detection = Arc::new(DuplicateDetection::new(control)?);
    control.provide(Arc::clone(&detection))?;
    let addresses = control.resource::<Addresses>()?;
    addresses.set_check(Arc::clone(&detection) as _);
    addresses.subscribe(move |control, event| detection.address_event(control, event));
    Ok(())
}
