//! Names that the engine knows, for completion.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;

use super::executor::EngineExecutor;
use super::language::{ArgumentType, Completer, Query};
use crate::host::Engine;

/// Entries of a directory that are offered at most.
const MOST_ENTRIES: usize = 500;

/// A kind of things with names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Interface,
    Node,
    Plugin,
    Driver,
    Feature,
}

/// The engine's names; each kind is asked for once.
pub struct EngineNames<'e> {
    executor: &'e EngineExecutor,
    asked: RefCell<HashMap<Kind, Vec<(String, String)>>>,
}

impl<'e> EngineNames<'e> {
    /// The names that the engine of `executor` knows.
    pub fn new(executor: &'e EngineExecutor) -> Self {
        Self { executor, asked: RefCell::default() }
    }

    fn of_kind(&self, kind: Kind) -> Vec<(String, String)> {
        let ask = || self.executor.ask(move |engine| names(engine, kind)).unwrap_or_default();
        self.asked.borrow_mut().entry(kind).or_insert_with(ask).clone()
    }
}

impl Completer for EngineNames<'_> {
    fn values(&self, query: &Query<'_>) -> Vec<(String, String)> {
        let kind = match (query.kind, query.argument) {
            (ArgumentType::Interface, _) => Kind::Interface,
            (ArgumentType::Node, _) => Kind::Node,
            (ArgumentType::Plugin, _) => Kind::Plugin,
            (ArgumentType::Path, _) => return paths(query.partial),
            (ArgumentType::Word, "driver") => Kind::Driver,
            (ArgumentType::Word, "feature") => Kind::Feature,
            _ => return Vec::new(),
        };
        self.of_kind(kind)
    }
}

fn names(engine: &Engine, kind: Kind) -> Vec<(String, String)> {
    let (method, help) = match kind {
        Kind::Interface => ("interface.list", "driver"),
        Kind::Node => ("node.list", "kind"),
        Kind::Plugin => ("plugin.list", "summary"),
        Kind::Driver => ("driver.list", "summary"),
        Kind::Feature => ("feature.list", "node"),
    };
    let all = engine.call(method, Value::Null).unwrap_or_default();
    let rows = all.as_array().into_iter().flatten();
    let rows: Vec<&Value> = match kind {
        Kind::Feature => rows.flat_map(|arc| arc["features"].as_array().into_iter().flatten()).collect(),
        _ => rows.collect(),
    };
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    rows.into_iter().map(|row| (text(row, "name"), text(row, help))).collect()
}

/// What is in the directory that the path begins with; directories end in a slash.
fn paths(partial: &str) -> Vec<(String, String)> {
    let (directory, start) = match partial.rfind('/') {
        Some(slash) => partial.split_at(slash + 1),
        None => ("", partial),
    };
    let looked_at = if directory.is_empty() { Path::new(".") } else { Path::new(directory) };
    let Ok(entries) = std::fs::read_dir(looked_at) else { return Vec::new() };
    let entries = entries.filter_map(|entry| {
        let entry = entry.ok()?;
        let name = entry.file_name().into_string().ok()?;
        if !name.starts_with(start) || name.starts_with('.') && !start.starts_with('.') {
            return None;
        }
        let slash = if entry.path().is_dir() { "/" } else { "" };
        Some((format!("{directory}{name}{slash}"), String::new()))
    });
    entries.take(MOST_ENTRIES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_in_the_directory_typed_so_far() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path().to_str().expect("a plain name");
        std::fs::create_dir(directory.path().join("plugins")).expect("a directory");
        for file in ["plug.so", ".hidden", "other"] {
            std::fs::write(directory.path().join(file), "").expect("a file");
        }
        let offered = |partial: &str| {
            let mut found: Vec<String> =
                paths(&format!("{root}/{partial}")).into_iter().map(|(path, _)| path).collect();
            found.sort();
            found.iter().map(|path| path[root.len() + 1..].to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(offered("pl"), ["plug.so", "plugins/"]);
        assert_eq!(offered("."), [".hidden"]);
        assert_eq!(offered(""), ["other", "plug.so", "plugins/"]);
        assert_eq!(offered("none/x"), [""; 0]);
    }
}
