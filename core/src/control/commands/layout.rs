//! Tables and figures as the commands' texts have them.

use std::fmt::{self, Write};

use serde::Serialize;
use serde::de::{Deserialize, Deserializer, Error};

/// Columns between two columns of a table.
const GAP: &str = "  ";

/// How a column's cells stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// At the left edge.
    Left,
    /// At the right edge: figures.
    Right,
}

/// A table with a header.
pub struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns.
    pub fn new(columns: &[(&'static str, Align)]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row, a cell for each column.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(one_line).collect());
    }

    /// Whether there is none but the header.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            cells.chain([self.columns[column].0.len()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let header: Vec<String> = self.columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        for (index, row) in std::iter::once(&header).chain(&self.rows).enumerate() {
            let mut line = String::new();
            for ((cell, &width), (_, align)) in row.iter().zip(&widths).zip(&self.columns) {
                let gap = if line.is_empty() { "" } else { GAP };
                match align {
                    Align::Left => write!(line, "{gap}{cell:width$}")?,
                    Align::Right => write!(line, "{gap}{cell:>width$}")?,
                }
            }
            let end = if index == 0 { "" } else { "\n" };
            write!(f, "{end}{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// A cell is one line, and nothing in it moves the cursor, whatever a name holds.
fn one_line(cell: String) -> String {
    cell.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A figure with so many places, or a dash.
pub fn figure(value: Option<f64>, places: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.places$}"))
}

/// A time span in the unit that suits it.
pub fn time_ns(nanos: u64) -> String {
    let value = nanos as f64;
    match nanos {
        0..1_000 => format!("{nanos} ns"),
        1_000..1_000_000 => format!("{:.1} us", value / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} ms", value / 1e6),
        _ => format!("{:.1} s", value / 1e9),
    }
}

/// A number of bytes in the unit that suits it.
pub fn size_bytes(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match UNITS.iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) => format!("{:.1} {name}", bytes as f64 / *unit as f64),
        None => format!("{bytes} B"),
    }
}

/// A list in a cell.
pub fn list(items: &[String]) -> String {
    if items.is_empty() { "-".to_owned() } else { items.join(", ") }
}

/// What is known or a dash.
pub fn or_dash(value: Option<impl fmt::Display>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// Data of a command with how much of it the text is to show. As JSON it is the data alone.
pub struct Shown<T> {
    /// The data.
    pub data: T,
    /// Whether the text is to show all of it.
    pub verbose: bool,
}

impl<T: Serialize> Serialize for Shown<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.data.serialize(serializer)
    }
}

/// One of two words, as the command language tells which: the word chosen, under the choice.
pub fn chosen<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    match String::deserialize(deserializer)?.as_str() {
        "up" | "on" => Ok(true),
        "down" | "off" => Ok(false),
        other => Err(D::Error::custom(format_args!("`{other}` is neither of the two words"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_aligned_and_has_no_blanks_at_the_end_of_lines() {
        let mut table = Table::new(&[("name", Align::Left), ("calls", Align::Right), ("state", Align::Left)]);
        assert!(table.is_empty());
        table.row(["a".into(), "1".into(), "up".into()]);
        table.row(["long\nname".into(), "123456".into(), String::new()]);
        let text = "name        calls  state\na               1  up\nlong name  123456";
        assert_eq!(table.to_string(), text);
    }

    #[test]
    fn figures_have_the_unit_that_suits_them() {
        let times = [
            (0, "0 ns"),
            (999, "999 ns"),
            (1500, "1.5 us"),
            (2_000_000, "2.0 ms"),
            (61_000_000_000, "61.0 s"),
        ];
        for (nanos, text) in times {
            assert_eq!(time_ns(nanos), text);
        }
        for (bytes, text) in
            [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 20, "5.0 MiB"), (1 << 31, "2.0 GiB")]
        {
            assert_eq!(size_bytes(bytes), text);
        }
        assert_eq!((figure(None, 1), figure(Some(1.25), 1)), ("-".to_owned(), "1.2".to_owned()));
    }
}
