//! A plugin's code in this process.

use std::ffi::c_void;
use std::fmt;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use libloading::os::unix::{Library as Handle, RTLD_LOCAL, RTLD_NOW};
use raddle_plugin_api::abi::PLUGIN_SYMBOL;

use super::{Refusal, Verified};

/// Counts the libraries loaded, so that each has a path of its own.
static LOADED: AtomicU32 = AtomicU32::new(0);

/// A library that is loaded for good.
///
/// It is never unloaded: thread-locals of a Rust library, and whatever still points to its code or constants, would
/// dangle. When a `Library` is dropped only its copy of the file is closed; the mapping stays.
pub struct Library {
    handle: ManuallyDrop<Handle>,
    /// Open as long as the plugin is in use, so that backtraces find its debug information under the loader's path.
    _copy: OwnedFd,
}

impl Library {
    /// Loads a verified plugin: its constructors run, nothing else of it.
    ///
    /// # Errors
    /// The system's loader refuses it.
    pub fn open(verified: Verified) -> Result<Self, Refusal> {
        let path = unique_path(verified.copy.as_raw_fd(), LOADED.fetch_add(1, Ordering::Relaxed));
        // SAFETY: the plugin's constructors run, which is what loading it means; it is sealed against changes, its
        // header says that it is made for this ABI, and it is not unloaded while anything could use it: never.
        let handle = unsafe { Handle::open(Some(&path), RTLD_NOW | RTLD_LOCAL) };
        let handle = handle.map_err(|error| refusal(&reason(&error), &path))?;
        Ok(Self { handle: ManuallyDrop::new(handle), _copy: verified.copy })
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
