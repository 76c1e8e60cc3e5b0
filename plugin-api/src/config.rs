//! Reads sections of the configuration file; every error points at its line and column.
//!
//! The file is one TOML text. The core hands the *whole* text to each owner of a section, and the owner picks its part
//! with [`parse_section`]: so positions in messages are those that the operator sees in the editor, and nothing but
//! text crosses the plugin ABI.
//!
//! ```
//! use raddle_plugin_api::config::parse_section;
//!
//! #[derive(Debug, PartialEq, serde::Deserialize)]
//! #[serde(deny_unknown_fields, rename_all = "kebab-case")]
//! struct Limits {
//!     max_sessions: u32,
//! }
//!
//! let text = "[acl]\nmax-sessions = 10\n";
//! assert_eq!(parse_section::<Limits>(text, "acl").unwrap(), Some(Limits { max_sessions: 10 }));
//! assert_eq!(parse_section::<Limits>(text, "nat64").unwrap(), None);
//!
//! let error = parse_section::<Limits>("[acl]\nmax-session = 10\n", "acl").unwrap_err();
//! assert_eq!(error.problems()[0].to_string(), "2:1: unknown key `max-session`; did you mean `max-sessions`?");
//! ```

use std::fmt;
use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue, ValueDeserializer};

/// Problems reported of one section before the rest is left for the next run.
const MAX_PROBLEMS: usize = 20;
/// Characters of a source line shown in a report.
const SOURCE_WIDTH: usize = 160;

/// Parses section `name` of the whole configuration `text`; `None` when the file has no such section.
///
/// # Errors
/// All problems found in the section (or, when the text is not TOML, all syntax errors), each with its position.
pub fn parse_section<T: DeserializeOwned>(text: &str, name: &str) -> Result<Option<T>, SectionError> {
    Tree::parse(text)?.read(&[Step::Key(name)], &[])
}

/// Returns the candidate that `name` most likely meant, if one is near enough to be worth naming.
pub fn nearest<'c>(name: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let limit = match name.chars().count() {
        0..=3 => 1,
        4..=7 => 2,
        _ => 3,
    };
    let by_distance = |candidate: &'c str| (strsim::damerau_levenshtein(name, candidate), candidate);
    candidates
        .into_iter()
        .map(by_distance)
        .filter(|(distance, candidate)| {
            *distance <= limit && *distance < candidate.chars().count().max(name.chars().count())
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// One thing that is wrong with a configuration text, and where.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Problem {
    message: String,
    suggestion: Option<String>,
    line: usize,
    column: usize,
    source: String,
    caret: String,
}

impl Problem {
    /// Makes a problem at a byte range of `text`; ranges past the end mean the end.
    pub fn at(text: &str, span: Range<usize>, message: impl Into<String>) -> Self {
        let start = floor_boundary(text, span.start);
        let end = floor_boundary(text, span.end.max(start));
        let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |newline| start + newline);
        let line = text[..line_start].matches('\n').count() + 1;
        let column = text[line_start..start].chars().count() + 1;
        let width = text[start..end.clamp(start, line_end)].trim_end().chars().count().max(1);

        let from = column.saturating_sub(SOURCE_WIDTH / 2);
        let shown: Vec<char> = text[line_start..line_end].chars().skip(from).take(SOURCE_WIDTH).collect();
        let printable = |c: &char| if c.is_control() { ' ' } else { *c };
        let source: String = shown.iter().map(printable).collect::<String>().trim_end().to_owned();
        let width = width.min(SOURCE_WIDTH);
        let caret = format!("{}{}", " ".repeat(column - 1 - from), "^".repeat(width));
        Problem { message: message.into(), suggestion: None, line, column, source, caret }
    }

    /// Adds the name that was probably meant.
    #[must_use]
    pub fn suggest(mut self, suggestion: Option<impl Into<String>>) -> Self {
        self.suggestion = suggestion.map(Into::into);
        self
    }

    /// What is wrong, without position and suggestion.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The name or value that was probably meant.
    pub fn suggestion(&self) -> Option<&str> {
        self.suggestion.as_deref()
    }

    /// Line, counted from 1.
    pub fn line(&self) -> usize {
        self.line
    }

    /// Column in characters, counted from 1.
    pub fn column(&self) -> usize {
        self.column
    }

    /// The report for people: `FILE:LINE:COL: message`, the source line, and a caret below the place.
    pub fn render(&self, file: &str) -> String {
        let gutter = self.line.to_string().len();
        let Problem { line, source, caret, .. } = self;
        format!("{file}:{self}\n  {line} | {source}\n  {:gutter$} | {caret}", "")
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)?;
        match &self.suggestion {
            Some(suggestion) => write!(f, "; did you mean `{suggestion}`?"),
            None => Ok(()),
        }
    }
}

/// What is wrong with a section: one problem or several, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SectionError {
    problems: Vec<Problem>,
}

impl SectionError {
    /// Makes an error of problems found; `None` when there are none.
    pub fn new(mut problems: Vec<Problem>) -> Option<Self> {
        problems.sort_by_key(|problem| (problem.line, problem.column));
        problems.dedup();
        if problems.is_empty() { None } else { Some(SectionError { problems }) }
    }

    /// The problems, at least one.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The problems by value.
    pub fn into_problems(self) -> Vec<Problem> {
        self.problems
    }
}

impl From<Problem> for SectionError {
    fn from(problem: Problem) -> Self {
        SectionError { problems: vec![problem] }
    }
}

impl fmt::Display for SectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for SectionError {}

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
        for error in errors {
            let span = error.span().unwrap_or(text.len()..text.len());
            let problem = Problem::at(text, span, reword_syntax(error.message()));
            if !problems.iter().any(|earlier| earlier.line == problem.line) {
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

/// Deserializes a value; on an error leaves out the offending entry and tries again, so that all errors are found.
fn decode<T: DeserializeOwned>(
    text: &str,
    mut value: Spanned<DeValue<'_>>,
    shared: &[&str],
) -> Result<T, SectionError> {
    let mut problems = Vec::new();
    let mut removed = Vec::new();
    loop {
        let error = match T::deserialize(ValueDeserializer::from(value.clone())) {
            Ok(decoded) if problems.is_empty() => return Ok(decoded),
            Ok(_) => break,
            Err(error) => error,
        };
        let span = error.span().unwrap_or_else(|| value.span());
        let consequence =
            missing_key(error.message()).is_some_and(|key| removed.iter().any(|gone| gone == key));
        if !consequence {
            let problem = describe(text, span.clone(), error.message(), shared);
            removed.extend(problem.suggestion.clone());
            problems.push(problem);
        }
        match prune(&mut value, &span) {
            Some(key) if problems.len() < MAX_PROBLEMS => removed.push(key),
            _ => break,
        }
    }
    // The first error is never a consequence of an earlier one, so there is at least one problem.
    Err(SectionError::new(problems)
        .unwrap_or_else(|| Problem::at(text, value.span(), "unreadable value").into()))
}

/// Removes the innermost entry below `value` that covers `span`, and returns its key.
fn prune(value: &mut Spanned<DeValue<'_>>, span: &Range<usize>) -> Option<String> {
    enum Found {
        Key(String),
        Index(usize),
    }
    let covers =
        |outer: Range<usize>| outer.start <= span.start && span.end <= outer.end && !outer.is_empty();
    let mut found = None;
    match value.get_mut() {
        DeValue::Table(table) => {
            for (key, child) in table.iter_mut() {
                if let Some(inner) = prune(child, span) {
                    return Some(inner);
                }
                if covers(key.span()) || covers(child.span()) {
                    found = Some(Found::Key(key.get_ref().to_string()));
                }
            }
        }
        DeValue::Array(array) => {
            for (index, child) in array.iter_mut().enumerate() {
                if let Some(inner) = prune(child, span) {
                    return Some(inner);
                }
                if covers(child.span()) {
                    found = Some(Found::Index(index));
                }
            }
        }
        _ => {}
    }
    match (found?, value.get_mut()) {
        (Found::Key(key), DeValue::Table(table)) => {
            table.remove(key.as_str());
            Some(key)
        }
        (Found::Index(index), DeValue::Array(array)) => {
            let elements = std::mem::replace(array, DeArray::new()).into_iter().enumerate();
            *array = elements.filter(|(at, _)| *at != index).map(|(_, element)| element).collect();
            Some(String::new())
        }
        _ => None,
    }
}

/// Turns serde's message into ours: the file's words, the nearest known name, ranges instead of Rust's type names.
fn describe(text: &str, span: Range<usize>, message: &str, shared: &[&str]) -> Problem {
    if let Some((name, mut known)) = unknown_name(message, "unknown field `") {
        known.extend(shared);
        return unknown_problem(text, span, "key", name, &known);
    }
    if let Some((name, known)) = unknown_name(message, "unknown variant `") {
        return unknown_problem(text, span, "value", name, &known);
    }
    if let Some(key) = missing_key(message) {
        return Problem::at(text, span, format!("missing key `{key}`"));
    }
    for kind in ["invalid type: ", "invalid value: "] {
        let Some((found, expected)) =
            message.strip_prefix(kind).and_then(|rest| rest.rsplit_once(", expected "))
        else {
            continue;
        };
        return Problem::at(text, span, format!("expected {}, found {found}", plain_type(expected)));
    }
    let message = if message == "wanted string or table" { "expected a string" } else { message };
    Problem::at(text, span, message)
}

/// The problem of a key or value that is not one of `known`.
fn unknown_problem(text: &str, span: Range<usize>, what: &str, name: &str, known: &[&str]) -> Problem {
    if let Some(near) = nearest(name, known.iter().copied()) {
        return Problem::at(text, span, format!("unknown {what} `{name}`")).suggest(Some(near));
    }
    let mut known = known.to_vec();
    known.sort_unstable();
    known.dedup();
    let message = match known.as_slice() {
        [] => format!("unknown {what} `{name}`; no {what} is known here"),
        names => format!("unknown {what} `{name}`; known {what}s: `{}`", names.join("`, `")),
    };
    Problem::at(text, span, message)
}

/// Takes apart "unknown field `x`, expected one of `a`, `b`" (serde's wording for derived types).
fn unknown_name<'m>(message: &'m str, start: &str) -> Option<(&'m str, Vec<&'m str>)> {
    let rest = message.strip_prefix(start)?;
    if let Some((name, known)) = rest.rsplit_once("`, expected ") {
        return Some((name, known.split('`').skip(1).step_by(2).collect()));
    }
    let name =
        rest.strip_suffix("`, there are no fields").or_else(|| rest.strip_suffix("`, there are no variants"));
    name.map(|name| (name, Vec::new()))
}

fn missing_key(message: &str) -> Option<&str> {
    message.strip_prefix("missing field `")?.strip_suffix('`')
}

/// Says in words what serde names by a Rust type.
fn plain_type(expected: &str) -> &str {
    match expected {
        "u8" => "an integer from 0 to 255",
        "u16" => "an integer from 0 to 65535",
        "u32" => "an integer from 0 to 4294967295",
        "u64" | "usize" => "an integer from 0 up",
        "i8" | "i16" | "i32" | "i64" | "isize" => "an integer",
        "f32" | "f64" => "a number",
        "a boolean" => "`true` or `false`",
        "a sequence" => "a list",
        "a map" => "a table",
        other if other.starts_with("struct ") => "a table",
        other => other,
    }
}

fn reword_syntax(message: &str) -> String {
    let message = message.trim();
    if message.is_empty() { "not TOML".to_owned() } else { message.replace('\n', "; ") }
}

/// The largest character boundary of `text` that is not after `index`.
fn floor_boundary(text: &str, index: usize) -> usize {
    let mut index = index.min(text.len());
    while !text.is_char_boundary(index) {
        index -= 1;
    }
    index
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Debug, PartialEq, serde::Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "kebab-case")]
    struct Sample {
        name: String,
        #[serde(default)]
        max_count: u32,
        #[serde(default)]
        mode: Mode,
        #[serde(default)]
        rule: Vec<Rule>,
        #[serde(default)]
        limits: BTreeMap<String, u8>,
    }

    #[derive(Debug, Default, PartialEq, serde::Deserialize)]
    #[serde(rename_all = "kebab-case")]
    enum Mode {
        #[default]
        Polling,
        Interrupt,
    }

    #[derive(Debug, PartialEq, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Rule {
        action: String,
        port: Option<u16>,
    }

    fn problems(text: &str) -> Vec<String> {
        match parse_section::<Sample>(text, "sample") {
            Ok(_) => Vec::new(),
            Err(error) => error.problems().iter().map(Problem::to_string).collect(),
        }
    }

    #[test]
    fn every_mistake_is_named_with_its_position() {
        let cases: &[(&str, &str)] = &[
            (
                "[sample]\nname = 'x'\nmax-coutn = 3",
                "3:1: unknown key `max-coutn`; did you mean `max-count`?",
            ),
            (
                "[sample]\nname = 'x'\nzzzzzzzz = 3",
                "3:1: unknown key `zzzzzzzz`; known keys: `limits`, `max-count`, `mode`, `name`, `rule`",
            ),
            ("[sample]\nname = 3", "2:8: expected a string, found integer `3`"),
            (
                "[sample]\nname = 'x'\nmax-count = -1",
                "3:13: expected an integer from 0 to 4294967295, found integer `-1`",
            ),
            (
                "[sample]\nname = 'x'\nmode = 'interupt'",
                "3:8: unknown value `interupt`; did you mean `interrupt`?",
            ),
            ("[sample]\nmax-count = 1", "1:1: missing key `name`"),
            (
                "# ä\n[sample]\nname = 'ä' # 'ä'\n[[sample.rule]]\naction = 'x'\n[[sample.rule]]\nacton='y'",
                "7:1: unknown key `acton`; did you mean `action`?",
            ),
            ("sample = 3", "1:10: expected a table, found integer `3`"),
            (
                "[sample]\nname = 'x'\nlimits = { a = 300 }",
                "3:16: expected an integer from 0 to 255, found integer `300`",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(problems(text), [*expected], "{text}");
        }
    }

    #[test]
    fn all_mistakes_of_a_section_are_found_at_once() {
        let text = "[sample]\nname = 3\nmaxcount = 1\nmode = true\n\n[[sample.rule]]\nport = 1\n\n[[sample.rule]]\naction = 'x'\nport = 70000\n";
        let found = problems(text);
        assert_eq!(
            found,
            [
                "2:8: expected a string, found integer `3`",
                "3:1: unknown key `maxcount`; did you mean `max-count`?",
                "4:8: expected a string",
                "6:1: missing key `action`",
                "11:8: expected an integer from 0 to 65535, found integer `70000`",
            ]
        );
    }

    #[test]
    fn syntax_errors_and_duplicate_keys_have_positions() {
        assert!(problems("[sample]\nname = \n").iter().all(|p| p.starts_with("2:")), "missing value");
        let duplicate = problems("[sample]\nname = 'a'\nname = 'b'\n");
        assert_eq!(duplicate.len(), 1);
        assert!(duplicate[0].starts_with("3:1: duplicate key"), "{duplicate:?}");
    }

    #[test]
    fn other_sections_are_not_looked_at() {
        let text = "[other]\nanything = 1\n[sample]\nname = 'x'\n";
        assert_eq!(parse_section::<Sample>(text, "sample").unwrap().unwrap().name, "x");
        assert_eq!(parse_section::<Sample>("", "sample").unwrap(), None);
    }

    #[test]
    fn shared_keys_are_left_to_their_owner_and_named_as_known() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Options {
            host: String,
        }
        let text =
            "[interface.tap0]\ndriver = 'tap'\nhost = 'h0'\n[interface.tap1]\ndrivr = 'tap'\nhost = 'h1'\n";
        let tree = Tree::parse(text).unwrap();
        let path = |name| [Step::Key("interface"), Step::Key(name)];
        let options: Options = tree.read(&path("tap0"), &["driver"]).unwrap().unwrap();
        assert_eq!(options.host, "h0");
        let error = tree.read::<Options>(&path("tap1"), &["driver"]).unwrap_err();
        assert_eq!(error.to_string(), "5:1: unknown key `drivr`; did you mean `driver`?");
    }

    #[test]
    fn report_shows_the_source_line_with_a_caret() {
        let error = parse_section::<Sample>("[sample]\n  nam = 'x'\n", "sample").unwrap_err();
        assert_eq!(
            error.problems()[0].render("router.toml"),
            "router.toml:2:3: unknown key `nam`; did you mean `name`?\n  2 |   nam = 'x'\n    |   ^^^"
        );
    }

    #[test]
    fn nearest_prefers_small_distances_and_refuses_far_ones() {
        assert_eq!(nearest("shwo", ["set", "show"]), Some("show"));
        assert_eq!(nearest("x", ["y"]), None);
        assert_eq!(nearest("tap1", ["tap0", "loop0"]), Some("tap0"));
        assert_eq!(nearest("completely", ["other"]), None);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC*|[\\[\\]a-c.='\"\n #é{},0-9]{0,80}", at in 0usize..200, len in 0usize..200) {
            let _ = parse_section::<Sample>(&text, "a");
            let _ = Problem::at(&text, at..at + len, "x").render("f");
        }
    }
}
