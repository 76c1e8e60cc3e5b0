//! Reading a packet from front to back, across its buffers.

use crate::{Packet, Segments};

/// A position in a packet's bytes that only moves on. Made by [`Packet::reader`].
///
/// ```
/// # use raddle_plugin_api::prelude::*;
/// fn sum_behind(packet: &Packet<'_>, offset: usize) -> u64 {
///     let mut reader = packet.reader();
///     let mut sum = 0;
///     if reader.skip(offset) {
///         while let Some(chunk) = reader.next_chunk(usize::MAX) {
///             sum += chunk.iter().map(|byte| u64::from(*byte)).sum::<u64>();
///         }
///     }
///     sum
/// }
/// ```
pub struct Reader<'p> {
    segments: Segments<'p>,
    chunk: &'p [u8],
}

impl Packet<'_> {
    /// Reads the packet from its present first byte on.
    pub fn reader(&self) -> Reader<'_> {
        Reader { segments: self.segments(), chunk: &[] }
    }
}

impl<'p> Reader<'p> {
    /// The next bytes, at most `most` of them and as many as lie together; never an empty slice. `None` at the packet's
    /// end, or when `most` is 0.
    #[inline]
    pub fn next_chunk(&mut self, most: usize) -> Option<&'p [u8]> {
        if most == 0 {
            return None;
        }
        while self.chunk.is_empty() {
            self.chunk = self.segments.next()?;
        }
        let (chunk, rest) = self.chunk.split_at(self.chunk.len().min(most));
        self.chunk = rest;
        Some(chunk)
    }

    /// Goes `count` bytes on; `false` if the packet ends before.
    #[inline]
    pub fn skip(&mut self, count: usize) -> bool {
        let mut left = count;
        while left > 0 {
            let Some(chunk) = self.next_chunk(left) else { return false };
            left -= chunk.len();
        }
        true
    }
}
