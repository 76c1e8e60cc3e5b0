//! A thread's own handles of the forwarding tables, renewed when the set of tables changes.
#![forbid(unsafe_code)]

use raddle_plugin_api::Worker;
use raddle_plugin_api::sync::Published;

use super::fib::{Address, LeafIndex, LpmReader};

/// The tables of one family by FIB index, with a number that changes when they do.
pub struct Tables<A> {
    /// Changes with each publication.
    pub version: u64,
    /// The tables.
    pub readers: Vec<LpmReader<A>>,
}

/// A node's copy of [`Tables`] on one thread: what a frame's packets are looked up in, held without a borrow of the worker.
pub struct TableCache<A> {
    version: u64,
    readers: Vec<LpmReader<A>>,
}

impl<A> Default for TableCache<A> {
    /// A copy that is renewed at the first frame.
    fn default() -> Self {
        Self { version: u64::MAX, readers: Vec::new() }
    }
}

impl<A: Address> TableCache<A> {
    /// Takes over the tables as they are now; to be called once a frame.
    #[inline(always)]
    pub fn renew(&mut self, published: &Published<Tables<A>>, worker: &Worker<'_>) {
        let tables = published.read(worker);
        if tables.version != self.version {
            self.copy(tables);
        }
    }

    #[cold]
    fn copy(&mut self, tables: &Tables<A>) {
        self.version = tables.version;
        self.readers = tables.readers.clone();
    }

    /// The table of a FIB index; `None` if there is none.
    #[inline(always)]
    pub fn get(&self, fib: u32) -> Option<&LpmReader<A>> {
        self.readers.get(fib as usize)
    }

    /// The leaf of an address; 0 without a route or table.
    #[inline(always)]
    pub fn lookup(&self, fib: u32, address: A) -> LeafIndex {
        self.get(fib).map_or(0, |reader| reader.lookup(address))
    }

    /// As [`Self::lookup`], without the default route.
    #[inline]
    pub fn lookup_specific(&self, fib: u32, address: A) -> LeafIndex {
        self.get(fib).map_or(0, |reader| reader.lookup_specific(address))
    }
}
