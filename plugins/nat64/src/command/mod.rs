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

use crate::errand::{Errands, NUMBERS_PER_PASS};
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

/// A walk through numbers, in portions. It ends where numbers ended when it began: who makes entries meanwhile does not lead it on.
#[derive(Clone, Copy, Default)]
struct Walk {
    next: u32,
    end: Option<u32>,
}

impl Walk {
    /// The next portion; `numbers` are there at present.
    fn portion(&mut self, numbers: u32) -> std::ops::Range<u32> {
        let end = *self.end.get_or_insert(numbers);
        let first = self.next;
        self.next = first.saturating_add(NUMBERS_PER_PASS).min(end);
        first..self.next
    }

    /// Whether there are no more.
    fn is_over(&self) -> bool {
        self.end.is_some_and(|end| self.next >= end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walk_ends_where_numbers_ended_when_it_began() {
        let mut walk = Walk::default();
        assert_eq!(walk.portion(NUMBERS_PER_PASS + 1), 0..NUMBERS_PER_PASS);
        assert!(!walk.is_over());
        assert_eq!(walk.portion(10 * NUMBERS_PER_PASS), NUMBERS_PER_PASS..NUMBERS_PER_PASS + 1);
        assert!(walk.is_over());
        let mut none = Walk::default();
        assert_eq!((none.portion(0), none.is_over()), (0..0, true));
    }
}
