//! `show punt`, `set punt`.
#![forbid(unsafe_code)]

use std::fmt::Write as _;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::punt::PuntLimit;
use serde::{Deserialize, Serialize};

use super::reasons::{PuntReasons, ReasonReport};

command! { "show punt", "shows why packets are punted, how many, and what limits them", show }
command! {
    "set punt <reason:word> rate <rate:u32:1..10000000> burst <burst:u32:1..10000000>",
    "limits the packets that the host gets for a reason on account of one interface, a second and at once",
    set
}

/// The reasons.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Shown(Vec<ReasonReport>);

impl CommandOutput for Shown {
    fn text(&self) -> Option<String> {
        let mut text = format!(
            "{:<16} {:>9} {:>9} {:>12} {:>12} {:>12}  what",
            "reason", "rate", "burst", "taken", "limited", "unclaimed"
        );
        for row in &self.0 {
            // Writing to a string does not fail.
            let _ = write!(
                text,
                "\n{:<16} {:>7}/s {:>9} {:>12} {:>12} {:>12}  {}",
                row.reason, row.rate, row.burst, row.taken, row.limited, row.unclaimed, row.summary
            );
        }
        Some(text)
    }
}

fn show(control: &mut Control<'_>, _: NoArguments) -> Result<Shown, Failure> {
    Ok(Shown(control.resource::<PuntReasons>()?.reports()))
}

#[derive(Deserialize)]
struct Set {
    reason: String,
    rate: u32,
    burst: u32,
}

fn set(control: &mut Control<'_>, arguments: Set) -> Result<(), Failure> {
    let Set { reason, rate, burst } = arguments;
    let reasons = control.resource::<PuntReasons>()?;
    reasons.set(&reason, PuntLimit { rate, burst })?;
    control.report_section("punt", &reasons.config())
}
