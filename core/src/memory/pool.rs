//! The buffer pool: a depot of magazines, and a cache of two magazines for each thread.
//!
//! A thread takes and gives buffers in its own cache. Only when that runs empty or full does it exchange a whole
//! magazine with the depot, whose two queues are lock-free. (Bonwick, Adams: "Magazines and Vmem", USENIX 2001.)

use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_queue::ArrayQueue;
use raddle_plugin_api::abi::{BUFFER_DATA_BYTES, BUFFER_DATA_OFFSET, BufferFlags, BufferHeader};

use super::{Arena, HugePages, MemoryError};

/// Buffer indices in a full magazine.
pub const MAGAZINE_SIZE: usize = 256;

/// A cache line, in bytes.
const LINE: usize = 64;

struct Magazine {
    count: usize,
    indices: [u32; MAGAZINE_SIZE],
}

impl Magazine {
    fn empty() -> Box<Self> {
        Box::new(Self { count: 0, indices: [0; MAGAZINE_SIZE] })
    }
}

/// All buffers, and those of them that no thread has.
pub struct BufferPool {
    arena: Arena,
    stride: usize,
    count: usize,
    full: ArrayQueue<Box<Magazine>>,
    empty: ArrayQueue<Box<Magazine>>,
    /// Buffers given back by threads without a cache, and those of threads that ended.
    returned: Mutex<Vec<u32>>,
}

impl BufferPool {
    /// Makes a pool of `count` buffers, with caches for `threads` threads.
    ///
    /// # Errors
    /// There is no memory, or the count is out of range.
    pub fn create(count: usize, threads: usize, policy: HugePages) -> Result<Arc<Self>, MemoryError> {
        let stride = stride();
        let (least, most) = (4 * MAGAZINE_SIZE, u32::MAX as usize / 2);
        if count < least || count > most {
            return Err(MemoryError::Count { count, least, most });
        }
        let count = count.next_multiple_of(MAGAZINE_SIZE);
        let arena = Arena::create(count * stride, policy)?;
        let magazines = count / MAGAZINE_SIZE + 2 * threads + 2;
        let pool = Self {
            arena,
            stride,
            count,
            full: ArrayQueue::new(magazines),
            empty: ArrayQueue::new(magazines),
            returned: Mutex::default(),
        };
        for first in (0..count).step_by(MAGAZINE_SIZE) {
            let mut magazine = Magazine::empty();
            magazine.count = MAGAZINE_SIZE;
            for (offset, index) in magazine.indices.iter_mut().enumerate() {
                *index = (first + offset) as u32;
            }
            // The queues have room for every magazine that is ever made.
            let _ = pool.full.push(magazine);
        }
        for _ in 0..2 * threads + 2 {
            let _ = pool.empty.push(Magazine::empty());
        }
        Ok(Arc::new(pool))
    }

    /// The memory of the buffers.
    pub fn arena(&self) -> &Arena {
        &self.arena
    }

    /// Number of buffers.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Bytes from one buffer to the next.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Buffers in the depot; those in caches are not counted.
    pub fn free(&self) -> usize {
        self.full.len() * MAGAZINE_SIZE + self.returned.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The header of buffer `index`.
    ///
    /// # Panics
    /// There is no such buffer.
    pub fn header(&self, index: u32) -> *mut BufferHeader {
        assert!((index as usize) < self.count, "buffer {index} of {}", self.count);
        // SAFETY: the arena has `count * stride` bytes.
        unsafe { self.arena.base().as_ptr().add(index as usize * self.stride).cast() }
    }

    /// Gives packets back from a thread that has no cache. Chains are followed.
    ///
    /// # Safety
    /// The caller owns the packets.
    pub unsafe fn give_back(&self, packets: &[u32]) {
        let mut returned = self.returned.lock().unwrap_or_else(PoisonError::into_inner);
        for &packet in packets {
            // SAFETY: the caller owns the packet.
            unsafe { for_each_buffer(self, packet, |index| returned.push(index)) };
        }
    }

    /// Exchanges an empty magazine for a full one, or for one with what was given back from elsewhere.
    fn exchange_empty(&self, magazine: &mut Box<Magazine>) {
        if let Some(full) = self.full.pop() {
            // The queues have room for every magazine.
            let _ = self.empty.push(std::mem::replace(magazine, full));
            return;
        }
        if let Ok(mut returned) = self.returned.try_lock() {
            let rest = returned.len().saturating_sub(MAGAZINE_SIZE);
            for index in returned.drain(rest..) {
                magazine.indices[magazine.count] = index;
                magazine.count += 1;
            }
        }
    }

    /// Exchanges a full magazine for an empty one. There are enough: each thread keeps two.
    fn exchange_full(&self, magazine: &mut Box<Magazine>) {
        let empty = self.empty.pop().unwrap_or_else(Magazine::empty);
        let _ = self.full.push(std::mem::replace(magazine, empty));
    }
}

/// Bytes from one buffer to the next: an odd number of cache lines, so that headers spread over all sets of a cache.
fn stride() -> usize {
    let lines = (BUFFER_DATA_OFFSET + BUFFER_DATA_BYTES).div_ceil(LINE);
    (lines | 1) * LINE
}

/// Calls `visit` for each buffer of the packet that is not shared with another packet.
///
/// # Safety
/// The caller owns the packet.
unsafe fn for_each_buffer(pool: &BufferPool, packet: u32, mut visit: impl FnMut(u32)) {
    let mut index = packet;
    loop {
        let header = pool.header(index);
        // SAFETY: the buffer belongs to the packet, which the caller owns.
        let (flags, next) = unsafe { ((*header).flags, (*header).next_buffer) };
        // SAFETY: as above; the count is atomic since the other packet may be another thread's.
        let shared = flags & BufferFlags::SHARED != 0
            && unsafe { (*header).references.fetch_sub(1, std::sync::atomic::Ordering::AcqRel) } > 1;
        if !shared {
            // Buffers in the pool are plain: those that come back unused must not be taken for a chain again.
            // SAFETY: as above.
            unsafe { (*header).flags = 0 };
            visit(index);
        }
        if flags & BufferFlags::CHAINED == 0 {
            return;
        }
        index = next;
    }
}

/// A thread's own buffers: two magazines.
pub struct ThreadCache {
    pool: Arc<BufferPool>,
    loaded: Box<Magazine>,
    other: Box<Magazine>,
    /// Buffers asked for and not to be had.
    pub exhausted: u64,
}

impl ThreadCache {
    /// A cache in front of `pool`.
    pub fn new(pool: &Arc<BufferPool>) -> Self {
        let take = || pool.empty.pop().unwrap_or_else(Magazine::empty);
        Self { pool: Arc::clone(pool), loaded: take(), other: take(), exhausted: 0 }
    }

    /// Fills `into` as far as there are buffers; returns how many there were. What their headers hold is left over from
    /// their last use.
    pub fn allocate(&mut self, into: &mut [u32]) -> usize {
        let mut done = 0;
        while done < into.len() {
            if self.loaded.count == 0 {
                std::mem::swap(&mut self.loaded, &mut self.other);
            }
            if self.loaded.count == 0 {
                self.pool.exchange_empty(&mut self.loaded);
                if self.loaded.count == 0 {
                    self.exhausted += (into.len() - done) as u64;
                    break;
                }
            }
            let part = (into.len() - done).min(self.loaded.count);
            let rest = self.loaded.count - part;
            into[done..done + part].copy_from_slice(&self.loaded.indices[rest..self.loaded.count]);
            self.loaded.count = rest;
            done += part;
        }
        done
    }

    /// Gives packets back. Chains are followed.
    ///
    /// # Safety
    /// The caller owns the packets.
    #[inline]
    pub unsafe fn free(&mut self, packets: &[u32]) {
        let (base, stride) = (self.pool.arena.base().as_ptr(), self.pool.stride);
        let mut start = 0;
        for (position, &packet) in packets.iter().enumerate() {
            // SAFETY: indices of packets are below the pool's count; the caller owns the packet.
            let flags = unsafe { (*base.add(packet as usize * stride).cast::<BufferHeader>()).flags };
            if flags & (BufferFlags::CHAINED | BufferFlags::SHARED) != 0 {
                self.put(&packets[start..position]);
                start = position + 1;
                // SAFETY: as above.
                unsafe { self.free_chain(packet) };
            }
        }
        self.put(&packets[start..]);
    }

    #[cold]
    unsafe fn free_chain(&mut self, packet: u32) {
        let pool = Arc::clone(&self.pool);
        // SAFETY: the caller owns the packet.
        unsafe { for_each_buffer(&pool, packet, |index| self.put(&[index])) };
    }

    fn put(&mut self, indices: &[u32]) {
        let mut left = indices;
        while !left.is_empty() {
            if self.loaded.count == MAGAZINE_SIZE {
                std::mem::swap(&mut self.loaded, &mut self.other);
            }
            if self.loaded.count == MAGAZINE_SIZE {
                self.pool.exchange_full(&mut self.loaded);
            }
            let part = left.len().min(MAGAZINE_SIZE - self.loaded.count);
            let start = self.loaded.count;
            self.loaded.indices[start..start + part].copy_from_slice(&left[..part]);
            self.loaded.count += part;
            left = &left[part..];
        }
    }

    /// Buffers in the cache.
    pub fn held(&self) -> usize {
        self.loaded.count + self.other.count
    }
}

impl Drop for ThreadCache {
    fn drop(&mut self) {
        let mut returned = self.pool.returned.lock().unwrap_or_else(PoisonError::into_inner);
        for magazine in [&self.loaded, &self.other] {
            returned.extend_from_slice(&magazine.indices[..magazine.count]);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn pool() -> Arc<BufferPool> {
        BufferPool::create(2048, 2, HugePages::Never).expect("memory")
    }

    /// Makes the buffers plain packets, as the SDK does with new ones.
    fn reset(pool: &BufferPool, indices: &[u32]) {
        for &index in indices {
            // SAFETY: the test owns the buffer.
            unsafe { pool.header(index).write(BufferHeader::empty()) };
        }
    }

    #[test]
    fn stride_is_an_odd_number_of_cache_lines() {
        assert_eq!((stride() % LINE, stride() / LINE % 2), (0, 1));
    }

    #[test]
    fn gives_each_buffer_once_then_none() {
        let pool = pool();
        let mut cache = ThreadCache::new(&pool);
        let mut all = vec![0; 3000];
        let count = cache.allocate(&mut all);
        assert_eq!((count, cache.exhausted), (2048, 3000 - 2048));
        assert_eq!(all[..count].iter().collect::<HashSet<_>>().len(), 2048);
    }

    #[test]
    fn buffers_freed_by_one_thread_serve_another() {
        let pool = pool();
        let (mut a, mut b) = (ThreadCache::new(&pool), ThreadCache::new(&pool));
        for _ in 0..100 {
            let mut batch = [0; 700];
            assert_eq!(a.allocate(&mut batch), 700);
            reset(&pool, &batch);
            // SAFETY: just allocated.
            unsafe { b.free(&batch) };
        }
    }

    #[test]
    fn frees_whole_chains() {
        let pool = pool();
        let mut cache = ThreadCache::new(&pool);
        let mut three = [0; 3];
        cache.allocate(&mut three);
        reset(&pool, &three);
        let before = cache.held();
        for pair in three.windows(2) {
            // SAFETY: the test owns the buffers.
            unsafe {
                (*pool.header(pair[0])).flags = BufferFlags::CHAINED;
                (*pool.header(pair[0])).next_buffer = pair[1];
            }
        }
        // SAFETY: the test owns the packet.
        unsafe { cache.free(&three[..1]) };
        assert_eq!(cache.held(), before + 3);
    }

    #[test]
    fn ended_threads_leave_their_buffers_to_the_pool() {
        let pool = pool();
        let mut indices = [0; 2048];
        let mut cache = ThreadCache::new(&pool);
        assert_eq!(cache.allocate(&mut indices), 2048);
        reset(&pool, &indices);
        // SAFETY: just allocated.
        unsafe { cache.free(&indices) };
        drop(cache);
        assert_eq!(pool.free(), 2048);
        assert_eq!(ThreadCache::new(&pool).allocate(&mut indices), 2048);
    }

    #[test]
    fn refuses_a_pool_that_is_too_small() {
        assert!(matches!(BufferPool::create(10, 1, HugePages::Never), Err(MemoryError::Count { .. })));
    }
}
