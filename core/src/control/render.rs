//! Renders the data of a command as text, for commands that bring no renderer of their own.
//!
//! An array of flat objects is a table, an object is `key: value` lines, anything nested is indented below its key.

use std::fmt::Write;

use serde_json::{Map, Value};

/// Columns between two columns of a table.
const GAP: &str = "  ";

/// Renders `data`, without a newline at the end; `none` for an empty array, empty for `null`
/// and empty objects.
pub fn text(data: &Value) -> String {
    let mut out = String::new();
    match data {
        Value::Object(object) => write_object(object, 0, &mut out),
        Value::Array(items) if items.is_empty() => out.push_str("none"),
        Value::Array(items) => write_array(items, 0, &mut out),
        scalar => push_lines(&scalar_text(scalar), 0, &mut out),
    }
    out.truncate(out.trim_end_matches('\n').len());
    out
}

/// Renders rows as a table with a header, columns in the order of `columns`; numbers are aligned to the right.
pub fn table(columns: &[&str], rows: &[Vec<Value>]) -> String {
    let mut out = String::new();
    let header = columns.iter().map(|column| (*column).to_owned()).collect();
    write_table(header, rows, 0, &mut out);
    out.truncate(out.trim_end_matches('\n').len());
    out
}

fn write_object(object: &Map<String, Value>, indent: usize, out: &mut String) {
    let width = object
        .iter()
        .filter(|(_, value)| inline(value).is_some_and(|line| !line.contains('\n')))
        .map(|(key, _)| key.chars().count() + 1)
        .max()
        .unwrap_or(0);
    for (key, value) in object {
        let label = format!("{key}:");
        if let Some(line) = inline(value) {
            let lines: Vec<&str> = line.lines().collect();
            match lines.as_slice() {
                [] => push_lines(&label, indent, out),
                [one] => push_lines(&format!("{label:width$} {one}"), indent, out),
                several => {
                    push_lines(&label, indent, out);
                    several.iter().for_each(|line| push_lines(line, indent + 2, out));
                }
            }
            continue;
        }
        push_lines(&label, indent, out);
        match value {
            Value::Object(inner) => write_object(inner, indent + 2, out),
            Value::Array(items) => write_array(items, indent + 2, out),
            _ => {}
        }
    }
}

fn write_array(items: &[Value], indent: usize, out: &mut String) {
    let objects: Option<Vec<&Map<String, Value>>> = items.iter().map(Value::as_object).collect();
    match objects {
        Some(objects)
            if objects.iter().all(|object| object.values().all(|value| inline(value).is_some())) =>
        {
            let mut columns: Vec<String> = Vec::new();
            for key in objects.iter().flat_map(|object| object.keys()) {
                if !columns.contains(key) {
                    columns.push(key.clone());
                }
            }
            let row = |object: &&Map<String, Value>| {
                columns.iter().map(|column| object.get(column).cloned().unwrap_or(Value::Null)).collect()
            };
            let rows: Vec<Vec<Value>> = objects.iter().map(row).collect();
            if !columns.is_empty() {
                write_table(columns, &rows, indent, out);
            }
        }
        Some(objects) => {
            for (index, object) in objects.into_iter().enumerate() {
                if index > 0 {
                    out.push('\n');
                }
                write_object(object, indent, out);
            }
        }
        None => {
            for item in items {
                match item {
                    Value::Object(object) => write_object(object, indent + 2, out),
                    Value::Array(inner) if inline(item).is_none() => write_array(inner, indent + 2, out),
                    flat => push_lines(&inline(flat).unwrap_or_default(), indent, out),
                }
            }
        }
    }
}

fn write_table(header: Vec<String>, rows: &[Vec<Value>], indent: usize, out: &mut String) {
    let right: Vec<bool> = (0..header.len())
        .map(|column| {
            let mut values =
                rows.iter().filter_map(|row| row.get(column)).filter(|value| !value.is_null()).peekable();
            values.peek().is_some() && values.all(Value::is_number)
        })
        .collect();
    let mut lines = vec![header];
    let cell = |value: &Value| match value {
        Value::Null => "-".to_owned(),
        // A cell is one line, whatever a name holds.
        value => inline(value).unwrap_or_default().replace(['\n', '\r', '\t'], " "),
    };
    lines.extend(rows.iter().map(|row| row.iter().map(cell).collect()));
    let widths: Vec<usize> = (0..right.len())
        .map(|column| {
            lines
                .iter()
                .filter_map(|line| line.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    for line in lines {
        let mut text = String::new();
        for (column, cell) in line.iter().enumerate() {
            let width = widths.get(column).copied().unwrap_or(0);
            if column > 0 {
                text.push_str(GAP);
            }
            // Writing to a string cannot fail.
            let _ = match right.get(column) {
                Some(true) => write!(text, "{cell:>width$}"),
                _ => write!(text, "{cell:width$}"),
            };
        }
        push_lines(text.trim_end(), indent, out);
    }
}

/// The value on one line (or several, for a string that has them); `None` when it needs lines of its own.
fn inline(value: &Value) -> Option<String> {
    match value {
        Value::Array(items) if items.is_empty() => Some("-".to_owned()),
        Value::Array(items) if items.iter().all(is_flat) => {
            Some(items.iter().map(scalar_text).collect::<Vec<_>>().join(", "))
        }
        Value::Object(object) if object.is_empty() => Some("-".to_owned()),
        flat if is_flat(flat) => Some(scalar_text(flat)),
        _ => None,
    }
}

fn is_flat(value: &Value) -> bool {
    !value.is_array() && !value.is_object()
}

fn scalar_text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) => text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect(),
        other => other.to_string(),
    }
}

fn push_lines(text: &str, indent: usize, out: &mut String) {
    for line in text.lines() {
        if !line.is_empty() {
            out.extend(std::iter::repeat_n(' ', indent));
            out.push_str(line);
        }
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn array_of_flat_objects_is_a_table_with_numbers_to_the_right() {
        let data = json!([
            {"name": "tap0", "up": true, "rx-packets": 5, "addresses": ["10.0.0.1/24", "::1/64"]},
            {"name": "loopback1", "up": false, "rx-packets": 12345, "addresses": []},
            {"name": "x", "mtu": 1500},
        ]);
        assert_eq!(
            text(&data),
            "name       up   rx-packets  addresses             mtu\n\
             tap0       yes           5  10.0.0.1/24, ::1/64     -\n\
             loopback1  no        12345  -                       -\n\
             x          -             -  -                    1500"
        );
    }

    #[test]
    fn object_is_key_value_lines_with_nesting_indented() {
        let data = json!({
            "name": "raddle", "workers": 2, "memory": {"arena": "huge", "bytes": 1024},
            "threads": [{"name": "main", "core": 0}, {"name": "worker-1", "core": 1}],
            "note": "two\nlines", "none": null,
        });
        assert_eq!(
            text(&data),
            "name:    raddle\nworkers: 2\nmemory:\n  arena: huge\n  bytes: 1024\nthreads:\n  name      core\n  main         0\n  worker-1     1\nnote:\n  two\n  lines\nnone:    -"
        );
    }

    #[test]
    fn nested_rows_are_blocks() {
        let data = json!([{"name": "a", "edges": [{"to": "b", "count": 1}]}, {"name": "c", "edges": []}]);
        assert_eq!(text(&data), "name: a\nedges:\n  to  count\n  b       1\n\nname:  c\nedges: -");
    }

    #[test]
    fn scalars_and_nothing() {
        for (data, expected) in [
            (json!("done"), "done"),
            (json!(3), "3"),
            (json!([]), "none"),
            (json!({}), ""),
            (json!(["a", 1]), "a\n1"),
        ] {
            assert_eq!(text(&data), expected);
        }
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(text(&json!({"name": "\u{1b}[31mred"})), "name: [31mred");
        assert_eq!(text(&json!([{"name": "a\nb"}])), "name\na b");
    }

    #[test]
    fn explicit_columns_keep_their_order() {
        assert_eq!(table(&["b", "a"], &[vec![json!(1), json!("x")]]), "b  a\n1  x");
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 48, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                proptest::collection::vec(("[a-z]{0,5}", inner), 0..5)
                    .prop_map(|entries| Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_data_renders_without_trailing_blanks_or_escapes(data in values()) {
            let text = text(&data);
            prop_assert!(!text.ends_with('\n'));
            prop_assert!(!text.chars().any(|c| c.is_control() && c != '\n' && c != '\t'));
        }
    }
}
