//! The plugins of a directory: which are loaded, in which order, and which are not and why.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use raddle_plugin_api::config::nearest;

use super::load::load_verified;
use super::order::{Present, order};
use super::verify::{refuse_open_to_all, verify};
use super::{Loaded, Refusal, Trust};

/// What an operator wants of the plugins of a directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PluginPolicy {
    /// The directory.
    pub path: PathBuf,
    /// Whether the operator named the directory, so that it must be there.
    pub path_is_given: bool,
    /// Names of plugins that are not loaded.
    pub disable: Vec<String>,
    /// If not empty, names of the only plugins that are loaded, beside those required.
    pub only: Vec<String>,
    /// Names of plugins without which the daemon does not start.
    pub require: Vec<String>,
    /// Plugins, by name, of which one version is not loaded.
    pub held_back: BTreeMap<String, HeldBack>,
    /// If there are any keys, only plugins signed with one of them are loaded.
    pub trust: Trust,
}

/// Why a version of a plugin is not loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldBack {
    /// The version.
    pub version: String,
    /// Crashes in a row.
    pub crashes: u32,
    /// The last report.
    pub report: String,
}

/// What was found in a directory.
#[derive(Debug, Default)]
pub struct Discovery {
    /// Plugins to bring in, each after those that it needs, else by name.
    pub plugins: Vec<Loaded>,
    /// Files that are not used, and why, by path.
    pub refused: Vec<(PathBuf, Refusal)>,
    /// Plugins that the policy leaves out: name and file, by name.
    pub disabled: Vec<(String, PathBuf)>,
    /// Plugins that are held back for their crashes: name, file and why.
    pub held_back: Vec<(String, PathBuf, String)>,
    /// Sentences for the log: names in the policy that no plugin has.
    pub warnings: Vec<String>,
}

/// Why plugins cannot be looked for, or one that is required is not there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiscoverError {
    /// The directory is not there, or cannot be read.
    #[error("the plugin directory {} cannot be read: {source}; correct `plugins.path`", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// Every user could put code into the daemon.
    #[error("the plugin directory {} is not used: {refusal}", path.display())]
    Unsafe {
        /// The directory.
        path: PathBuf,
        /// Why.
        refusal: Box<Refusal>,
    },
    /// A required plugin is not in the directory.
    #[error("the required plugin `{name}` is not in {}{}", path.display(), hint(suggestion))]
    RequiredMissing {
        /// Its name.
        name: String,
        /// The directory.
        path: PathBuf,
        /// What was found instead: a similar name, or the files that were refused.
        suggestion: Option<String>,
    },
    /// A required plugin cannot be used.
    #[error("the required plugin `{name}` ({}) cannot be used: {refusal}", path.display())]
    RequiredRefused {
        /// Its name.
        name: String,
        /// Its file.
        path: PathBuf,
        /// Why.
        refusal: Box<Refusal>,
    },
    /// A plugin is required and disabled at once.
    #[error(
        "the plugin `{name}` is both in `plugins.require` and in `plugins.disable`; remove it from one of the two"
    )]
    RequiredDisabled {
        /// Its name.
        name: String,
    },
}

/// A file that was refused, with the plugin's name as far as it is known.
struct Refused {
    path: PathBuf,
    name: Option<String>,
    refusal: Refusal,
}

/// Verifies and loads the plugins of a directory. Of a disabled one the code is not even mapped where its name can be
/// read from the file, as it can of all that the SDK makes. No init function runs.
///
/// # Errors
/// The directory cannot be used, or a required plugin is missing or refused; files that are refused otherwise are in
/// the result.
pub fn discover(policy: &PluginPolicy) -> Result<Discovery, DiscoverError> {
    if let Some(name) = policy.require.iter().find(|name| policy.disable.contains(name)) {
        return Err(DiscoverError::RequiredDisabled { name: name.clone() });
    }
    let mut found = Discovery::default();
    let mut refused = Vec::new();
    let mut loaded = Vec::new();
    let mut present = Present::core();
    for path in files(policy)? {
        match load_wanted(&path, policy) {
            Ok(Wanted::No(name)) => found.disabled.push((name, path)),
            Ok(Wanted::HeldBack(name, why)) => found.held_back.push((name, path, why)),
            Ok(Wanted::Yes(plugin)) => {
                let name = plugin.name().to_owned();
                match present.name_is_free(&name) {
                    Err(refusal) => refused.push(Refused { path, name: Some(name), refusal }),
                    Ok(()) => {
                        present.add(&name, plugin.description().version.clone(), &path);
                        loaded.push(*plugin);
                    }
                }
            }
            Err((name, refusal)) => refused.push(Refused { path, name, refusal }),
        }
    }
    found.disabled.sort();
    found.disabled.dedup();
    let failed: Vec<String> = refused.iter().filter_map(|file| file.name.clone()).collect();
    let held_back = found.held_back.iter().map(|(name, ..)| name);
    let disabled: Vec<String> =
        found.disabled.iter().map(|(name, _)| name).chain(held_back).cloned().collect();
    let (plugins, unmet) = order(loaded, &Present::core(), &disabled, &failed);
    refused.extend(unmet.into_iter().map(|(plugin, refusal)| Refused {
        path: plugin.path().to_owned(),
        name: Some(plugin.name().to_owned()),
        refusal,
    }));
    found.plugins = plugins;
    refused.sort_by(|one, other| one.path.cmp(&other.path));
    required(policy, &found, &refused)?;
    found.warnings = warnings(policy, &found, &refused);
    found.refused = refused.into_iter().map(|file| (file.path, file.refusal)).collect();
    Ok(found)
}

impl PluginPolicy {
    /// Why this version of a plugin is held back, if it is.
    fn held_back(&self, name: &str, version: Option<&str>) -> Option<String> {
        let HeldBack { version: crashed, crashes, report } = self.held_back.get(name)?;
        version.is_none_or(|version| version == crashed).then(|| {
            format!(
                "version {crashed} crashed raddle {crashes} times in a row, see {report}; `plugin enable {name}` loads \
                 it all the same, `clear plugin-crashes {name}` has the next start load it, and so does another version"
            )
        })
    }

    /// Whether the plugin of that name is loaded.
    pub fn wants(&self, name: &str) -> bool {
        let named = |list: &[String]| list.iter().any(|known| known == name);
        !named(&self.disable) && (self.only.is_empty() || named(&self.only) || named(&self.require))
    }
}

enum Wanted {
    Yes(Box<Loaded>),
    No(String),
    HeldBack(String, String),
}

fn load_wanted(path: &Path, policy: &PluginPolicy) -> Result<Wanted, (Option<String>, Refusal)> {
    let verified = verify(path, &policy.trust).map_err(|refusal| (None, refusal))?;
    let (name, version) = (verified.name.clone(), verified.version.clone());
    if let Some(why) = name.as_ref().and_then(|name| policy.held_back(name, version.as_deref()))
        && name.as_ref().is_none_or(|name| policy.wants(name))
    {
        return Ok(Wanted::HeldBack(name.unwrap_or_default(), why));
    }
    if let Some(name) = verified.name.clone().filter(|name| !policy.wants(name)) {
        return Ok(Wanted::No(name));
    }
    let name = verified.name.clone();
    let plugin = load_verified(verified).map_err(|refusal| (name, refusal))?;
    if !policy.wants(plugin.name()) {
        return Ok(Wanted::No(plugin.name().to_owned()));
    }
    Ok(Wanted::Yes(Box::new(plugin)))
}

/// The files of the directory that are called as a shared object is, by name.
fn files(policy: &PluginPolicy) -> Result<Vec<PathBuf>, DiscoverError> {
    let path = &policy.path;
    let unreadable = |source| DiscoverError::Directory { path: path.clone(), source };
    let metadata = match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !policy.path_is_given => {
            return Ok(Vec::new());
        }
        metadata => metadata.map_err(unreadable)?,
    };
    let entries = std::fs::read_dir(path).map_err(unreadable)?;
    if rustix::process::geteuid().is_root() {
        refuse_open_to_all("directory", path, &metadata)
            .map_err(|refusal| DiscoverError::Unsafe { path: path.clone(), refusal: Box::new(refusal) })?;
    }
    let mut files = Vec::new();
    for entry in entries {
        let file = entry.map_err(unreadable)?.path();
        if file.extension() == Some(OsStr::new("so")) {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

/// Complains of the first required plugin that is not there.
fn required(policy: &PluginPolicy, found: &Discovery, refused: &[Refused]) -> Result<(), DiscoverError> {
    for name in &policy.require {
        if found.plugins.iter().any(|plugin| plugin.name() == name) {
            continue;
        }
        if let Some((_, path, why)) = found.held_back.iter().find(|(held, ..)| held == name) {
            let refusal = Box::new(Refusal::HeldBack { why: why.clone() });
            return Err(DiscoverError::RequiredRefused { name: name.clone(), path: path.clone(), refusal });
        }
        // A file that cannot say its name is judged by the file's.
        let of_name = |file: &&Refused| file.name.as_ref() == Some(name) || names(&file.path, name);
        if let Some(file) = refused.iter().find(of_name) {
            return Err(DiscoverError::RequiredRefused {
                name: name.clone(),
                path: file.path.clone(),
                refusal: Box::new(file.refusal.clone()),
            });
        }
        let suggestion = suggestion(name, found, refused);
        return Err(DiscoverError::RequiredMissing {
            name: name.clone(),
            path: policy.path.clone(),
            suggestion,
        });
    }
    Ok(())
}

/// Whether a file is called as a plugin of that name would be: `libflow_count.so`, `flow-count.so`.
fn names(path: &Path, name: &str) -> bool {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().replace('_', "-");
    stem == name || stem.strip_prefix("lib") == Some(name)
}

fn warnings(policy: &PluginPolicy, found: &Discovery, refused: &[Refused]) -> Vec<String> {
    let known: Vec<&str> = known(found, refused).collect();
    let lists = [("disable", &policy.disable), ("only", &policy.only)];
    let mut warnings = Vec::new();
    for (list, names_of_list) in lists {
        for name in names_of_list {
            let refused_file = refused.iter().any(|file| names(&file.path, name));
            if !known.contains(&name.as_str()) && !refused_file {
                let hint = hint(&suggestion(name, found, refused));
                let path = policy.path.display();
                warnings.push(format!("`plugins.{list}` names `{name}`, which is not in {path}{hint}"));
            }
        }
    }
    warnings
}

fn known<'f>(found: &'f Discovery, refused: &'f [Refused]) -> impl Iterator<Item = &'f str> {
    let loaded = found.plugins.iter().map(Loaded::name);
    let disabled = found.disabled.iter().map(|(name, _)| name.as_str());
    let held_back = found.held_back.iter().map(|(name, ..)| name.as_str());
    loaded.chain(disabled).chain(held_back).chain(refused.iter().filter_map(|file| file.name.as_deref()))
}

fn suggestion(name: &str, found: &Discovery, refused: &[Refused]) -> Option<String> {
    nearest(name, known(found, refused)).map(str::to_owned)
}

fn hint(suggestion: &Option<String>) -> String {
    suggestion.as_ref().map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_is_wanted_unless_lists_leave_it_out() {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let policy = |disable: &[&str], only: &[&str], require: &[&str]| PluginPolicy {
            disable: list(disable),
            only: list(only),
            require: list(require),
            ..PluginPolicy::default()
        };
        let cases = [
            (policy(&[], &[], &[]), true),
            (policy(&["acl"], &[], &[]), false),
            (policy(&["nat64"], &[], &[]), true),
            (policy(&[], &["acl"], &[]), true),
            (policy(&[], &["nat64"], &[]), false),
            (policy(&[], &["nat64"], &["acl"]), true),
        ];
        for (policy, wanted) in cases {
            assert_eq!(policy.wants("acl"), wanted, "{policy:?}");
        }
    }

    #[test]
    fn a_missing_directory_is_fine_unless_it_was_asked_for() {
        let path = PathBuf::from("/nonexistent/plugins");
        let found = discover(&PluginPolicy { path: path.clone(), ..PluginPolicy::default() }).unwrap();
        assert!(found.plugins.is_empty() && found.refused.is_empty());
        let given = PluginPolicy { path: path.clone(), path_is_given: true, ..PluginPolicy::default() };
        let error = discover(&given).unwrap_err();
        assert!(error.to_string().starts_with("the plugin directory /nonexistent/plugins cannot be read"));
        let required = PluginPolicy { path, require: vec!["acl".to_owned()], ..PluginPolicy::default() };
        let error = discover(&required).unwrap_err();
        assert_eq!(error.to_string(), "the required plugin `acl` is not in /nonexistent/plugins");
    }

    #[test]
    fn files_are_known_by_the_name_of_their_crate() {
        assert!(names(Path::new("/x/libflow_count.so"), "flow-count"));
        assert!(names(Path::new("flow-count.so"), "flow-count"));
        assert!(!names(Path::new("libflow.so"), "flow-count"));
    }
}
