//! What is wrong with a configuration text, and where.

use std::fmt;
use std::ops::Range;

/// Characters of a source line shown in a report.
const SOURCE_WIDTH: usize = 160;

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

    /// The line of the file, cut to a screen's width and without control characters.
    pub fn source(&self) -> &str {
        &self.source
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

/// Returns the candidate that `name` most likely meant, if one is near enough to be worth naming.
pub fn nearest<'c>(name: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let limit = match name.chars().count() {
        0..=5 => 1,
        6..=8 => 2,
        _ => 3,
    };
    let long_enough = |text: &str| text.chars().count() >= 3;
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let distance = strsim::damerau_levenshtein(name, candidate);
        let is_part = (long_enough(candidate) && name.starts_with(candidate))
            || (long_enough(name) && candidate.starts_with(name));
        let longest = candidate.chars().count().max(name.chars().count());
        let is_near = (distance <= limit && distance < longest) || is_part;
        if is_near && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// The largest character boundary of `text` that is not after `index`.
fn floor_boundary(text: &str, index: usize) -> usize {
    let mut index = index.min(text.len());
    while !text.is_char_boundary(index) {
        index -= 1;
    }
    index
}
