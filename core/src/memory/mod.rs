//! Memory for packets: the arena, the buffer pool, the per-thread caches.

mod arena;
mod pool;

pub use arena::{Arena, HugePages, MemoryError, PageKind};
pub use pool::{BufferPool, MAGAZINE_SIZE, ThreadCache};
