//! The plugins of `tests/plugins`, also in versions and states that nobody builds.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// The version that the plugin `faulty` is built as.
pub const FAULTY_VERSION: &str = "1.0.710";
/// First bytes of every plugin's header.
const MAGIC: &[u8] = b"raddle\x00\x01";

/// A plugin's file, to be bent and written where a test wants it.
#[derive(Debug, Clone)]
pub struct TestPlugin {
    bytes: Vec<u8>,
}

/// Where a plugin of the tests is built.
#[must_use]
pub fn original(name: &str) -> PathBuf {
    crate::target_dir().join(format!("test-plugins/lib{name}.so"))
}

impl TestPlugin {
    /// The plugin `name` as it was built.
    ///
    /// # Errors
    /// When it was not built.
    pub fn read(name: &str) -> Result<Self> {
        let path = original(name);
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self { bytes })
    }

    /// The plugin `faulty` with another version, as long as the one that it is built as.
    ///
    /// # Errors
    /// When the version is nowhere in the file.
    pub fn faulty(version: &str) -> Result<Self> {
        Self::read("faulty")?.replace(FAULTY_VERSION.as_bytes(), version.as_bytes())
    }

    /// Writes `new` wherever `old` is.
    ///
    /// # Errors
    /// When it is nowhere, or the lengths differ.
    pub fn replace(mut self, old: &[u8], new: &[u8]) -> Result<Self> {
        ensure!(old.len() == new.len() && !old.is_empty(), "{old:?} and {new:?} differ in length");
        let mut found = 0;
        let mut at = 0;
        while at + old.len() <= self.bytes.len() {
            if self.bytes[at..].starts_with(old) {
                self.bytes[at..at + new.len()].copy_from_slice(new);
                found += 1;
                at += new.len();
            } else {
                at += 1;
            }
        }
        ensure!(found > 0, "{:?} is nowhere in the file", String::from_utf8_lossy(old));
        Ok(self)
    }

    /// Changes a byte of its header.
    ///
    /// # Errors
    /// When there is no header.
    pub fn bend_header(mut self, offset: usize, byte: u8) -> Result<Self> {
        let header = self.bytes.windows(MAGIC.len()).rposition(|bytes| bytes == MAGIC);
        let at = header.context("no header in the file")? + offset;
        self.bytes[at] = byte;
        Ok(self)
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Writes it as a file, in one step: a daemon may be reading the old one.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let beside = path.with_extension("part");
        fs::write(&beside, &self.bytes)?;
        fs::rename(&beside, path)?;
        Ok(())
    }
}
