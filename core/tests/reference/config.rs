//! `docs/reference/config.md`.

use std::fmt::Write;

use raddle::control::config::CORE_SECTIONS;
use serde_json::{Map, Value};

const HEAD: &str = "\
# Configuration

Made by `cargo xtask docs` from the types that read the file; `raddle config schema` prints the same as JSON Schema for
editors. The file is TOML. Every section may be left out, an empty file starts. Keys that nobody knows are errors. A
section not listed here belongs to the plugin of its name.
";

const DRIVERS: &str = "
## Drivers

Keys of `[interface.NAME]` besides those above, by driver.
";

/// The page, from the schema of the file and the drivers: name, summary, schema of the options.
pub fn page(schema: &Value, drivers: &[(String, String, Value)]) -> String {
    let mut text = HEAD.to_owned();
    // Sections of modules come in the order in which the linker has put them, if they are not sorted.
    let is_core = |name: &str| CORE_SECTIONS.contains(&name);
    let (core, mut modules): (Vec<_>, Vec<_>) =
        entries(&schema["properties"]).partition(|(name, _)| is_core(name.as_str()));
    modules.sort_by(|a, b| a.0.cmp(b.0));
    for (name, section) in core.into_iter().chain(modules) {
        let (heading, section) = match (name.as_str(), section) {
            ("interface", section) => ("[interface.NAME]".to_owned(), &section["additionalProperties"]),
            (name, section) if section["additionalProperties"]["$ref"].is_string() => {
                // Sections of modules bring their definitions along.
                let own = Some(&section["$defs"]).filter(|own| own.is_object());
                let definitions = own.unwrap_or(&schema["$defs"]);
                (format!("[{name}.NAME]"), definition(&section["additionalProperties"], definitions))
            }
            (name, section) if section["items"].is_object() => (format!("[[{name}]]"), &section["items"]),
            (name, section) => (format!("[{name}]"), section),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "\n## {heading}\n");
        let description = one_line(&section["description"]);
        let about = description.split_once(": ").map_or(description.as_str(), |(_, about)| about);
        let _ = writeln!(text, "{}\n", sentence(about));
        keys(&mut text, section, &schema["$defs"]);
    }
    text.push_str(DRIVERS);
    let mut drivers: Vec<_> = drivers.iter().collect();
    drivers.sort_by(|a, b| a.0.cmp(&b.0));
    for (name, summary, schema) in drivers {
        let _ = writeln!(text, "\n### {name}\n\n{}\n", sentence(summary));
        keys(&mut text, schema, &schema["$defs"]);
    }
    text
}

/// A table of the keys of an object.
fn keys(text: &mut String, object: &Value, definitions: &Value) {
    if entries(&object["properties"]).next().is_none() {
        text.push_str("It has no keys of its own.\n");
        return;
    }
    text.push_str("| key | value | default | meaning |\n| --- | --- | --- | --- |\n");
    let required: Vec<&str> =
        object["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (key, schema) in entries(&object["properties"]) {
        let default = match &schema["default"] {
            _ if required.contains(&key.as_str()) => "must be given".to_owned(),
            Value::Null => "–".to_owned(),
            value => format!("`{value}`"),
        };
        let named = definition(schema, definitions);
        let choices = choices(named);
        let mut meaning = one_line(&schema["description"]);
        for (name, what) in &choices {
            let _ = write!(meaning, " `{name}`: {what}");
        }
        let value = kind(schema, definitions);
        let _ = writeln!(text, "| `{key}` | {value} | {default} | {} |", meaning.replace('|', "\\|"));
    }
    for (key, schema) in entries(&object["properties"]) {
        let table = definition(&definition(schema, definitions)["items"], definitions);
        if table["properties"].is_object() {
            let _ = writeln!(text, "\nKeys of each table of `{key}`:\n");
            keys(text, table, definitions);
        }
    }
}

/// What may stand as a value, in words.
fn kind(schema: &Value, definitions: &Value) -> String {
    let named = definition(schema, definitions);
    let choices = choices(named);
    if !choices.is_empty() {
        return choices.iter().map(|(name, _)| format!("`\"{name}\"`")).collect::<Vec<_>>().join(", ");
    }
    let example = named["examples"][0].as_str();
    match type_name(named) {
        "array" => format!("list of: {}", kind(&named["items"], definitions)),
        "object" => "table".to_owned(),
        "integer" => match (named["minimum"].as_u64(), named["maximum"].as_u64()) {
            (Some(least), Some(most)) => format!("number, {least} to {most}"),
            (Some(least), None) if least > 0 => format!("number, {least} or more"),
            _ => "number".to_owned(),
        },
        "boolean" => "`true`, `false`".to_owned(),
        "string" => match (example, named["description"].as_str()) {
            (Some(example), _) => format!("string as `\"{example}\"`"),
            (None, Some(what)) if !std::ptr::eq(named, schema) => what.trim_end_matches('.').to_owned(),
            _ => "string".to_owned(),
        },
        other => named["description"].as_str().unwrap_or(other).to_owned(),
    }
}

/// The schema behind a reference, or behind the choice of it and nothing.
fn definition<'s>(schema: &'s Value, definitions: &'s Value) -> &'s Value {
    let alternatives = schema["anyOf"].as_array().into_iter().flatten();
    let inner = alternatives.into_iter().find(|one| one["type"] != "null").unwrap_or(schema);
    match inner["$ref"].as_str().and_then(|path| path.strip_prefix("#/$defs/")) {
        Some(name) => &definitions[name],
        None => inner,
    }
}

/// The words of an enumeration, each with what it means.
fn choices(schema: &Value) -> Vec<(String, String)> {
    let described = schema["oneOf"].as_array().into_iter().flatten().filter_map(|choice| {
        Some((choice["const"].as_str()?.to_owned(), sentence(&one_line(&choice["description"]))))
    });
    described.collect()
}

fn type_name(schema: &Value) -> &str {
    match &schema["type"] {
        Value::String(name) => name,
        Value::Array(names) => {
            names.iter().filter_map(Value::as_str).find(|name| *name != "null").unwrap_or("any")
        }
        _ => "any",
    }
}

fn entries(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    object.as_object().into_iter().flat_map(Map::iter)
}

fn one_line(text: &Value) -> String {
    text.as_str().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// With a capital at its beginning and a point at its end.
fn sentence(text: &str) -> String {
    let text = text.trim_end_matches('.');
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).chain(['.']).collect(),
        None => String::new(),
    }
}
