//! A plugin file on its way into the process, as far as no function of it that does something has run.

use std::fmt;
use std::path::{Path, PathBuf};

use raddle_plugin_api::abi::PluginHeader;

use super::verify::{Verified, verify};
use super::{Description, Library, Refusal, header};

/// A plugin whose file was verified, whose code is mapped, and whose header and registrations were judged. No instance
/// of it was made and no init function ran.
pub struct Loaded {
    header: &'static PluginHeader,
    description: Description,
    path: PathBuf,
    _library: Library,
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
pub fn load(path: &Path) -> Result<Loaded, Refusal> {
    load_verified(verify(path)?)
}

/// Loads a plugin file that was verified.
pub(super) fn load_verified(verified: Verified) -> Result<Loaded, Refusal> {
    let path = verified.path.clone();
    let library = Library::open(verified)?;
    let (header, description) = header::check(&library)?;
    Ok(Loaded { header, description, path, _library: library })
}

/// Says what is in a plugin file, for `raddle plugin check`: the verdict is that of [`load`].
///
/// # Errors
/// Why it would not be used.
pub fn check(path: &Path) -> Result<Description, Refusal> {
    load(path).map(|loaded| loaded.description)
}
