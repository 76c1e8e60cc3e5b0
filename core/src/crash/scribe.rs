//! Writing where nothing may be allocated: a text of limited length, and files by descriptor.

use std::fmt;
use std::os::fd::RawFd;

/// A text in a buffer of its own; what is beyond its length is lost.
pub(super) struct Scribe<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Scribe<N> {
    pub(super) const fn new() -> Self {
        Self { bytes: [0; N], length: 0 }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// The text with a zero byte behind it, as system calls want paths.
    pub(super) fn path(&mut self) -> *const libc::c_char {
        let end = self.length.min(N - 1);
        self.bytes[end] = 0;
        self.bytes.as_ptr().cast()
    }
}

impl<const N: usize> fmt::Write for Scribe<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = text.len().min(N - self.length);
        self.bytes[self.length..self.length + room].copy_from_slice(&text.as_bytes()[..room]);
        self.length += room;
        Ok(())
    }
}

/// Writes all bytes to a descriptor, if it is one. Signal handlers too.
pub(super) fn write_all(descriptor: RawFd, mut bytes: &[u8]) {
    while descriptor >= 0 && !bytes.is_empty() {
        // SAFETY: the bytes are readable; a descriptor that is none is an error.
        let written = unsafe { libc::write(descriptor, bytes.as_ptr().cast(), bytes.len()) };
        match usize::try_from(written) {
            Ok(written) if written > 0 => bytes = &bytes[written..],
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    #[test]
    fn text_beyond_the_room_is_lost() {
        let mut scribe = Scribe::<8>::new();
        let _ = write!(scribe, "{}-{:x}", 12345, 0xabcdef);
        assert_eq!(scribe.bytes(), b"12345-ab");
    }
}
