//! Metrics that the core and plugins register by name, or report when somebody asks.

use std::collections::BTreeMap;

use raddle_plugin_api::metric::{Label, Metric, MetricKind, Place, Registration, Report, cells_of_histogram};
use raddle_plugin_api::{Failure, bail};

use super::memory::CounterSets;
use crate::graph::Owner;

/// Series that one metric can have.
const MOST_SERIES: usize = 4096;
/// Series that a metric can have that is reported anew for each scrape.
const MOST_REPORTED: usize = 16384;
/// Buckets that a histogram can have.
const MOST_BUCKETS: usize = 64;

/// Counters of a set that was registered by name alone, for the set to be shown.
const MOST_UNDESCRIBED: usize = 64;
/// What the names of counters behind metrics begin with.
const PLACE: &str = "metric ";

/// A metric's figures, to be shown.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricSample {
    /// Name, without what the exposition puts in front.
    pub name: String,
    /// What it is.
    pub kind: MetricKind,
    /// One sentence.
    pub help: String,
    /// Its unit.
    pub unit: Option<String>,
    /// The series.
    pub series: Vec<(Vec<Label>, SampleValue)>,
}

/// The value of a series.
#[derive(Clone, Debug, PartialEq)]
pub enum SampleValue {
    /// Of a counter.
    Count(u64),
    /// Of a gauge.
    Level(f64),
    /// Of a histogram.
    Histogram {
        /// Upper bounds of the buckets, in the metric's unit; the last bucket has none.
        bounds: Vec<f64>,
        /// Values in each bucket.
        counts: Vec<u64>,
        /// The sum of the values.
        sum: f64,
    },
}

struct Registered {
    owner: Owner,
    registration: Registration,
}

/// All metrics by their full names.
#[derive(Default)]
pub struct RegisteredMetrics {
    registered: BTreeMap<String, Registered>,
    /// Those of the scrape at hand.
    reported: Vec<MetricSample>,
}

impl RegisteredMetrics {
    /// Registers a metric of `owner`, whose plugin is called `plugin` (`None`: the core).
    ///
    /// # Errors
    /// It is none, or the name is taken.
    pub fn register(
        &mut self,
        owner: Owner,
        plugin: Option<&str>,
        registration: Registration,
    ) -> Result<Place, Failure> {
        let name = full_name(plugin, &registration.metric)?;
        check_series(&name, &registration.metric, MOST_SERIES)?;
        let per_series = match registration.kind {
            MetricKind::Histogram => {
                check_bounds(&name, &registration)?;
                cells_of_histogram(&registration.bounds)
            }
            MetricKind::Counter | MetricKind::Gauge => 1,
        };
        let length = registration.metric.series.len() * per_series;
        let counters = place(&name);
        if let Some(known) = self.registered.get_mut(&name) {
            if known.registration.metric.series != registration.metric.series
                || known.registration.kind != registration.kind
                || known.registration.bounds != registration.bounds
            {
                bail!("the metric `{name}` is there already, with other series");
            }
            *known = Registered { owner, registration };
        } else {
            self.registered.insert(name, Registered { owner, registration });
        }
        Ok(Place { counters, length })
    }

    /// Takes a metric for the scrape at hand.
    ///
    /// # Errors
    /// It is none, or the name is taken.
    pub fn report(&mut self, plugin: Option<&str>, report: Report) -> Result<(), Failure> {
        let Report { metric, kind, values } = report;
        let name = full_name(plugin, &metric)?;
        check_series(&name, &metric, MOST_REPORTED)?;
        if values.len() != metric.series.len() {
            bail!("the metric `{name}` has {} series and {} values", metric.series.len(), values.len());
        }
        if self.registered.contains_key(&name) || self.reported.iter().any(|known| known.name == name) {
            bail!("the metric `{name}` is there already");
        }
        let value = |value: f64| match kind {
            MetricKind::Counter => Ok(SampleValue::Count(value.max(0.0) as u64)),
            MetricKind::Gauge => Ok(SampleValue::Level(value)),
            MetricKind::Histogram => Err(Failure::new("a histogram is registered, not reported")),
        };
        let series = metric.series.into_iter().zip(values);
        let series = series.map(|(labels, number)| Ok((labels, value(number)?)));
        let series = series.collect::<Result<_, Failure>>()?;
        self.reported.push(MetricSample { name, kind, help: metric.help, unit: metric.unit, series });
        Ok(())
    }

    /// Forgets what was reported: a new scrape begins.
    pub fn begin(&mut self) {
        self.reported.clear();
    }

    /// What all of them say now.
    pub fn samples(&mut self, counters: &CounterSets) -> Vec<MetricSample> {
        let registered = self.registered.iter().map(|(name, known)| sample(name, known, counters));
        let mut all: Vec<MetricSample> = registered.collect();
        all.extend(undescribed(counters));
        all.append(&mut self.reported);
        all
    }

    /// Takes away those of an owner that is gone.
    pub fn remove(&mut self, owner: Owner) {
        self.registered.retain(|_, known| known.owner != owner);
    }
}

fn sample(name: &str, known: &Registered, counters: &CounterSets) -> MetricSample {
    let Registration { metric, kind, bounds, scale } = &known.registration;
    let place = place(name);
    let value = |index: usize| match kind {
        MetricKind::Counter => SampleValue::Count(counters.sum(&place, index)),
        // Shares are in two's complement.
        MetricKind::Gauge => SampleValue::Level(counters.sum(&place, index) as i64 as f64 * scale),
        MetricKind::Histogram => {
            let first = index * cells_of_histogram(bounds);
            let buckets = 0..=bounds.len();
            SampleValue::Histogram {
                bounds: bounds.iter().map(|&bound| bound as f64 * scale).collect(),
                counts: buckets.map(|bucket| counters.sum(&place, first + bucket)).collect(),
                sum: counters.sum(&place, first + bounds.len() + 1) as f64 * scale,
            }
        }
    };
    MetricSample {
        name: name.to_owned(),
        kind: *kind,
        help: metric.help.clone(),
        unit: metric.unit.clone(),
        series: metric
            .series
            .iter()
            .enumerate()
            .map(|(index, labels)| (labels.clone(), value(index)))
            .collect(),
    }
}

/// Counters that were made without a description, of sets that are no tables.
fn undescribed(counters: &CounterSets) -> Option<MetricSample> {
    let sets = counters.small(MOST_UNDESCRIBED);
    let series: Vec<_> = (sets.into_iter().filter(|(name, _)| !name.starts_with(PLACE)))
        .flat_map(|(name, counts)| {
            counts.into_iter().enumerate().map(move |(index, count)| {
                let labels =
                    vec![("set".to_owned(), name.to_owned()), ("index".to_owned(), index.to_string())];
                (labels, SampleValue::Count(count))
            })
        })
        .take(MOST_SERIES)
        .collect();
    (!series.is_empty()).then(|| MetricSample {
        name: "counter".to_owned(),
        kind: MetricKind::Counter,
        help: "Counters that were registered by name alone".to_owned(),
        unit: None,
        series,
    })
}

/// Name of the counters behind a metric.
fn place(name: &str) -> String {
    format!("{PLACE}{name}")
}

fn full_name(plugin: Option<&str>, metric: &Metric) -> Result<String, Failure> {
    let Metric { name, unit, .. } = metric;
    if !is_name(name) || !unit.as_deref().is_none_or(is_name) {
        bail!("`{name}` cannot name a metric: names are lower-case words joined by `_`");
    }
    if ["_total", "_count", "_sum", "_bucket", "_created", "_info"].iter().any(|end| name.ends_with(end)) {
        bail!("the name of the metric `{name}` ends in what is put behind names");
    }
    let mut full = match plugin {
        Some(plugin) => format!("{}_{name}", plugin.replace(|c: char| !c.is_ascii_alphanumeric(), "_")),
        None => name.clone(),
    };
    if let Some(unit) = unit {
        full.push('_');
        full.push_str(unit);
    }
    Ok(full)
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

fn check_series(name: &str, metric: &Metric, most: usize) -> Result<(), Failure> {
    if metric.series.len() > most {
        bail!("the metric `{name}` has {} series; at most {most} are shown", metric.series.len());
    }
    let labels = metric.series.iter().flatten();
    if let Some((label, _)) = labels.into_iter().find(|(label, _)| !is_name(label) || label == "le") {
        bail!("`{label}` cannot name a label of the metric `{name}`");
    }
    let mut sorted: Vec<_> = metric.series.iter().collect();
    sorted.sort_unstable();
    if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
        bail!("two series of the metric `{name}` have the same labels");
    }
    Ok(())
}

fn check_bounds(name: &str, registration: &Registration) -> Result<(), Failure> {
    let bounds = &registration.bounds;
    if bounds.is_empty() || bounds.len() > MOST_BUCKETS {
        bail!("the histogram `{name}` has {} bounds; it may have 1 to {MOST_BUCKETS}", bounds.len());
    }
    if !bounds.is_sorted_by(|a, b| a < b) || !registration.scale.is_finite() || registration.scale <= 0.0 {
        bail!("the bounds of the histogram `{name}` do not rise");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registration(metric: Metric, kind: MetricKind) -> Registration {
        let bounds = if kind == MetricKind::Histogram { vec![10, 100] } else { Vec::new() };
        Registration { metric, kind, bounds, scale: 0.5 }
    }

    #[test]
    fn names_have_plugin_and_unit_and_are_checked() {
        let mut all = RegisteredMetrics::default();
        let mut place = |metric: Metric| {
            all.register(Owner(3), Some("flow-count"), registration(metric, MetricKind::Counter))
        };
        let found = place(Metric::new("seen", "Seen").unit("bytes")).expect("a metric");
        assert_eq!((found.counters.as_str(), found.length), ("metric flow_count_seen_bytes", 1));
        for name in ["", "Seen", "seen-it", "9lives", "seen_total", "a_bucket"] {
            assert!(place(Metric::new(name, "Seen")).is_err(), "{name}");
        }
        assert!(place(Metric::new("a", "A").label("le", ["1"])).is_err());
        assert!(place(Metric::new("a", "A").label("x", ["1", "1"])).is_err());
    }

    #[test]
    fn a_name_keeps_its_series_and_goes_with_its_owner() {
        let mut all = RegisteredMetrics::default();
        let metric = Metric::new("hits", "Hits").label("zone", ["in", "out"]);
        let mut again = |metric: &Metric| {
            all.register(Owner(3), None, registration(metric.clone(), MetricKind::Gauge))
                .map(|place| place.length)
        };
        assert_eq!((again(&metric).ok(), again(&metric).ok()), (Some(2), Some(2)));
        assert!(again(&Metric::new("hits", "Hits")).is_err());
        all.remove(Owner(3));
        assert!(all.samples(&CounterSets::new(1)).is_empty());
    }

    #[test]
    fn a_gauge_below_zero_and_a_histogram_are_read_from_their_counters() {
        let (mut all, mut sets) = (RegisteredMetrics::default(), CounterSets::new(2));
        for (name, kind) in [("level", MetricKind::Gauge), ("length", MetricKind::Histogram)] {
            let place = all.register(Owner(0), None, registration(Metric::new(name, "x"), kind)).expect(name);
            let memory = sets.find_or_make(&place.counters, place.length);
            assert!(!memory.base.is_null());
        }
        sets.add_for_test("metric level", 1, 0, -4_i64 as u64);
        for (cell, amount) in [(0, 2), (2, 1), (3, 140)] {
            sets.add_for_test("metric length", 0, cell, amount);
        }
        let samples = all.samples(&sets);
        let histogram = SampleValue::Histogram { bounds: vec![5.0, 50.0], counts: vec![2, 0, 1], sum: 70.0 };
        assert_eq!(samples[0].series[0].1, histogram);
        assert_eq!(samples[1].series[0].1, SampleValue::Level(-2.0));
    }

    #[test]
    fn a_report_is_of_one_scrape() {
        let mut all = RegisteredMetrics::default();
        let report = |values: Vec<f64>| Report {
            metric: Metric::new("routes", "Routes").label("family", ["ip4", "ip6"]),
            kind: MetricKind::Gauge,
            values,
        };
        all.begin();
        assert!(all.report(None, report(vec![1.0])).is_err());
        assert!(all.report(None, report(vec![1.0, 2.0])).is_ok());
        assert!(all.report(None, report(vec![1.0, 2.0])).is_err(), "twice in a scrape");
        assert_eq!(all.samples(&CounterSets::new(1)).len(), 1);
        all.begin();
        assert!(all.samples(&CounterSets::new(1)).is_empty());
    }
}
