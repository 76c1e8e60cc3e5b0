//! A table of plain entries in the host's memory.

use super::Arena;
use super::kept::{KeptPerThread, KeptState};
use crate::sync::BarrierGuard;
use crate::table::{Array, Kept, Plain};
use crate::{Control, Failure, Worker, bail};

/// A table of plain entries, one part for each thread of the graph, in memory that the host owns and the plugin borrows:
/// the simplest of what a [`KeptPerThread`] can hold.
///
/// Another version of the plugin that takes this one's place finds the entries as they are if it asks for the table by
/// the same name, layout number, length and type of entry (its size); otherwise it gets a table of zeros.
///
/// ```
/// use raddle_plugin_api::prelude::*;
/// use raddle_plugin_api::state::KeptTable;
///
/// fn init(control: &mut Control<'_>) -> Result<(), Failure> {
///     // Raise the number whenever the meaning of the entries changes.
///     let last_seen: KeptTable<u64> = control.kept_table("last-seen", 1, 4096)?;
///     control.provide(std::sync::Arc::new(last_seen))
/// }
/// # init! { "example", init }
/// # fn main() {}
/// ```
pub struct KeptTable<T: Plain> {
    entries: KeptPerThread<Entries<T>>,
    length: usize,
}

struct Entries<T> {
    length: usize,
    of: std::marker::PhantomData<fn(T)>,
}

impl<T: Plain> KeptState for Entries<T> {
    type Of<'m> = Array<T, Kept<'m>>;

    fn place<'m>(&self, _: u32, arena: &mut Arena<'m>) -> Self::Of<'m> {
        arena.array(self.length)
    }
}

impl<T: Plain> KeptTable<T> {
    /// Entries of each thread.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there are none, which never is.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Lends the entries of the worker's thread.
    ///
    /// # Panics
    /// The worker is another host's, or the entries are lent already.
    #[inline(always)]
    pub fn with<R>(&self, worker: &Worker<'_>, use_it: impl FnOnce(&mut [T]) -> R) -> R {
        self.entries.with(worker, |entries| use_it(entries))
    }

    /// Lends the entries of all threads, in their order, while the workers stand.
    ///
    /// # Panics
    /// The guard is another host's.
    pub fn each(&self, guard: &mut BarrierGuard<'_>, mut use_it: impl FnMut(u32, &mut [T]) + Send) {
        self.entries.each(guard, |thread, entries| use_it(thread, entries));
    }
}

impl Control<'_> {
    /// The table of this name in the host's memory, with `length` entries for each thread: see [`KeptTable`].
    ///
    /// # Errors
    /// There is no such memory to be had, or the length is 0.
    pub fn kept_table<T: Plain>(
        &self,
        name: &str,
        layout: u32,
        length: usize,
    ) -> Result<KeptTable<T>, Failure> {
        if length == 0 {
            bail!("a table `{name}` without entries is none");
        }
        let entries = Entries { length, of: std::marker::PhantomData };
        Ok(KeptTable { entries: self.kept_per_thread(name, layout, entries)?, length })
    }
}
