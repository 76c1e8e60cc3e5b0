//! From a path to a private copy of a plugin that may be loaded: everything that is judged before its code runs.

use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::OFlags;

use super::elf::SharedObject;
use super::{Descriptor, Refusal, Trust, descriptor, loader, sealed};

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
    /// Its version, likewise.
    pub version: Option<String>,
    /// When it was looked at.
    pub discovered: SystemTime,
    /// When it was found usable.
    pub verified: SystemTime,
    /// A sealed copy in memory.
    pub(super) copy: File,
}

/// Reads, judges and copies a plugin file. No code of it runs.
///
/// # Errors
/// Why it is not used.
pub fn verify(path: &Path, trust: &Trust) -> Result<Verified, Refusal> {
    let discovered = SystemTime::now();
    let no_copy = |error: io::Error| Refusal::NoCopy { reason: error.to_string() };
    let mut copy = sealed::file(path).map_err(no_copy)?;
    read(path, &mut copy)?;
    // What is judged is what will be loaded: the copy, once nothing can change it any more.
    sealed::seal(&copy).map_err(no_copy)?;
    let bytes = sealed::View::of(&copy).map_err(no_copy)?;
    trust.judge(path, &bytes)?;
    let (descriptor, name) = judge_bytes(&bytes)?;
    let version = descriptor::version(&bytes);
    drop(bytes);
    let verified = SystemTime::now();
    Ok(Verified { path: path.to_owned(), name, version, descriptor, discovered, verified, copy })
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

/// Copies a plain file that only its owner and root can write.
fn read(path: &Path, copy: &mut File) -> Result<(), Refusal> {
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
    // The file may grow meanwhile.
    let length = io::copy(&mut file.take(FILE_LIMIT + 1), copy).map_err(unreadable)?;
    if length > FILE_LIMIT {
        return Err(too_large(length));
    }
    Ok(())
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
