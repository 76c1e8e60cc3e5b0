//! Who watches which descriptors, on which threads.

use std::collections::HashMap;
use std::sync::Arc;

use raddle_plugin_api::abi::FileRequest;

use crate::graph::Owner;
use crate::runtime::{FileBody, Shared};

/// The descriptors that are watched, by number.
#[derive(Default)]
pub struct Watches {
    last: u64,
    all: HashMap<u64, (Owner, Arc<Shared>)>,
}

impl Watches {
    /// Has a thread watch a descriptor; returns the watch's number.
    ///
    /// # Errors
    /// It cannot be watched; the state is still the caller's then.
    ///
    /// # Safety
    /// As [`crate::runtime::FileSet::watch`].
    pub unsafe fn add(
        &mut self,
        owner: Owner,
        thread: &Arc<Shared>,
        request: &FileRequest,
        on_panic: Box<dyn FnOnce() + Send>,
    ) -> std::io::Result<u64> {
        self.last += 1;
        // SAFETY: as the caller vouches.
        unsafe { thread.files.watch(&thread.poller, self.last, request, on_panic) }?;
        self.all.insert(self.last, (owner, Arc::clone(thread)));
        Ok(self.last)
    }

    /// Ends a watch; what it called is to be dropped without a borrow.
    #[must_use = "dropping it runs the owner's destructors"]
    pub fn remove(&mut self, number: u64) -> Option<FileBody> {
        let (_, thread) = self.all.remove(&number)?;
        thread.files.unwatch(number)
    }

    /// Ends the watches of an owner.
    #[must_use = "dropping them runs the owner's destructors"]
    pub fn remove_owned(&mut self, owner: Owner) -> Vec<FileBody> {
        let gone: Vec<u64> =
            self.all.iter().filter(|(_, (own, _))| *own == owner).map(|(&number, _)| number).collect();
        gone.into_iter().filter_map(|number| self.remove(number)).collect()
    }

    /// Ends all watches.
    #[must_use = "dropping them runs the owners' destructors"]
    pub fn remove_all(&mut self) -> Vec<FileBody> {
        let all: Vec<u64> = self.all.keys().copied().collect();
        all.into_iter().filter_map(|number| self.remove(number)).collect()
    }

    /// Number of watches on a thread.
    pub fn count_on(&self, thread: &Arc<Shared>) -> usize {
        self.all.values().filter(|(_, on)| Arc::ptr_eq(on, thread)).count()
    }
}
