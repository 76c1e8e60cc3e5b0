//! Which plugins need which: what is missing, and the order in which the rest is brought in.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use semver::Version;

use super::{Description, Loaded, Refusal, Requirement};

/// Name under which plugins can require a version of raddle itself.
const CORE: &str = "core";

/// Plugins that are there already, raddle itself among them.
#[derive(Debug, Clone)]
pub struct Present {
    plugins: BTreeMap<String, (Version, PathBuf)>,
}

impl Present {
    /// Nothing but raddle itself, as `core`.
    pub fn core() -> Self {
        let version = env!("CARGO_PKG_VERSION").parse();
        // The version of a crate is a semantic version, or cargo would not have built it.
        let version = version.unwrap_or_else(|_| Version::new(0, 0, 0));
        Self { plugins: BTreeMap::from([(CORE.to_owned(), (version, PathBuf::new()))]) }
    }

    /// Adds a plugin that is there.
    pub fn add(&mut self, name: &str, version: Version, path: &Path) {
        self.plugins.insert(name.to_owned(), (version, path.to_owned()));
    }

    /// Takes one away that makes room for another of its name.
    pub fn remove(&mut self, name: &str) {
        self.plugins.remove(name);
    }

    /// Judges whether a plugin can be brought in beside those that are there: its name is free, what it needs is there.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn admit(&self, plugin: &Loaded) -> Result<(), Refusal> {
        self.name_is_free(plugin.name())?;
        self.judge(plugin.description(), |_| None, &[], &[])
    }

    /// Judges whether a name can be given to another plugin.
    ///
    /// # Errors
    /// Who has it.
    pub fn name_is_free(&self, name: &str) -> Result<(), Refusal> {
        if name == CORE {
            return Err(Refusal::ReservedName { name: name.to_owned() });
        }
        match self.plugins.get(name) {
            Some((_, other)) => Err(Refusal::DuplicatePlugin { name: name.to_owned(), other: other.clone() }),
            None => Ok(()),
        }
    }

    fn judge<'d>(
        &'d self,
        plugin: &Description,
        coming: impl Fn(&str) -> Option<&'d Version>,
        disabled: &[String],
        failed: &[String],
    ) -> Result<(), Refusal> {
        for Requirement { name, version: requirement } in &plugin.registered.requires {
            let there = self.plugins.get(name).map(|(version, _)| version).or_else(|| coming(name));
            let Some(there) = there else {
                let (reason, remedy) = match () {
                    () if disabled.contains(name) => {
                        ("left out by the configuration", "allow it in the section `plugins`")
                    }
                    () if failed.contains(name) => ("refused itself", "see to that one first"),
                    () => ("not there", "put it into the plugin directory"),
                };
                let (name, requirement) = (name.clone(), requirement.clone());
                return Err(Refusal::MissingDependency { name, requirement, reason, remedy });
            };
            if !requirement.matches(there) {
                return Err(Refusal::DependencyVersion {
                    name: name.clone(),
                    requirement: requirement.clone(),
                    there: there.clone(),
                });
            }
        }
        Ok(())
    }
}

/// Orders plugins of distinct names so that each comes after those that it needs, else by name; those whose needs
/// are not met come back with the reason.
pub(super) fn order(
    plugins: Vec<Loaded>,
    present: &Present,
    disabled: &[String],
    failed: &[String],
) -> (Vec<Loaded>, Vec<(Loaded, Refusal)>) {
    let descriptions: Vec<&Description> = plugins.iter().map(Loaded::description).collect();
    let (order, mut unmet) = arrange(&descriptions, present, disabled, failed);
    let mut slots: Vec<Option<Loaded>> = plugins.into_iter().map(Some).collect();
    // Each index is in one of the two lists, once.
    let refused =
        unmet.drain(..).filter_map(|(index, refusal)| Some((slots[index].take()?, refusal))).collect();
    (order.into_iter().filter_map(|index| slots[index].take()).collect(), refused)
}

/// Order of the plugins by index, and those that are refused.
fn arrange(
    plugins: &[&Description],
    present: &Present,
    disabled: &[String],
    failed: &[String],
) -> (Vec<usize>, Vec<(usize, Refusal)>) {
    let mut alive: BTreeMap<&str, usize> =
        plugins.iter().enumerate().map(|(index, plugin)| (&*plugin.name, index)).collect();
    let mut failed = failed.to_vec();
    let mut refused: Vec<(usize, Refusal)> = Vec::new();
    loop {
        let coming = |name: &str| alive.get(name).map(|index| &plugins[*index].version);
        let unmet = alive.values().find_map(|index| {
            let verdict = present.judge(plugins[*index], coming, disabled, &failed);
            verdict.err().map(|refusal| vec![(*index, refusal)])
        });
        let out = match unmet {
            Some(out) => out,
            None => match sort(plugins, &alive) {
                Ok(order) => return (order, refused),
                Err(circle) => {
                    let mut members: Vec<String> =
                        circle.iter().map(|index| plugins[*index].name.clone()).collect();
                    members.extend(members.first().cloned());
                    let refusal = Refusal::DependencyCycle { members };
                    circle.into_iter().map(|index| (index, refusal.clone())).collect()
                }
            },
        };
        for (index, refusal) in out {
            alive.remove(&*plugins[index].name);
            failed.push(plugins[index].name.clone());
            refused.push((index, refusal));
        }
    }
}

/// Sorts plugins whose needs are all among them or present already; else gives a circle.
fn sort(plugins: &[&Description], alive: &BTreeMap<&str, usize>) -> Result<Vec<usize>, Vec<usize>> {
    let needs = |name: &str| {
        let requires = &plugins[alive[name]].registered.requires;
        requires.iter().filter_map(|needed| alive.get_key_value(&*needed.name)).map(|(name, _)| *name)
    };
    let mut waiting: BTreeSet<&str> = alive.keys().copied().collect();
    let mut order = Vec::with_capacity(alive.len());
    while !waiting.is_empty() {
        let ready = waiting.iter().copied().find(|name| needs(name).all(|needed| !waiting.contains(needed)));
        match ready {
            Some(name) => {
                waiting.remove(name);
                order.push(alive[name]);
            }
            None => {
                // Everyone who waits needs one who waits, so this walk comes back to where it has been.
                let mut walk: Vec<&str> = waiting.iter().copied().take(1).collect();
                while let Some(next) =
                    walk.last().and_then(|name| needs(name).find(|needed| waiting.contains(needed)))
                {
                    if let Some(start) = walk.iter().position(|name| *name == next) {
                        return Err(walk[start..].iter().map(|name| alive[name]).collect());
                    }
                    walk.push(next);
                }
            }
        }
    }
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::Registered;

    fn plugin(name: &str, requires: &[(&str, &str)]) -> Description {
        let requires = requires.iter().map(|(name, version)| Requirement {
            name: (*name).to_owned(),
            version: version.parse().unwrap(),
        });
        Description {
            name: name.to_owned(),
            version: Version::new(1, 2, 3),
            summary: String::new(),
            built_with: String::new(),
            abi: "1.0".to_owned(),
            registered: Registered { requires: requires.collect(), ..Registered::default() },
        }
    }

    fn arranged(plugins: &[Description], disabled: &[&str]) -> (Vec<String>, Vec<(String, String)>) {
        let references: Vec<&Description> = plugins.iter().collect();
        let disabled: Vec<String> = disabled.iter().map(|name| (*name).to_owned()).collect();
        let (order, refused) = arrange(&references, &Present::core(), &disabled, &[]);
        let name = |index: usize| plugins[index].name.clone();
        (
            order.into_iter().map(name).collect(),
            refused.into_iter().map(|(index, refusal)| (name(index), refusal.to_string())).collect(),
        )
    }

    #[test]
    fn plugins_come_after_what_they_need_and_else_by_name() {
        let plugins = [
            plugin("a", &[("d", "^1"), ("core", ">=0.1")]),
            plugin("b", &[]),
            plugin("c", &[("b", "*")]),
            plugin("d", &[("c", "~1.2")]),
        ];
        assert_eq!(arranged(&plugins, &[]), (["b", "c", "d", "a"].map(str::to_owned).to_vec(), vec![]));
    }

    #[test]
    fn what_is_missing_takes_those_along_that_need_it() {
        let plugins = [
            plugin("a", &[("b", "^1")]),
            plugin("b", &[("gone", "^2")]),
            plugin("c", &[("off", "*")]),
            plugin("d", &[]),
        ];
        let (order, refused) = arranged(&plugins, &["off"]);
        assert_eq!(order, ["d"]);
        let expected = [
            ("b", "it needs the plugin `gone` ^2, which is not there; put it into the plugin directory"),
            ("a", "it needs the plugin `b` ^1, which is refused itself; see to that one first"),
            (
                "c",
                "it needs the plugin `off` *, which is left out by the configuration; allow it in the section `plugins`",
            ),
        ];
        assert_eq!(refused, expected.map(|(name, why)| (name.to_owned(), why.to_owned())));
    }

    #[test]
    fn another_version_will_not_do() {
        let plugins = [plugin("a", &[("b", "^2")]), plugin("b", &[]), plugin("c", &[("core", "^99")])];
        let (order, refused) = arranged(&plugins, &[]);
        assert_eq!(order, ["b"]);
        assert_eq!(
            refused[0].1,
            "it needs the plugin `b` ^2 and 1.2.3 is there; install a version that fits"
        );
        assert!(refused[1].1.starts_with("it needs the plugin `core` ^99 and 0."), "{}", refused[1].1);
    }

    #[test]
    fn a_circle_is_told_with_its_members() {
        let plugins = [
            plugin("a", &[("b", "*")]),
            plugin("b", &[("c", "*")]),
            plugin("c", &[("b", "*")]),
            plugin("d", &[]),
        ];
        let (order, refused) = arranged(&plugins, &[]);
        assert_eq!(order, ["d"]);
        let circle = "plugins need each other in a circle: b → c → b; remove one of these dependencies";
        let expected = [
            ("b", circle),
            ("c", circle),
            ("a", "it needs the plugin `b` *, which is refused itself; see to that one first"),
        ];
        assert_eq!(refused, expected.map(|(name, why)| (name.to_owned(), why.to_owned())));
        let alone = [plugin("a", &[("a", "*")])];
        assert!(arranged(&alone, &[]).1[0].1.contains("a → a"));
    }

    #[test]
    fn names_of_those_that_are_there_are_taken() {
        let mut present = Present::core();
        present.add("acl", Version::new(1, 0, 0), Path::new("/p/libacl.so"));
        let taken = present.name_is_free("acl").unwrap_err().to_string();
        assert_eq!(taken, "a plugin named `acl` is already there, from /p/libacl.so; remove one of the two");
        assert!(matches!(present.name_is_free("core"), Err(Refusal::ReservedName { .. })));
        assert_eq!(present.name_is_free("nat64"), Ok(()));
    }
}
