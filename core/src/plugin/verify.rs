//! From a path to a private copy of a plugin that may be loaded: everything that is judged before its code runs.

use std::fs::{File, Metadata};
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{MemfdFlags, OFlags, SealFlags};

use super::elf::SharedObject;
use super::{Descriptor, Refusal, descriptor, loader};

/// Most bytes of a plugin file.
pub const FILE_LIMIT: u64 = 256 << 20;
/// Permission of every user to write.
const OTHERS_WRITE: u32 = 0o002;
/// In such a directory users cannot replace each other's files.
const STICKY: u32 = 0o1000;

/// A file that was judged usable, copied so that nothing done to it on disk can reach the copy.
#[derive(Debug)]
pub struct Verified {
    /// The file.
    pub path: PathBuf,
    /// Its name, where that can be told from the file; otherwise only the loaded library tells.
    pub name: Option<String>,
    /// Its header's plain part.
    pub descriptor: Descriptor,
    /// A sealed copy in memory.
    pub(super) copy: OwnedFd,
}

/// Reads, judges and copies a plugin file. No code of it runs.
///
/// # Errors
/// Why it is not used.
pub fn verify(path: &Path) -> Result<Verified, Refusal> {
    let bytes = read(path)?;
    let (descriptor, name) = judge_bytes(&bytes)?;
    let copy = copy(path, &bytes).map_err(|error| Refusal::NoCopy { reason: error.to_string() })?;
    Ok(Verified { path: path.to_owned(), name, descriptor, copy })
}

/// Judges the bytes of a whole plugin file: what its header says, and its name where the file tells it.
///
/// A pure function; no code of the file runs.
///
/// # Errors
/// Why it would not be loaded.
pub fn judge_bytes(bytes: &[u8]) -> Result<(Descriptor, Option<String>), Refusal> {
    let object = SharedObject::parse(bytes)?;
    let descriptor = Descriptor::of(&object)?;
    descriptor.judge()?;
    loader::judge(&object)?;
    Ok((descriptor, descriptor::name(&object)))
}

/// The bytes of a plain file that only its owner and root can write.
fn read(path: &Path) -> Result<Vec<u8>, Refusal> {
    let unreadable = |error: io::Error| Refusal::Unreadable { reason: error.to_string() };
    // Asked before it is opened: opening a device can have effects.
    plain(&std::fs::metadata(path).map_err(unreadable)?)?;
    let mut options = File::options();
    // Without NONBLOCK a pipe that has just taken the file's place would block here.
    let flags = OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = options.read(true).custom_flags(flags.bits() as i32).open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    plain(&metadata)?;
    if rustix::process::geteuid().is_root() {
        refuse_open_to_all("file", path, &metadata)?;
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = directory.unwrap_or(Path::new("."));
        let metadata = std::fs::metadata(directory).map_err(unreadable)?;
        if metadata.mode() & STICKY == 0 {
            refuse_open_to_all("directory", directory, &metadata)?;
        }
    }
    let too_large = |bytes| Refusal::TooLarge { bytes, limit: FILE_LIMIT };
    if metadata.len() > FILE_LIMIT {
        return Err(too_large(metadata.len()));
    }
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    // The file may grow meanwhile.
    file.take(FILE_LIMIT + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_LIMIT {
        return Err(too_large(bytes.len() as u64));
    }
    Ok(bytes)
}

/// Refuses a file or directory that every user can write.
pub(super) fn refuse_open_to_all(
    what: &'static str,
    path: &Path,
    metadata: &Metadata,
) -> Result<(), Refusal> {
    if metadata.mode() & OTHERS_WRITE == 0 {
        return Ok(());
    }
    Err(Refusal::WorldWritable { what, path: path.to_owned(), mode: metadata.mode() & 0o7777 })
}

fn plain(metadata: &Metadata) -> Result<(), Refusal> {
    let kind = metadata.file_type();
    let kind = match () {
        () if kind.is_file() => return Ok(()),
        () if kind.is_dir() => "directory",
        () if kind.is_fifo() => "named pipe",
        () if kind.is_socket() => "socket",
        () if kind.is_char_device() || kind.is_block_device() => "device",
        () => "special file",
    };
    Err(Refusal::NotAFile { kind })
}

/// Puts `bytes` into memory that has no name in any directory and can no longer change.
fn copy(path: &Path, bytes: &[u8]) -> io::Result<OwnedFd> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // The system allows 249 bytes.
    let name: String = name.chars().filter(|letter| !letter.is_control()).take(48).collect();
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels before 6.3 do not know the flag that says "never to be executed as a program".
    let descriptor = rustix::fs::memfd_create(&*name, flags | MemfdFlags::NOEXEC_SEAL)
        .or_else(|_| rustix::fs::memfd_create(&*name, flags))?;
    let mut file = File::from(descriptor);
    file.write_all(bytes)?;
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&file, seals)?;
    Ok(file.into())
}
