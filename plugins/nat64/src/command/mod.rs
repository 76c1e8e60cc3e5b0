//! Commands: `show nat64 …`, `clear nat64 …`. What a thread has is asked of that thread, in portions: no command has it stand.

mod bib;
mod filter;
mod pools;
mod sessions;
mod subscribers;
mod summary;
mod tenants;

pub use summary::report_metrics;

use std::sync::Arc;

use raddle_plugin_api::prelude::*;

use crate::errand::Errands;
use crate::service::Nat64;

/// Who is asked.
#[derive(Clone)]
struct Threads {
    nat: Arc<Nat64>,
    errands: Arc<Errands>,
    count: u32,
}

impl Threads {
    fn of(control: &Control<'_>) -> Result<Self, Failure> {
        let (nat, errands) = (control.resource()?, control.resource()?);
        Ok(Self { nat, errands, count: control.thread_count() })
    }
}
