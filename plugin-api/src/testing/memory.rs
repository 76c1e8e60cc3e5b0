//! The memory that nodes and host share: buffers, interface rows, feature masks, arcs.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::sync::atomic::AtomicU64;

use crate::abi::{ArcTable, BUFFER_DATA_BYTES, BUFFER_DATA_OFFSET, InterfaceRow, MAX_ARCS, MAX_INTERFACES};

const CACHE_LINE: usize = 64;

/// Bytes from one buffer to the next: an odd number of cache lines, so that headers spread over all cache sets.
pub(super) const BUFFER_STRIDE: usize = {
    let lines = (BUFFER_DATA_OFFSET + BUFFER_DATA_BYTES).div_ceil(CACHE_LINE);
    (lines + 1 - lines % 2) * CACHE_LINE
};

/// Zeroed memory of one harness, 64-byte aligned.
pub(super) struct Memory {
    buffers: *mut u8,
    buffers_layout: Layout,
    pub(super) rows: *mut InterfaceRow,
    pub(super) masks: *mut AtomicU64,
    pub(super) arcs: *mut ArcTable,
}

impl Memory {
    /// Memory for `buffers` buffers, and for one more per thread that no packet owns.
    pub(super) fn new(buffers: usize, threads: usize) -> Self {
        let buffers_layout = layout((buffers + threads) * BUFFER_STRIDE);
        let memory = Self {
            buffers: zeroed(buffers_layout),
            buffers_layout,
            rows: zeroed(rows_layout()).cast(),
            masks: zeroed(masks_layout()).cast(),
            arcs: zeroed(arcs_layout()).cast(),
        };
        for arc in 0..MAX_ARCS {
            // SAFETY: `arcs` has room for `MAX_ARCS` tables and `masks` for `MAX_INTERFACES` masks each.
            unsafe {
                memory.arcs.add(arc).write(ArcTable {
                    masks: memory.masks.add(arc * MAX_INTERFACES),
                    end_node: 0,
                    epoch: 0,
                    reserved: [0; 5],
                    nodes: [0; crate::abi::FEATURES_PER_ARC],
                });
            }
        }
        memory
    }

    /// Where the arena begins.
    pub(super) fn buffers(&self) -> *mut u8 {
        self.buffers
    }

    /// Frees it all.
    ///
    /// # Safety
    /// Nobody reaches any of it from here on, and it is freed once.
    pub(super) unsafe fn free(&self) {
        // SAFETY: allocated by `new` with these layouts.
        unsafe {
            dealloc(self.buffers, self.buffers_layout);
            dealloc(self.rows.cast(), rows_layout());
            dealloc(self.masks.cast(), masks_layout());
            dealloc(self.arcs.cast(), arcs_layout());
        }
    }
}

fn rows_layout() -> Layout {
    layout(MAX_INTERFACES * size_of::<InterfaceRow>())
}

fn masks_layout() -> Layout {
    layout(MAX_ARCS * MAX_INTERFACES * size_of::<AtomicU64>())
}

fn arcs_layout() -> Layout {
    layout(MAX_ARCS * size_of::<ArcTable>())
}

fn layout(bytes: usize) -> Layout {
    // The alignment is a power of two and the sizes are far below `isize::MAX`.
    Layout::from_size_align(bytes, CACHE_LINE).expect("a test's memory is a valid layout")
}

fn zeroed(layout: Layout) -> *mut u8 {
    assert!(layout.size() > 0, "a harness has memory");
    // SAFETY: the layout is not empty, as asserted.
    let memory = unsafe { alloc_zeroed(layout) };
    if memory.is_null() {
        handle_alloc_error(layout);
    }
    memory
}
