//! Files in memory that nothing can change any more, and their bytes without a copy of them.

use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::ops::Deref;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};

/// What keeps the bytes of a file as they are.
const SEALS: SealFlags =
    SealFlags::WRITE.union(SealFlags::GROW).union(SealFlags::SHRINK).union(SealFlags::SEAL);

/// How often sealing is tried while the system has the file's pages in use; each try of its own waits a sixth of a second.
const BUSY_TRIES: u32 = 20;
/// Between tries.
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// An empty file in memory that has no name in any directory, called after `path` in what the system tells.
///
/// # Errors
/// The system gives none.
pub(super) fn file(path: &Path) -> io::Result<File> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // The system allows 249 bytes.
    let name: String = name.chars().filter(|letter| !letter.is_control()).take(48).collect();
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels before 6.3 do not know the flag that says "never to be executed as a program".
    let descriptor = rustix::fs::memfd_create(&*name, flags | MemfdFlags::NOEXEC_SEAL)
        .or_else(|_| rustix::fs::memfd_create(&*name, flags))?;
    Ok(File::from(descriptor))
}

/// Seals a file of [`file`] for good.
///
/// # Errors
/// The system does not.
pub(super) fn seal(file: &File) -> io::Result<()> {
    let mut tries = 1..BUSY_TRIES;
    loop {
        match rustix::fs::fcntl_add_seals(file, SEALS) {
            // No mapping of ours: the system itself looks at the pages at this moment, to move or to age them.
            Err(Errno::BUSY) if tries.next().is_some() => std::thread::sleep(BUSY_PAUSE),
            outcome => return Ok(outcome?),
        }
    }
}

/// The bytes of a sealed file.
#[derive(Debug)]
pub(super) struct View<'file> {
    address: *mut std::ffi::c_void,
    length: usize,
    file: PhantomData<&'file File>,
}

impl<'file> View<'file> {
    /// Maps the file.
    ///
    /// # Errors
    /// It is not sealed, or cannot be mapped.
    pub(super) fn of(file: &'file File) -> io::Result<Self> {
        if !rustix::fs::fcntl_get_seals(file)?.contains(SealFlags::WRITE | SealFlags::SHRINK) {
            return Err(io::Error::other("the file can still change"));
        }
        let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        let mut address = std::ptr::null_mut();
        // The system maps no empty range.
        if length > 0 {
            // SAFETY: a new mapping, where the system likes, touches no other memory.
            address = unsafe {
                rustix::mm::mmap(std::ptr::null_mut(), length, ProtFlags::READ, MapFlags::PRIVATE, file, 0)?
            };
        }
        Ok(Self { address, length, file: PhantomData })
    }
}

impl Deref for View<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        if self.length == 0 {
            return &[];
        }
        // SAFETY: `of` mapped so many readable bytes of a file that is sealed against writing and shrinking, so they
        // are there and stay as they are until `drop`.
        unsafe { std::slice::from_raw_parts(self.address.cast(), self.length) }
    }
}

impl Drop for View<'_> {
    fn drop(&mut self) {
        if self.length > 0 {
            // SAFETY: `of` mapped this range, and what borrowed from it is gone. Failure leaves it mapped.
            let _ = unsafe { rustix::mm::munmap(self.address, self.length) };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn shows_the_bytes_of_sealed_files_only() {
        let mut copy = file(Path::new("/plugins/lib\nacl.so")).unwrap();
        copy.write_all(b"bytes").unwrap();
        assert!(View::of(&copy).is_err(), "it can still change");
        seal(&copy).unwrap();
        assert_eq!(&*View::of(&copy).unwrap(), b"bytes");
        assert!(copy.write_all(b"more").is_err());
        assert!(copy.set_len(1).is_err());
    }

    #[test]
    fn an_empty_file_has_no_bytes() {
        let copy = file(Path::new("empty")).unwrap();
        seal(&copy).unwrap();
        assert!(View::of(&copy).unwrap().is_empty());
    }
}
