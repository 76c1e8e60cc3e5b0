//! A parsed configuration text, and the positions in it.

use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::decode::{MAX_PROBLEMS, decode};
use super::problem::{Problem, SectionError};

/// One step of a path into a configuration text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'p> {
    /// The value of a key of a table.
    Key(&'p str),
    /// An element of an array or of `[[tables]]`, counted from 0.
    Index(usize),
}

/// A parsed configuration text that knows the position of each key and value.
#[derive(Debug, Clone)]
pub struct Tree<'t> {
    text: &'t str,
    root: DeTable<'t>,
}

impl<'t> Tree<'t> {
    /// Parses a whole configuration text.
    ///
    /// # Errors
    /// All syntax errors and duplicate keys, at most one a line.
    pub fn parse(text: &'t str) -> Result<Self, SectionError> {
        let (root, errors) = DeTable::parse_recoverable(text);
        let mut problems: Vec<Problem> = Vec::new();
        // All keys of a table whose header is a duplicate may be duplicates too; the header says enough.
        let mut duplicate_table_end = 0;
        for error in errors {
            let span = error.span().unwrap_or(text.len()..text.len());
            let is_duplicate = error.message() == "duplicate key";
            if is_duplicate && span.start < duplicate_table_end {
                continue;
            }
            let message = match text.get(span.clone()).filter(|key| is_duplicate && !key.is_empty()) {
                Some(key) => format!("duplicate key `{key}`"),
                None => reword_syntax(error.message()),
            };
            let problem = Problem::at(text, span.clone(), message);
            if is_duplicate && problem.source().trim_start().starts_with('[') {
                let rest = text.get(span.end..).unwrap_or_default();
                duplicate_table_end = rest.find("\n[").map_or(text.len(), |next| span.end + next);
            }
            if !problems.iter().any(|earlier| earlier.line() == problem.line()) {
                problems.push(problem);
            }
        }
        problems.truncate(MAX_PROBLEMS);
        match SectionError::new(problems) {
            Some(error) => Err(error),
            None => Ok(Tree { text, root: root.into_inner() }),
        }
    }

    /// The text this tree was parsed from.
    pub fn text(&self) -> &'t str {
        self.text
    }

    /// The keys of the table at `path` in the order of the file; none when it is not a table.
    pub fn keys(&self, path: &[Step<'_>]) -> Vec<&str> {
        let table =
            if path.is_empty() { Some(&self.root) } else { self.node(path).and_then(DeValue::as_table) };
        let mut keys: Vec<_> = table
            .into_iter()
            .flat_map(|table| table.iter())
            .map(|(key, _)| (key.span().start, key))
            .collect();
        keys.sort_by_key(|(start, _)| *start);
        keys.into_iter().map(|(_, key)| &**key.get_ref()).collect()
    }

    /// The number of elements of the array at `path`; 0 when it is not an array.
    pub fn len(&self, path: &[Step<'_>]) -> usize {
        self.node(path).and_then(DeValue::as_array).map_or(0, |array| array.len())
    }

    /// Whether the file has nothing at `path`.
    pub fn is_empty(&self, path: &[Step<'_>]) -> bool {
        self.node(path).is_none()
    }

    /// Whether the value at `path` is a table.
    pub fn is_table(&self, path: &[Step<'_>]) -> bool {
        self.node(path).is_some_and(DeValue::is_table)
    }

    /// Byte range of the value at `path`, else of the longest part of the path that is in the file.
    pub fn span(&self, path: &[Step<'_>]) -> Range<usize> {
        for length in (1..=path.len()).rev() {
            if let Some(value) = self.spanned(&path[..length]) {
                return value.span();
            }
        }
        0..0
    }

    /// Byte range of the key that `path` ends with, else as [`Tree::span`].
    pub fn key_span(&self, path: &[Step<'_>]) -> Range<usize> {
        let Some((Step::Key(key), parent)) = path.split_last() else { return self.span(path) };
        let table =
            if parent.is_empty() { Some(&self.root) } else { self.node(parent).and_then(DeValue::as_table) };
        match table.and_then(|table| table.get_key_value(*key)) {
            Some((key, _)) => key.span(),
            None => self.span(path),
        }
    }

    /// A problem at the value that `path` leads to.
    pub fn problem(&self, path: &[Step<'_>], message: impl Into<String>) -> Problem {
        Problem::at(self.text, self.span(path), message)
    }

    /// A problem at the key that `path` ends with.
    pub fn key_problem(&self, path: &[Step<'_>], message: impl Into<String>) -> Problem {
        Problem::at(self.text, self.key_span(path), message)
    }

    /// Reads the value at `path` as a `T`; `None` when the file has nothing there.
    ///
    /// Keys in `shared` belong to someone else who reads the same table: they are left out here, and named among the
    /// known keys when an unknown one is reported.
    ///
    /// # Errors
    /// All problems found, each with its position.
    pub fn read<T: DeserializeOwned>(
        &self,
        path: &[Step<'_>],
        shared: &[&str],
    ) -> Result<Option<T>, SectionError> {
        let Some(value) = self.spanned(path) else { return Ok(None) };
        let mut value = value.clone();
        if let DeValue::Table(table) = value.get_mut() {
            for key in shared {
                table.remove(*key);
            }
        }
        decode(self.text, value, shared).map(Some)
    }

    fn node(&self, path: &[Step<'_>]) -> Option<&DeValue<'t>> {
        self.spanned(path).map(Spanned::get_ref)
    }

    fn spanned(&self, path: &[Step<'_>]) -> Option<&Spanned<DeValue<'t>>> {
        let (first, rest) = path.split_first()?;
        let Step::Key(name) = first else { return None };
        rest.iter().try_fold(self.root.get(*name)?, |value, step| match step {
            Step::Key(key) => value.get_ref().as_table()?.get(*key),
            Step::Index(index) => value.get_ref().as_array()?.get(*index),
        })
    }
}

fn reword_syntax(message: &str) -> String {
    let message = message.trim();
    if message.is_empty() { "not TOML".to_owned() } else { message.replace('\n', "; ") }
}
