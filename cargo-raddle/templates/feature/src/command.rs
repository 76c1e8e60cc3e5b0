//! The command `sample-plugin show`.

use raddle_plugin_api::prelude::*;
use serde::Serialize;

use crate::Shared;
use crate::node::{DROPPED, PASSED};

/// What the command returns: data for `--json`, which raddle lays out for people.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    min_ttl: u8,
    passed: u64,
    dropped: u64,
}

/// Runs `sample-plugin show`.
pub fn show(control: &mut Control<'_>, _: NoArguments) -> Result<Data<Report>, Failure> {
    let shared = control.resource::<Shared>()?;
    let counters = &shared.counters;
    Ok(Data(Report {
        min_ttl: shared.config.min_ttl,
        passed: counters.sum(PASSED),
        dropped: counters.sum(DROPPED),
    }))
}
