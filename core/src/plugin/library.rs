//! A plugin's code in this process.

use std::ffi::c_void;
use std::fmt;
use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use libloading::os::unix::{Library as Handle, RTLD_LOCAL, RTLD_NOW};
use raddle_plugin_api::abi::PLUGIN_SYMBOL;

use super::{Refusal, Verified};

/// Counts the libraries loaded, so that each has a path of its own.
static LOADED: AtomicU32 = AtomicU32::new(0);

/// All libraries, those that nobody uses any more among them.
static LIBRARIES: Mutex<Vec<Arc<Library>>> = Mutex::new(Vec::new());

/// Bytes that are compared at a time.
const PIECE: usize = 1 << 16;

/// A library that is loaded for good.
///
/// It is never unloaded: thread-locals of a Rust library, and whatever still points to its code or constants, would
/// dangle. But a file with the same content that is loaded when nobody uses the library any more is given this one, so
/// that loading a plugin over and over takes no more memory than loading it twice.
pub struct Library {
    handle: ManuallyDrop<Handle>,
    /// Its private copy; open, so that backtraces find its debug information under the loader's path.
    copy: File,
}

impl Library {
    /// Loads a verified plugin: its constructors run, nothing else of it; not even these if the same library was loaded
    /// before and nobody uses it any more.
    ///
    /// # Errors
    /// The system's loader refuses it.
    pub fn open(verified: Verified) -> Result<Arc<Self>, Refusal> {
        let mut libraries = LIBRARIES.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = libraries.iter().filter(|library| Arc::strong_count(library) == 1);
        let mut same = idle.filter(|library| same_content(&library.copy, &verified.copy).unwrap_or(false));
        if let Some(library) = same.next() {
            return Ok(Arc::clone(library));
        }
        let library = Arc::new(Self::map(verified)?);
        libraries.push(Arc::clone(&library));
        Ok(library)
    }

    fn map(verified: Verified) -> Result<Self, Refusal> {
        let path = unique_path(verified.copy.as_raw_fd(), LOADED.fetch_add(1, Ordering::Relaxed));
        // SAFETY: the plugin's constructors run, which is what loading it means; it is sealed against changes, its
        // header says that it is made for this ABI, and it is not unloaded while anything could use it: never.
        let handle = unsafe { Handle::open(Some(&path), RTLD_NOW | RTLD_LOCAL) };
        let handle = handle.map_err(|error| refusal(&reason(&error), &path))?;
        Ok(Self { handle: ManuallyDrop::new(handle), copy: verified.copy })
    }

    /// The address of the plugin's header, which is mapped for good.
    ///
    /// # Errors
    /// The system's loader does not find the symbol.
    pub fn header_address(&self) -> Result<*const c_void, Refusal> {
        // SAFETY: the symbol is only taken as an address.
        let symbol = unsafe { self.handle.get::<*const c_void>(PLUGIN_SYMBOL) };
        let address = symbol.map_err(|_| Refusal::NoSymbol)?.as_raw_ptr();
        if address.is_null() { Err(Refusal::NoSymbol) } else { Ok(address) }
    }
}

/// Whether two files have the same bytes.
fn same_content(one: &File, other: &File) -> io::Result<bool> {
    let length = one.metadata()?.len();
    if length != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut ours, mut theirs) = (vec![0; PIECE], vec![0; PIECE]);
    let mut at = 0;
    while at < length {
        let piece = PIECE.min(usize::try_from(length - at).unwrap_or(PIECE));
        one.read_exact_at(&mut ours[..piece], at)?;
        other.read_exact_at(&mut theirs[..piece], at)?;
        if ours[..piece] != theirs[..piece] {
            return Ok(false);
        }
        at += piece as u64;
    }
    Ok(true)
}

impl fmt::Debug for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Library")
    }
}

/// A path to an open file that no library loaded before had.
///
/// The loader takes a path that it has seen for the library that it has, even when the number of the file is used
/// again for another one. Slashes and `./` say nothing in a path, so they can carry the number of the load.
fn unique_path(descriptor: i32, number: u32) -> String {
    let bits = u32::BITS - number.leading_zeros();
    let padding: String = (0..bits).map(|bit| if number >> bit & 1 == 1 { "./" } else { "/" }).collect();
    format!("/proc/self/fd/{padding}{descriptor}")
}

fn reason(error: &libloading::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

/// What the loader's message says.
fn refusal(message: &str, path: &str) -> Refusal {
    let message = message.trim().trim_start_matches(path).trim_start_matches(": ");
    if let Some((_, symbol)) = message.split_once("undefined symbol: ") {
        let symbol = symbol.split([' ', ',']).next().unwrap_or(symbol);
        return Refusal::UndefinedSymbol { symbol: symbol.to_owned() };
    }
    if let Some((library, reason)) = message.split_once(": cannot open shared object file: ") {
        return Refusal::MissingLibrary { library: library.to_owned(), reason: reason.to_owned() };
    }
    Refusal::Loader { reason: message.to_owned() }
}
