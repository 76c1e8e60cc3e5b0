//! A snapshot of the engine as OpenMetrics text.

use raddle_plugin_api::metric::MetricKind;

use super::families;
use super::process;
use super::text::{Kind, Text};
use crate::host::{MetricSample, SampleValue, Snapshot};

/// The whole text of a scrape. Reads figures of the process from the system; any thread.
pub fn render(snapshot: &Snapshot) -> String {
    let mut text = Text::default();
    families::write(&mut text, snapshot);
    process::write(&mut text);
    for sample in &snapshot.registered {
        write_registered(&mut text, sample);
    }
    text.finish()
}

fn write_registered(text: &mut Text, sample: &MetricSample) {
    let kind = match sample.kind {
        MetricKind::Counter => Kind::Counter,
        MetricKind::Gauge => Kind::Gauge,
        MetricKind::Histogram => Kind::Histogram,
    };
    let name = format!("raddle_{}", sample.name);
    let mut family = text.family(&name, kind, sample.unit.as_deref().unwrap_or_default(), &sample.help);
    for (labels, value) in &sample.series {
        let labels: Vec<(&str, &str)> =
            labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        match value {
            SampleValue::Count(count) => family.sample(&labels, count),
            SampleValue::Level(level) => family.sample(&labels, level),
            SampleValue::Histogram { bounds, counts, sum } => family.histogram(&labels, bounds, counts, *sum),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_plugins_register_comes_after_our_own_and_cannot_replace_it() {
        let gauge = |name: &str, value| MetricSample {
            name: name.to_owned(),
            kind: MetricKind::Gauge,
            help: "A plugin's".to_owned(),
            unit: None,
            series: vec![(vec![("zone".to_owned(), "in".to_owned())], SampleValue::Level(value))],
        };
        let registered = vec![gauge("acl_rules", 3.5), gauge("buffers_free", 9.0)];
        let text = render(&Snapshot { registered, ..Snapshot::default() });
        assert!(text.contains("raddle_acl_rules{zone=\"in\"} 3.5\n"), "{text}");
        assert!(text.contains("raddle_buffers_free 0\n") && !text.contains("} 9\n"), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }
}
