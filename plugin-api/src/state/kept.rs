//! Tables of each thread in memory that the host owns and the plugin borrows.

use std::cell::UnsafeCell;
use std::ptr::NonNull;

use super::Arena;
use super::arena::Layout;
use crate::abi::{HostTable, Text};
use crate::sync::BarrierGuard;
use crate::{Control, Failure, Worker, bail, failure};

/// Bytes from one thread's part to the next are a multiple of this, so that threads share no pair of cache lines.
const APART: usize = 128;

/// What a plugin keeps for each thread in the host's memory: which tables, and how large.
///
/// ```
/// use std::sync::Arc;
///
/// use raddle_plugin_api::prelude::*;
/// use raddle_plugin_api::state::{Arena, KeptPerThread, KeptState};
/// use raddle_plugin_api::table::{HashSeed, Kept, SessionTable};
///
/// /// Sizes: known before there is a table.
/// struct Sessions {
///     most: u32,
///     seed: HashSeed,
/// }
///
/// impl KeptState for Sessions {
///     type Of<'m> = SessionTable<[u64; 2], u64, Kept<'m>>;
///
///     fn place<'m>(&self, _thread: u32, arena: &mut Arena<'m>) -> Self::Of<'m> {
///         SessionTable::kept(arena, self.most, 10_000_000, self.seed)
///     }
/// }
///
/// fn init(control: &mut Control<'_>) -> Result<(), Failure> {
///     let seed = HashSeed::kept(control, "seed")?;
///     // Raise the number whenever the meaning of what is kept changes.
///     let sessions = control.kept_per_thread("sessions", 1, Sessions { most: 65_536, seed })?;
///     control.provide(Arc::new(sessions))
/// }
/// # init! { "example", init }
/// # fn main() {}
/// ```
///
/// What is lent stays where it is: no table leaves its loan,
///
/// ```compile_fail,E0521
/// # use raddle_plugin_api::{Worker, state::*, table::*};
/// # struct Counts;
/// # impl KeptState for Counts {
/// #     type Of<'m> = Option<Array<u64, Kept<'m>>>;
/// #     fn place<'m>(&self, _: u32, arena: &mut Arena<'m>) -> Self::Of<'m> { Some(arena.array(1)) }
/// # }
/// fn take(counts: &KeptPerThread<Counts>, worker: &Worker<'_>) {
///     let mut taken = None;
///     counts.with(worker, |array| taken = array.take());
/// }
/// ```
///
/// and what is kept owns nothing that somebody would have to drop:
///
/// ```compile_fail,E0080
/// # use raddle_plugin_api::{prelude::*, state::*, table::*};
/// struct Names;
///
/// impl KeptState for Names {
///     type Of<'m> = Vec<String>;
/// #   fn place<'m>(&self, _: u32, _: &mut Arena<'m>) -> Self::Of<'m> { Vec::new() }
/// }
///
/// fn init(control: &mut Control<'_>) -> Result<(), Failure> {
///     control.kept_per_thread("names", 1, Names).map(drop)
/// }
/// # init! { "example", init }
/// # fn main() {}
/// ```
pub trait KeptState: Send + Sync + 'static {
    /// The tables of a thread: a table, or a struct of tables and [arrays](Arena::array). It may own nothing beside (no
    /// `Vec`, no `Box`): own things are for [`crate::sync::PerThread`].
    type Of<'m>;

    /// Gives the tables of a thread their places. Called once to learn what they need, with an arena that hands out tables
    /// without any room, and once for each thread, there, when its tables are first lent: always to the same effect.
    fn place<'m>(&self, thread: u32, arena: &mut Arena<'m>) -> Self::Of<'m>;
}

/// A value for each thread of the graph, as [`PerThread`](crate::sync::PerThread) is, whose tables stand in memory that
/// the host owns and the plugin borrows.
///
/// Another version of the plugin that takes this one's place finds the tables as they are, entries and timers, without
/// a copy and without a pause, if it asks by the same name and layout number for tables of the same kinds, sizes and
/// capacities in the same order; otherwise it gets empty ones. Until it is in the graph the old version goes on with
/// them. The memory goes with the last version that asked for it; a version that was quarantined hands nothing on.
pub struct KeptPerThread<S: KeptState> {
    state: S,
    base: NonNull<u8>,
    layout: Layout,
    /// Bytes from one thread's part to the next.
    stride: usize,
    host: *const HostTable,
    values: Box<[Value<S::Of<'static>>]>,
}

/// The tables of a thread, once they have been lent.
#[repr(align(128))]
struct Value<T>(UnsafeCell<Option<T>>);

/// What each part begins with. Versions that share the memory share it, too.
#[repr(C)]
struct Header {
    /// Not 0: tables were placed here.
    placed: u64,
    /// Not 0: they are lent.
    lent: u64,
}

// SAFETY: part *i* and value *i* are reached only by means of a `Worker` of thread *i*, which exists on that thread alone,
// or under the barrier, while that thread stands between two passes and has borrowed nothing. So two versions of a plugin
// that have the memory at the same time use it one after the other, and not within each other's loan, as the header says.
unsafe impl<S: KeptState> Sync for KeptPerThread<S> where S::Of<'static>: Send {}
// SAFETY: as above; the pointer to the host only tells hosts apart.
unsafe impl<S: KeptState> Send for KeptPerThread<S> where S::Of<'static>: Send {}

/// Gives a part back when its borrower is done or panics.
struct Lent(NonNull<Header>);

impl Lent {
    /// # Safety
    /// The header is there, and this thread's for as long as the loan lasts.
    #[inline(always)]
    unsafe fn take(header: NonNull<Header>) -> Self {
        // SAFETY: as the caller vouches.
        let lent = unsafe { &mut (*header.as_ptr()).lent };
        assert!(*lent == 0, "what is kept for the thread is lent already");
        *lent = 1;
        Self(header)
    }
}

impl Drop for Lent {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: as `take`'s caller vouched.
        unsafe { (*self.0.as_ptr()).lent = 0 };
    }
}

impl<S: KeptState> KeptPerThread<S>
where
    S::Of<'static>: Send,
{
    /// Lends the tables of the worker's thread.
    ///
    /// # Panics
    /// The worker is another host's, or they are lent already.
    #[inline(always)]
    pub fn with<R>(&self, worker: &Worker<'_>, use_it: impl for<'m> FnOnce(&mut S::Of<'m>) -> R) -> R {
        assert!(std::ptr::eq(self.host, worker.host()), "what is kept is lent to workers of its own host");
        // SAFETY: the worker is proof of its thread, where it is now.
        unsafe { self.lend(worker.thread_index() as usize, use_it) }
    }

    /// Lends the tables of all threads, in their order, while the workers stand.
    ///
    /// # Panics
    /// The guard is another host's.
    pub fn each(
        &self,
        guard: &mut BarrierGuard<'_>,
        mut use_it: impl for<'m> FnMut(u32, &mut S::Of<'m>) + Send,
    ) {
        assert!(guard.is_of(self.host), "what is kept is lent under the barrier of its own host");
        for thread in 0..self.values.len() {
            // SAFETY: the threads stand; on this one no `Worker` is, as it is not `Send` and the closure is.
            unsafe { self.lend(thread, |tables| use_it(thread as u32, tables)) };
        }
    }

    /// # Safety
    /// The calling thread is this one, or it stands.
    #[inline(always)]
    unsafe fn lend<R>(&self, thread: usize, use_it: impl FnOnce(&mut S::Of<'static>) -> R) -> R {
        let value = &self.values[thread].0;
        // SAFETY: there are as many parts as values; see `kept_per_thread`.
        let part = unsafe { self.base.add(thread * self.stride) };
        // SAFETY: each part begins with a header, and is this thread's (see `Sync`).
        let _back = unsafe { Lent::take(part.cast()) };
        // SAFETY: lent once at a time, as the header says.
        let value = unsafe { &mut *value.get() };
        let tables = match value {
            Some(tables) => tables,
            // SAFETY: as above.
            None => value.insert(unsafe { self.place(thread, part) }),
        };
        use_it(tables)
    }

    /// # Safety
    /// The part is lent to the caller.
    #[cold]
    unsafe fn place(&self, thread: usize, part: NonNull<u8>) -> S::Of<'static> {
        let header = part.cast::<Header>();
        // SAFETY: the header is the caller's now.
        let placed = unsafe { &mut (*header.as_ptr()).placed };
        // SAFETY: the part has the layout's bytes, zeros at first; its arrays come only to those to whom it is lent. That
        // they are of one loan each is seen to by `with` and `each`: their closures are for every lifetime.
        let mut arena = unsafe { Arena::of_part(part, size_of::<Header>(), self.layout, *placed != 0) };
        let tables = self.state.place(thread as u32, &mut arena);
        *placed = 1;
        tables
    }
}

impl Control<'_> {
    /// The tables of this name in the host's memory: see [`KeptPerThread`] and, for an example, [`KeptState`].
    ///
    /// # Errors
    /// There is no such memory to be had.
    pub fn kept_per_thread<S: KeptState>(
        &self,
        name: &str,
        layout: u32,
        state: S,
    ) -> Result<KeptPerThread<S>, Failure> {
        const {
            assert!(
                !std::mem::needs_drop::<S::Of<'static>>(),
                "what is kept owns nothing beside its tables in the host's memory"
            );
        }
        let mut arena = Arena::measure(size_of::<Header>());
        // Its tables have no room, and no lifetime but this function's.
        state.place(0, &mut arena);
        let measured = arena.layout().ok_or_else(|| no_memory(name))?;
        let align = measured.align.max(APART);
        let stride = measured.bytes.checked_next_multiple_of(align).ok_or_else(|| no_memory(name))?;
        let threads = self.thread_count() as usize;
        let bytes = stride.checked_mul(threads).ok_or_else(|| no_memory(name))?;
        let fingerprint = measured.fingerprint ^ u64::from(layout).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let base = self.kept_memory(name, fingerprint, bytes, align)?;
        let values = (0..threads).map(|_| Value(UnsafeCell::new(None))).collect();
        Ok(KeptPerThread { state, base, layout: measured, stride, host: self.host(), values })
    }

    /// Two words that the first version of the plugin makes and each further one finds, by name.
    ///
    /// # Errors
    /// There is no memory to be had.
    pub(crate) fn kept_once(&self, name: &str, make: impl FnOnce() -> [u64; 2]) -> Result<[u64; 2], Failure> {
        const WORDS: usize = 3;
        let memory = self.kept_memory(name, WORDS as u64, WORDS * size_of::<u64>(), APART)?;
        // SAFETY: three aligned words, zeros at first, which only this function uses, on the main thread.
        let words = unsafe { memory.cast::<[u64; WORDS]>().as_mut() };
        if words[0] == 0 {
            let [first, second] = make();
            *words = [1, first, second];
        }
        Ok([words[1], words[2]])
    }

    fn kept_memory(
        &self,
        name: &str,
        layout: u64,
        bytes: usize,
        align: usize,
    ) -> Result<NonNull<u8>, Failure> {
        let host = self.host();
        if (host.size as usize) < std::mem::offset_of!(HostTable, memory) + size_of::<usize>() {
            bail!("`{name}`: this raddle keeps no tables; it must speak ABI 1.2");
        }
        // SAFETY: the name lives until the call returns.
        let base = unsafe { (host.memory)(host.data, Text::new(name), layout, bytes, align) };
        NonNull::new(base).ok_or_else(|| no_memory(name))
    }

    /// Whether an exit function runs because another version of the plugin has taken its place: what both have set up by
    /// name is the other one's by now.
    pub fn is_being_replaced(&self) -> bool {
        self.call("plugin.is-being-replaced", &()).unwrap_or(false)
    }
}

fn no_memory(name: &str) -> Failure {
    failure!("no memory for what is kept as `{name}`; have fewer entries")
}
