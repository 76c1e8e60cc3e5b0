//! A plugin file on its way into the process, as far as no function of it that does something has run.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use raddle_plugin_api::abi::PluginHeader;

use super::verify::{Verified, verify};
use super::{Description, Library, Refusal, Trust, header};

/// A plugin whose file was verified, whose code is mapped, and whose header and registrations were judged. No instance
/// of it was made and no init function ran.
pub struct Loaded {
    header: &'static PluginHeader,
    description: Description,
    path: PathBuf,
    library: Arc<Library>,
    mapped: (usize, usize),
    times: Times,
}

/// When a plugin came how far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// The file was found, or named by somebody.
    pub discovered: SystemTime,
    /// It was judged usable.
    pub verified: SystemTime,
    /// Its code was mapped.
    pub loaded: SystemTime,
}

impl Loaded {
    /// Its header, which stays mapped for good.
    pub fn header(&self) -> &'static PluginHeader {
        self.header
    }

    /// What it says of itself.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.description.name
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its code, to be kept as long as it is used.
    pub fn library(&self) -> &Arc<Library> {
        &self.library
    }

    /// Where it is mapped: its first address, and the first one behind it.
    pub fn mapped(&self) -> (usize, usize) {
        self.mapped
    }

    /// When it came how far.
    pub fn times(&self) -> Times {
        self.times
    }
}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loaded").field("path", &self.path).field("description", &self.description).finish()
    }
}

/// Verifies and loads one plugin file. Constructors of the library run once the file is judged usable.
///
/// # Errors
/// Why it is not used.
pub fn load(path: &Path, trust: &Trust) -> Result<Loaded, Refusal> {
    load_verified(verify(path, trust)?)
}

/// Loads a plugin file that was verified.
pub(super) fn load_verified(verified: Verified) -> Result<Loaded, Refusal> {
    let path = verified.path.clone();
    let (discovered, verified_at) = (verified.discovered, verified.verified);
    let library = Library::open(verified)?;
    let (header, description) = header::check(&library)?;
    let mapped = super::mapped::extent_of(std::ptr::from_ref(header).addr());
    let times = Times { discovered, verified: verified_at, loaded: SystemTime::now() };
    Ok(Loaded { header, description, path, library, mapped, times })
}

/// Says what is in a plugin file, for `raddle plugin check`: the verdict is that of [`load`].
///
/// # Errors
/// Why it would not be used.
pub fn check(path: &Path, trust: &Trust) -> Result<Description, Refusal> {
    load(path, trust).map(|loaded| loaded.description)
}
