//! What plugins did to earlier runs: which crashed them how often in a row, and which is held back for it.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::crash::LAST_CRASH;
use crate::plugin::HeldBack;

/// The file of the counts.
const COUNTS: &str = "plugin-crashes.json";
/// A run that lasted longer than this, in seconds, was none of a row.
const LONG_RUN_SECONDS: u64 = 600;

/// What the crash handler leaves.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct LastCrash {
    plugin: String,
    version: String,
    report: String,
    uptime_seconds: u64,
}

/// Crashes of one plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Crashes {
    /// Its version.
    pub version: String,
    /// How many runs in a row it ended.
    pub in_a_row: u32,
    /// File of the last report.
    pub report: String,
}

/// The log of crashes in the state directory.
#[derive(Debug)]
pub struct CrashLog {
    directory: PathBuf,
    /// Crashes in a row after which a plugin is held back; 0: never.
    most: u32,
    plugins: BTreeMap<String, Crashes>,
}

impl CrashLog {
    /// Opens the log, and takes in what the last run left.
    ///
    /// # Errors
    /// The directory cannot be made or written.
    pub fn open(directory: &Path, most: u32) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let plugins = match fs::read(directory.join(COUNTS)) {
            // What cannot be read is no reason not to start, nor to hold anything back.
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error),
        };
        let mut log = Self { directory: directory.to_owned(), most, plugins };
        log.take_in()?;
        log.write()?;
        Ok(log)
    }

    fn take_in(&mut self) -> io::Result<()> {
        let path = self.directory.join(LAST_CRASH);
        let Ok(bytes) = fs::read(&path) else { return Ok(()) };
        fs::remove_file(&path)?;
        let Ok(last) = serde_json::from_slice::<LastCrash>(&bytes) else { return Ok(()) };
        if last.uptime_seconds >= LONG_RUN_SECONDS {
            self.forgive();
        }
        let report = self.directory.join(&last.report).display().to_string();
        let fresh = Crashes { version: last.version.clone(), in_a_row: 0, report: String::new() };
        let crashes = self.plugins.entry(last.plugin.clone()).or_insert_with(|| fresh.clone());
        if crashes.version != last.version {
            *crashes = fresh;
        }
        crashes.in_a_row += 1;
        crashes.report = report;
        tracing::warn!(
            plugin = last.plugin,
            version = last.version,
            in_a_row = crashes.in_a_row,
            report = crashes.report,
            "the last run ended by a crash in this plugin"
        );
        Ok(())
    }

    /// The directory, for reports to be written to.
    ///
    /// # Errors
    /// It is gone.
    pub fn directory(&self) -> io::Result<File> {
        File::open(&self.directory)
    }

    /// Plugins that are held back, and why.
    pub fn held_back(&self) -> BTreeMap<String, HeldBack> {
        let held = self.plugins.iter().filter(|(_, crashes)| self.is_held(crashes));
        held.map(|(name, crashes)| {
            let Crashes { version, in_a_row, report } = crashes.clone();
            (name.clone(), HeldBack { version, crashes: in_a_row, report })
        })
        .collect()
    }

    fn is_held(&self, crashes: &Crashes) -> bool {
        self.most > 0 && crashes.in_a_row >= self.most
    }

    /// A run has ended well: rows that are not full are over.
    pub fn note_clean_end(&mut self) {
        self.forgive();
        if let Err(error) = self.write() {
            tracing::warn!("{}: {error}", self.directory.join(COUNTS).display());
        }
    }

    fn forgive(&mut self) {
        let most = self.most;
        self.plugins.retain(|_, crashes| most > 0 && crashes.in_a_row >= most);
    }

    /// Forgets the crashes of a plugin, or of all; returns the names.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn clear(&mut self, name: Option<&str>) -> io::Result<Vec<String>> {
        let gone: Vec<String> =
            self.plugins.keys().filter(|known| name.is_none_or(|name| *known == name)).cloned().collect();
        self.plugins.retain(|known, _| !gone.contains(known));
        self.write()?;
        Ok(gone)
    }

    /// All crashes.
    pub fn plugins(&self) -> &BTreeMap<String, Crashes> {
        &self.plugins
    }

    fn write(&self) -> io::Result<()> {
        let beside = self.directory.join(format!("{COUNTS}.new"));
        fs::write(&beside, serde_json::to_vec_pretty(&self.plugins)?)?;
        fs::rename(beside, self.directory.join(COUNTS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crash(directory: &Path, plugin: &str, version: &str, uptime: u64) {
        let text = format!(
            r#"{{"plugin":"{plugin}","version":"{version}","report":"crash-1-2.txt","uptime-seconds":{uptime}}}"#
        );
        fs::write(directory.join(LAST_CRASH), text).expect("a file");
    }

    #[test]
    fn a_plugin_is_held_back_after_crashes_in_a_row_only() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = directory.path().join("state");
        let open = || CrashLog::open(&at, 3).expect("a log");
        let held = |log: &CrashLog| log.held_back().into_keys().collect::<Vec<_>>();
        assert!(held(&open()).is_empty());
        for crashes in 1..=2 {
            crash(&at, "acl", "1.0.0", 5);
            assert_eq!((open().plugins()["acl"].in_a_row, held(&open()).len()), (crashes, 0));
        }
        open().note_clean_end();
        assert!(open().plugins().is_empty(), "a clean end breaks the row");
        for uptime in [5, 5, 7000, 5] {
            crash(&at, "acl", "1.0.0", uptime);
            assert!(held(&open()).is_empty(), "a long run breaks the row");
        }
        crash(&at, "acl", "1.0.0", 5);
        let mut log = open();
        let held_back = log.held_back();
        assert_eq!((held_back["acl"].crashes, &*held_back["acl"].version), (3, "1.0.0"));
        log.note_clean_end();
        assert_eq!(held(&open()), ["acl"], "it stays held back");
        assert_eq!(open().clear(Some("nat64")).expect("written"), Vec::<String>::new());
        assert_eq!(open().clear(None).expect("written"), ["acl"]);
        assert!(held(&open()).is_empty());
    }

    #[test]
    fn another_version_begins_anew_and_nonsense_is_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let open = || CrashLog::open(directory.path(), 2).expect("a log");
        crash(directory.path(), "acl", "1.0.0", 5);
        drop(open());
        crash(directory.path(), "acl", "1.0.1", 5);
        assert_eq!(open().plugins()["acl"].in_a_row, 1);
        fs::write(directory.path().join(LAST_CRASH), "{").expect("a file");
        fs::write(directory.path().join(COUNTS), "[]").expect("a file");
        assert!(open().plugins().is_empty());
        let never = CrashLog::open(directory.path(), 0).expect("a log");
        assert!(never.held_back().is_empty());
    }
}
