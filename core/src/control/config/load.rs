//! Reads a whole configuration: all sections, then what they say of each other.

use raddle_plugin_api::config::{INTERFACE_KEYS, Problem, SectionError, Step, Tree, nearest};
use serde::de::DeserializeOwned;

use super::check::check;
use super::document::{ConfigError, Document, raw};
use super::model::{Config, InterfaceSection};
use super::owners::Owners;
use super::sections::InterfaceConfig;

/// Sections that the core reads itself.
pub const CORE_SECTIONS: &[&str] = &[
    "runtime",
    "buffers",
    "control",
    "plugins",
    "log",
    "metrics",
    "ecmp",
    "table",
    "icmp",
    "ip4",
    "martians",
    "interface",
    "bridge",
    "route",
    "neighbor",
    "neighbor-table",
];

impl Config {
    /// Reads and checks all of a document.
    ///
    /// # Errors
    /// All mistakes found, in the order of the file.
    pub fn load(document: &Document, owners: &Owners) -> Result<Self, ConfigError> {
        let tree = document.tree()?;
        let mut problems = Vec::new();
        let config = read(&tree, owners, &mut problems);
        match ConfigError::new(document.name(), problems) {
            Some(error) => Err(error),
            None => Ok(config),
        }
    }
}

fn read(tree: &Tree<'_>, owners: &Owners, problems: &mut Vec<Problem>) -> Config {
    let mut config = Config {
        runtime: section(tree, "runtime", problems).unwrap_or_default(),
        buffers: section(tree, "buffers", problems).unwrap_or_default(),
        control: section(tree, "control", problems).unwrap_or_default(),
        plugins: section(tree, "plugins", problems).unwrap_or_default(),
        log: section(tree, "log", problems).unwrap_or_default(),
        metrics: section(tree, "metrics", problems).unwrap_or_default(),
        ecmp: section(tree, "ecmp", problems).unwrap_or_default(),
        tables: section(tree, "table", problems).unwrap_or_default(),
        icmp: section(tree, "icmp", problems).unwrap_or_default(),
        ip4: section(tree, "ip4", problems).unwrap_or_default(),
        martians: section(tree, "martians", problems).unwrap_or_default(),
        interfaces: interfaces(tree, owners, problems),
        routes: section(tree, "route", problems).unwrap_or_default(),
        bridges: section(tree, "bridge", problems).unwrap_or_default(),
        neighbors: section(tree, "neighbor", problems).unwrap_or_default(),
        neighbor_table: section(tree, "neighbor-table", problems).unwrap_or_default(),
        others: toml::Table::new(),
    };
    for name in tree.keys(&[]) {
        if CORE_SECTIONS.contains(&name) {
            continue;
        }
        match owners.section_check(name) {
            Some(check) => keep(check(tree.text()), problems).unwrap_or_default(),
            None if owners.accepts_unknown() => {}
            None => {
                problems.push(unknown_section(tree, name, owners));
                continue;
            }
        }
        if let Some(value) = keep(raw(tree, name), problems).flatten() {
            config.others.insert(name.to_owned(), value);
        }
    }
    check(tree, &config, problems);
    super::check_vlan::check(tree, &config, problems);
    super::check_bridge::check(tree, &config, problems);
    config
}

/// Reads a section of the core; `None` when it is absent or wrong.
fn section<T: DeserializeOwned>(tree: &Tree<'_>, name: &str, problems: &mut Vec<Problem>) -> Option<T> {
    keep(tree.read(&[Step::Key(name)], &[]), problems).flatten()
}

fn interfaces(tree: &Tree<'_>, owners: &Owners, problems: &mut Vec<Problem>) -> Vec<InterfaceSection> {
    let root = [Step::Key("interface")];
    if !tree.is_empty(&root) && !tree.is_table(&root) {
        problems.push(tree.problem(&root, "expected tables `[interface.NAME]`"));
        return Vec::new();
    }
    let mut found = Vec::new();
    for name in tree.keys(&root) {
        let path = [root[0], Step::Key(name)];
        if let Some(message) = bad_name(name) {
            problems.push(tree.key_problem(&path, message));
        }
        if !tree.is_table(&path) {
            let message = format!("expected a table `[interface.{name}]`");
            problems.push(tree.problem(&path, message));
            continue;
        }
        let keys = tree.keys(&path);
        let (common, own): (Vec<&str>, Vec<&str>) = keys.iter().partition(|key| INTERFACE_KEYS.contains(key));
        let options = keep(tree.read::<toml::Table>(&path, &common), problems).flatten();
        let common = match tree.read::<InterfaceConfig>(&path, &own) {
            Ok(common) => common,
            Err(error) => {
                misspelt(tree, &path, &own, error, problems);
                None
            }
        };
        let (Some(common), Some(options)) = (common, options) else { continue };
        match owners.options_check(&common.driver) {
            Some(check) => keep(check(tree.text(), name), problems).unwrap_or_default(),
            None if owners.accepts_unknown() => {}
            None => {
                let near = nearest(&common.driver, owners.driver_names());
                let others = near.map_or_else(|| known(owners.driver_names()), |_| String::new());
                let message = format!("unknown driver `{}`{others}", common.driver);
                problems.push(tree.problem(&[path[0], path[1], Step::Key("driver")], message).suggest(near));
            }
        }
        found.push(InterfaceSection { name: name.to_owned(), common, options });
    }
    found
}

/// Reports what is wrong with the common keys of an interface. As no driver may be known to ask for its own keys, those
/// that are nearly a common one are told here, and explain why that one is missing.
fn misspelt(
    tree: &Tree<'_>,
    path: &[Step<'_>; 2],
    own: &[&str],
    error: SectionError,
    problems: &mut Vec<Problem>,
) {
    let suspects: Vec<(&str, &str)> = own
        .iter()
        .filter_map(|key| nearest(key, INTERFACE_KEYS.iter().copied()).map(|meant| (*key, meant)))
        .collect();
    problems.extend(error.into_problems().into_iter().filter(|problem| {
        !suspects.iter().any(|(_, meant)| problem.message() == format!("missing key `{meant}`"))
    }));
    for (key, meant) in suspects {
        let problem = tree.key_problem(&[path[0], path[1], Step::Key(key)], format!("unknown key `{key}`"));
        problems.push(problem.suggest(Some(meant)));
    }
}

fn unknown_section(tree: &Tree<'_>, name: &str, owners: &Owners) -> Problem {
    let names: Vec<&str> = CORE_SECTIONS.iter().copied().chain(owners.section_names()).collect();
    let path = [Step::Key(name)];
    match nearest(name, names.iter().copied()) {
        Some(near) => tree.key_problem(&path, format!("unknown section `{name}`")).suggest(Some(near)),
        None => {
            let what = format!("unknown section `{name}`, and no loaded plugin has that name");
            tree.key_problem(&path, format!("{what}{}", known(names.into_iter())))
        }
    }
}

/// `; known: …`, sorted.
fn known<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    match names.as_slice() {
        [] => String::new(),
        names => format!("; known: `{}`", names.join("`, `")),
    }
}

/// Why a text cannot name an interface.
fn bad_name(name: &str) -> Option<String> {
    if name.is_empty() || name.len() > 63 {
        return Some("the name of an interface has 1 to 63 bytes".to_owned());
    }
    let bad = name.chars().find(|c| c.is_whitespace() || c.is_control() || matches!(c, '"' | '\'' | '\\'))?;
    Some(format!("the name of an interface has no {bad:?}"))
}

/// Keeps what was read; the problems go to the others.
fn keep<T>(result: Result<T, SectionError>, problems: &mut Vec<Problem>) -> Option<T> {
    result.map_err(|error| problems.extend(error.into_problems())).ok()
}
