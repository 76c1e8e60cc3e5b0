//! What was taken out of a shared structure and waits for the readers that may still see it.

use std::collections::VecDeque;

/// Retired items, each tagged with the epoch in which it was retired.
///
/// The owner numbers epochs upwards. An item retired in epoch *e* may be reused once every reader has passed a quiescent
/// point after some epoch greater than *e* had begun.
#[derive(Debug)]
pub(super) struct Limbo<T> {
    epoch: u64,
    items: VecDeque<(u64, T)>,
}

impl<T> Limbo<T> {
    pub(super) fn new() -> Self {
        Self { epoch: 0, items: VecDeque::new() }
    }

    /// Sets the epoch that tags what is retired from now on. An epoch never goes back.
    pub(super) fn set_epoch(&mut self, current: u64) {
        self.epoch = self.epoch.max(current);
    }

    pub(super) fn retire(&mut self, item: T) {
        self.items.push_back((self.epoch, item));
    }

    /// Takes the oldest item that was retired in an epoch before `safe_epoch`.
    pub(super) fn pop_safe(&mut self, safe_epoch: u64) -> Option<T> {
        let (epoch, _) = self.items.front()?;
        if *epoch < safe_epoch { self.items.pop_front().map(|(_, item)| item) } else { None }
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }
}
