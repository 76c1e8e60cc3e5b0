//! Notes on disk up to which sequence number keys may have been used: so that no key meets the same counter again, whatever happened to
//! the daemon (RFC 4106 §2: if it does, what it protects lies open).
//!
//! Numbers are noted ahead, many at once, before the first of them is used. Keys are noted by a fingerprint that nobody can turn back.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Sequence numbers that are noted ahead: what a second and a half of the smallest packets at 10 Gbit/s needs a fifth of.
pub const AHEAD: u64 = 1 << 22;

/// The notes.
#[derive(Debug)]
pub struct UsedKeys {
    path: Option<PathBuf>,
}

/// Why nothing can be noted.
#[derive(Debug, thiserror::Error)]
pub enum UsedKeysError {
    /// There is no place for it.
    #[error(
        "raddle has no state directory to note counters of keys in, so that none is used twice: set `plugins.state-directory`"
    )]
    NoPlace,
    /// The system refuses.
    #[error("the counters of keys cannot be kept in {path}: {source}")]
    System {
        /// The file.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// It is not what was written.
    #[error(
        "{path} is damaged, so nobody knows which keys were used up to where: give all SAs new keys, then delete the file"
    )]
    Damaged {
        /// The file.
        path: String,
    },
    /// Another version of the plugin has gone on with the key.
    #[error("another version of the plugin has gone on with the key")]
    TakenOver,
}

impl UsedKeys {
    /// In a file of this directory; `None`: nowhere.
    pub fn new(directory: Option<PathBuf>) -> Self {
        Self { path: directory.map(|directory| directory.join("ipsec-used-keys.json")) }
    }

    fn path(&self) -> Result<&Path, UsedKeysError> {
        self.path.as_deref().ok_or(UsedKeysError::NoPlace)
    }

    fn read(path: &Path) -> Result<BTreeMap<String, u64>, UsedKeysError> {
        match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|_| UsedKeysError::Damaged { path: path.display().to_string() }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(source) => Err(UsedKeysError::System { path: path.display().to_string(), source }),
        }
    }

    /// The first sequence number that was surely never used with this key.
    ///
    /// # Errors
    /// Nobody knows.
    pub fn first_unused(&self, fingerprint: &str) -> Result<u64, UsedKeysError> {
        Ok(Self::read(self.path()?)?.get(fingerprint).copied().unwrap_or(1))
    }

    /// Notes that numbers below `end` may have been used. `known` is what was noted before, if this is to go on from there: where
    /// somebody else has noted another number meanwhile, nothing is noted.
    ///
    /// # Errors
    /// It is not on disk.
    pub fn note(&self, fingerprint: &str, known: Option<u64>, end: u64) -> Result<(), UsedKeysError> {
        let path = self.path()?;
        let mut all = Self::read(path)?;
        if known.is_some_and(|known| all.get(fingerprint).copied() != Some(known)) {
            return Err(UsedKeysError::TakenOver);
        }
        all.insert(fingerprint.to_owned(), end);
        let text = serde_json::to_string_pretty(&all).unwrap_or_default();
        write(path, &text)
            .map_err(|source| UsedKeysError::System { path: path.display().to_string(), source })
    }
}

/// Replaces the file as a whole, and returns when that is on disk.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    fs::DirBuilder::new().recursive(true).mode(0o750).create(directory)?;
    let new = path.with_extension("new");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    fs::File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("made");
        let used = UsedKeys::new(Some(directory.clone()));
        assert_eq!(used.first_unused("a").unwrap(), 1);
        used.note("a", None, 100).unwrap();
        used.note("b", None, 7).unwrap();
        used.note("a", Some(100), 200).unwrap();
        let again = UsedKeys::new(Some(directory));
        assert_eq!((again.first_unused("a").unwrap(), again.first_unused("b").unwrap()), (200, 7));
    }

    #[test]
    fn who_was_overtaken_notes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let used = UsedKeys::new(Some(folder.path().to_owned()));
        used.note("a", None, 100).unwrap();
        used.note("a", None, 300).unwrap();
        assert!(matches!(used.note("a", Some(100), 200), Err(UsedKeysError::TakenOver)));
        assert_eq!(used.first_unused("a").unwrap(), 300);
    }

    #[test]
    fn a_damaged_file_is_no_clean_slate() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ipsec-used-keys.json"), "{").unwrap();
        let used = UsedKeys::new(Some(folder.path().to_owned()));
        assert!(used.first_unused("a").unwrap_err().to_string().contains("is damaged"));
        assert!(used.note("a", None, 2).is_err());
        assert!(matches!(UsedKeys::new(None).first_unused("a"), Err(UsedKeysError::NoPlace)));
    }
}
