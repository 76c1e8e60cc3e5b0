//! What plugins are given of the host's memory by name: counters and per-packet fields.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use raddle_plugin_api::abi::{BUFFER_FIELD_BYTES, BufferHeader, CounterMemory};

/// Counters that one name can have per thread.
const MOST_COUNTERS: usize = 1 << 20;

/// A cache line, in counters: threads do not share one.
const LINE: usize = 8;

struct CounterSet {
    memory: Box<[AtomicU64]>,
    length: usize,
    stride: usize,
}

/// Counters by name. Their memory is never freed: a plugin may keep a pointer to it.
pub struct CounterSets {
    sets: HashMap<String, CounterSet>,
    threads: usize,
}

impl CounterSets {
    /// No counters, for so many threads.
    pub fn new(threads: usize) -> Self {
        Self { sets: HashMap::new(), threads }
    }

    /// The counters of a name, made where they are not there; null memory where they cannot be.
    pub fn find_or_make(&mut self, name: &str, length: usize) -> CounterMemory {
        let threads = self.threads;
        let refused = CounterMemory { base: std::ptr::null_mut(), stride: 0, length: 0, threads };
        if length == 0 || length > MOST_COUNTERS {
            return refused;
        }
        let set = self.sets.entry(name.to_owned()).or_insert_with(|| {
            let stride = length.next_multiple_of(LINE) + LINE;
            CounterSet { memory: (0..stride * threads).map(|_| AtomicU64::new(0)).collect(), length, stride }
        });
        if set.length != length {
            return refused;
        }
        CounterMemory {
            base: set.memory.as_ptr().cast::<u64>().cast_mut(),
            stride: set.stride,
            length,
            threads,
        }
    }
}

impl CounterSets {
    /// A counter, summed over the threads; 0 if it is not there.
    pub fn sum(&self, name: &str, index: usize) -> u64 {
        let Some(set) = self.sets.get(name).filter(|set| index < set.length) else { return 0 };
        let cells = (0..self.threads).filter_map(|thread| set.memory.get(thread * set.stride + index));
        cells.fold(0, |sum, cell| sum.wrapping_add(cell.load(Ordering::Relaxed)))
    }

    /// The small sets, each with its name and its counters summed over the threads, by name.
    pub fn small(&self, most: usize) -> Vec<(&str, Vec<u64>)> {
        let small = self.sets.iter().filter(|(_, set)| set.length <= most);
        let mut all: Vec<_> = small
            .map(|(name, set)| {
                (name.as_str(), (0..set.length).map(|index| self.sum(name, index)).collect::<Vec<_>>())
            })
            .collect();
        all.sort_unstable_by_key(|(name, _)| *name);
        all
    }

    /// Adds to a counter as a thread does.
    #[cfg(test)]
    pub(super) fn add_for_test(&self, name: &str, thread: usize, index: usize, amount: u64) {
        let set = &self.sets[name];
        set.memory[thread * set.stride + index].fetch_add(amount, Ordering::Relaxed);
    }
}

/// Per-packet fields by name.
#[derive(Default)]
pub struct Fields {
    fields: HashMap<String, (u32, u32)>,
    used: usize,
}

impl Fields {
    /// Offset of the field of a name in the buffer's header, made where it is not there; `u32::MAX` where it cannot be.
    pub fn find_or_make(&mut self, name: &str, size: u32, align: u32) -> u32 {
        if let Some(&(offset, known)) = self.fields.get(name) {
            return if known == size { offset } else { u32::MAX };
        }
        let align = align.max(1);
        if !align.is_power_of_two() || align > 8 || size == 0 {
            return u32::MAX;
        }
        let start = std::mem::offset_of!(BufferHeader, fields);
        let offset = (start + self.used).next_multiple_of(align as usize);
        let end = offset + size as usize;
        if end > start + BUFFER_FIELD_BYTES {
            return u32::MAX;
        }
        self.used = end - start;
        self.fields.insert(name.to_owned(), (offset as u32, size));
        offset as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_is_one_set_of_counters() {
        let mut sets = CounterSets::new(3);
        let first = sets.find_or_make("a", 5);
        assert_eq!((first.length, first.threads, first.stride), (5, 3, 16));
        assert_eq!(sets.find_or_make("a", 5).base, first.base);
        assert!(sets.find_or_make("a", 6).base.is_null());
        assert!(sets.find_or_make("b", 0).base.is_null());
        assert!(sets.find_or_make("b", usize::MAX).base.is_null());
    }

    #[test]
    fn fields_do_not_overlap_and_end_with_the_room() {
        let mut fields = Fields::default();
        let (a, b) = (fields.find_or_make("a", 2, 2), fields.find_or_make("b", 8, 8));
        assert_eq!((a, b), (80, 88));
        assert_eq!(fields.find_or_make("a", 2, 2), a);
        assert_eq!(fields.find_or_make("a", 4, 4), u32::MAX);
        assert_eq!(fields.find_or_make("c", 40, 8), u32::MAX);
        assert_eq!(fields.find_or_make("d", 32, 8), 96);
        assert_eq!(fields.find_or_make("e", 1, 1), u32::MAX);
        assert_eq!(fields.find_or_make("odd", 1, 3), u32::MAX);
    }
}
