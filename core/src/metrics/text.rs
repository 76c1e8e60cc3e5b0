//! OpenMetrics text (<https://github.com/prometheus/OpenMetrics>, version 1.0): families, then `# EOF`.

use std::collections::HashSet;
use std::fmt::{Display, Write};

/// What a family is, as its `TYPE` line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only goes up; its samples are named `…_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Buckets, sum and count.
    Histogram,
    /// One sample `…_info`, whose labels say it.
    Info,
    /// A sample a state, of which one is 1.
    StateSet,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Info => "info",
            Self::StateSet => "stateset",
        }
    }
}

/// The text in the making.
#[derive(Default)]
pub struct Text {
    text: String,
    families: HashSet<String>,
}

/// A family that is being written: all its samples come before the next family's.
pub struct Family<'t> {
    /// `None`: the name was taken; nothing is written.
    text: Option<&'t mut String>,
    name: String,
    suffix: &'static str,
}

/// Labels of a sample: names and values.
pub type Labels<'l> = [(&'l str, &'l str)];

impl Text {
    /// Begins a family. The unit, if there is one, is the end of the name. A name that is there already (a plugin's that
    /// is called as one of ours) is left out, for a family must not come twice.
    pub fn family(&mut self, name: &str, kind: Kind, unit: &str, help: &str) -> Family<'_> {
        let suffix = match kind {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            Kind::Gauge | Kind::Histogram | Kind::StateSet => "",
        };
        let is_new = self.families.insert(name.to_owned());
        if is_new {
            // Writing to a string cannot fail.
            let _ = writeln!(self.text, "# TYPE {name} {}", kind.word());
            if !unit.is_empty() {
                let _ = writeln!(self.text, "# UNIT {name} {unit}");
            }
            let _ = writeln!(self.text, "# HELP {name} {}", escaped(help));
        }
        Family { text: is_new.then_some(&mut self.text), name: name.to_owned(), suffix }
    }

    /// The whole text.
    pub fn finish(mut self) -> String {
        self.text.push_str("# EOF\n");
        self.text
    }
}

impl Family<'_> {
    /// Writes a sample.
    pub fn sample(&mut self, labels: &Labels<'_>, value: impl Display) {
        let suffix = self.suffix;
        self.line(suffix, labels, value);
    }

    /// Writes a histogram: the values in each bucket with the bucket's upper bound, of which the last one has none.
    pub fn histogram(&mut self, labels: &Labels<'_>, bounds: &[f64], counts: &[u64], sum: f64) {
        let mut total = 0_u64;
        for (position, count) in counts.iter().enumerate() {
            total = total.saturating_add(*count);
            let bound = bounds.get(position).map_or_else(|| "+Inf".to_owned(), |bound| format!("{bound:?}"));
            let with_bound: Vec<_> = labels.iter().copied().chain([("le", bound.as_str())]).collect();
            self.line("_bucket", &with_bound, total);
        }
        self.line("_sum", labels, sum);
        self.line("_count", labels, total);
    }

    fn line(&mut self, suffix: &str, labels: &Labels<'_>, value: impl Display) {
        let Some(text) = self.text.as_deref_mut() else { return };
        text.push_str(&self.name);
        text.push_str(suffix);
        for (position, (label, value)) in labels.iter().enumerate() {
            let open = if position == 0 { '{' } else { ',' };
            // Writing to a string cannot fail.
            let _ = write!(text, "{open}{label}=\"{}\"", escaped(value));
        }
        let close = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(text, "{close} {value}");
    }
}

/// A label's value, or a help text, as it stands between quotes and in a line.
fn escaped(text: &str) -> std::borrow::Cow<'_, str> {
    if !text.contains(['\\', '"', '\n']) {
        return text.into();
    }
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_written_as_the_standard_has_them() {
        let mut text = Text::default();
        let mut family = text.family("raddle_rx_bytes", Kind::Counter, "bytes", "Bytes received");
        family.sample(&[("interface", "a\"b\\c\nd")], 7_u64);
        family.sample(&[], 8_u64);
        text.family("raddle_held_seconds", Kind::Histogram, "seconds", "Holds").histogram(
            &[("cause", "x")],
            &[0.001, 1.0],
            &[1, 0, 2],
            2.5,
        );
        assert_eq!(
            text.finish(),
            "# TYPE raddle_rx_bytes counter\n# UNIT raddle_rx_bytes bytes\n# HELP raddle_rx_bytes Bytes received\n\
             raddle_rx_bytes_total{interface=\"a\\\"b\\\\c\\nd\"} 7\nraddle_rx_bytes_total 8\n\
             # TYPE raddle_held_seconds histogram\n# UNIT raddle_held_seconds seconds\n# HELP raddle_held_seconds Holds\n\
             raddle_held_seconds_bucket{cause=\"x\",le=\"0.001\"} 1\nraddle_held_seconds_bucket{cause=\"x\",le=\"1.0\"} 1\n\
             raddle_held_seconds_bucket{cause=\"x\",le=\"+Inf\"} 3\nraddle_held_seconds_sum{cause=\"x\"} 2.5\n\
             raddle_held_seconds_count{cause=\"x\"} 3\n# EOF\n"
        );
    }

    #[test]
    fn a_family_comes_once() {
        let mut text = Text::default();
        text.family("a", Kind::Gauge, "", "A").sample(&[], 1);
        text.family("a", Kind::Gauge, "", "A").sample(&[], 2);
        assert_eq!(text.finish(), "# TYPE a gauge\n# HELP a A\na 1\n# EOF\n");
    }
}
