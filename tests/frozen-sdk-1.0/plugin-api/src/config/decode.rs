//! Reads values of a configuration by serde, all mistakes at once, in the file's own words.

use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeArray, DeValue, ValueDeserializer};

use super::problem::{Problem, SectionError, nearest};

/// Problems reported of one section before the rest is left for the next run.
pub(super) const MAX_PROBLEMS: usize = 20;

/// Deserializes a value; on an error leaves out the offending entry and tries again, so that all errors are found.
pub(super) fn decode<T: DeserializeOwned>(
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
            removed.extend(problem.suggestion().map(str::to_owned));
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
    // The standard library's words for a text that is no address; what the text is, it does not say.
    if message.starts_with("invalid IP") && message.ends_with("address syntax") {
        let found = text.get(span.clone()).unwrap_or_default().trim_matches(['"', '\'']);
        return Problem::at(text, span.clone(), format!("`{found}` is not an IP address"));
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
