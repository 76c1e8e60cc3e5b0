//! Metrics by name: counters, gauges and histograms that the host shows to who scrapes it (OpenMetrics).
//!
//! A metric is described once, by an init function, and counted by nodes on their own threads without a lock:
//!
//! ```
//! use raddle_plugin_api::metric::{Gauges, Metric};
//! use raddle_plugin_api::prelude::*;
//!
//! struct Zones {
//!     sessions: Gauges,
//! }
//!
//! fn zones(control: &Control<'_>) -> Result<Zones, Failure> {
//!     let sessions = Metric::new("sessions", "Sessions that are there").label("zone", ["inside", "outside"]);
//!     Ok(Zones { sessions: control.gauges(&sessions)? })
//! }
//!
//! fn session_begins(zones: &Zones, worker: &Worker<'_>) {
//!     zones.sessions.add(worker, 0, 1);
//! }
//! # fn main() {}
//! ```
//!
//! The host puts `raddle_` and the plugin's name in front, so this is shown as `raddle_nat44_sessions{zone="inside"}`.
//!
//! What is known only when somebody asks is reported then: by a function that hears of the event `metrics`
//! ([`on_event!`](crate::on_event)) and calls [`Control::report_metric`].

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Control, Counters, Failure, Worker};

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MetricKind {
    /// Only ever goes up.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts values by their size.
    Histogram,
}

/// A label of a series: name and value.
pub type Label = (String, String);

/// The description of a metric: a family of series that differ by their labels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metric {
    /// Lower case, words joined by `_`, without unit and without `_total`.
    pub name: String,
    /// One sentence of what it counts.
    pub help: String,
    /// What one of it is, plural: `bytes`, `seconds`; it becomes the end of the name.
    pub unit: Option<String>,
    /// The labels of each series.
    pub series: Vec<Vec<Label>>,
}

impl Metric {
    /// A metric of one series without labels.
    pub fn new(name: &str, help: &str) -> Self {
        Self { name: name.to_owned(), help: help.to_owned(), unit: None, series: vec![Vec::new()] }
    }

    /// Says what one of it is.
    #[must_use]
    pub fn unit(mut self, unit: &str) -> Self {
        self.unit = Some(unit.to_owned());
        self
    }

    /// A series for each value of this label; for each one that is there already, if called again. The last label
    /// varies fastest in the series' indices.
    #[must_use]
    pub fn label<'v>(mut self, name: &str, values: impl IntoIterator<Item = &'v str> + Clone) -> Self {
        let with = |labels: &Vec<Label>, value: &str| {
            let mut labels = labels.clone();
            labels.push((name.to_owned(), value.to_owned()));
            labels
        };
        let series = std::mem::take(&mut self.series);
        self.series = series
            .iter()
            .flat_map(|labels| values.clone().into_iter().map(move |value| with(labels, value)))
            .collect();
        self
    }
}

/// What the host is told of a metric that is counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Registration {
    /// The description.
    pub metric: Metric,
    /// What it is.
    pub kind: MetricKind,
    /// Upper bounds of a histogram's buckets, rising; the last bucket, without a bound, is not among them.
    pub bounds: Vec<u64>,
    /// What counted values are multiplied by to be of the metric's unit.
    pub scale: f64,
}

/// Where the host keeps a metric: name of the counters, and how many.
#[derive(Debug, Serialize, Deserialize)]
pub struct Place {
    /// Name of the counters.
    pub counters: String,
    /// Counters for each thread.
    pub length: usize,
}

/// A metric whose values were found when somebody asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The description; a series for each value.
    pub metric: Metric,
    /// What it is: no histogram.
    pub kind: MetricKind,
    /// The value of each series.
    pub values: Vec<f64>,
}

/// Gauges of one metric, by series. Each thread has its share of a gauge; what is shown is their sum.
#[derive(Clone, Copy)]
pub struct Gauges {
    shares: Counters,
}

impl Gauges {
    /// Adds to this thread's share of series `index`; a series beyond the last counts nothing.
    #[inline(always)]
    pub fn add(&self, worker: &Worker<'_>, index: usize, amount: i64) {
        // Two's complement: adding a negative amount wraps round to less.
        self.shares.add(worker, index, amount as u64);
    }

    /// Sets this thread's share of series `index`.
    #[inline(always)]
    pub fn set(&self, worker: &Worker<'_>, index: usize, value: i64) {
        self.shares.set_share(worker.thread_index(), index, value as u64);
    }

    /// Sets the main thread's share of series `index`.
    pub fn set_on_main(&self, _: &Control<'_>, index: usize, value: i64) {
        // A `Control` is on the main thread only.
        self.shares.set_share(0, index, value as u64);
    }

    /// The gauge: the sum of all shares.
    pub fn sum(&self, index: usize) -> i64 {
        self.shares.sum(index) as i64
    }
}

/// Histograms of one metric, by series.
#[derive(Clone)]
pub struct Histograms {
    cells: Counters,
    bounds: Arc<[u64]>,
}

impl Histograms {
    /// Counts a value in the histogram of series `index`, on this thread.
    #[inline]
    pub fn observe(&self, worker: &Worker<'_>, index: usize, value: u64) {
        let bucket = self.bounds.partition_point(|&bound| bound < value);
        let first = index * cells_of_histogram(&self.bounds);
        self.cells.add(worker, first + bucket, 1);
        self.cells.add(worker, first + self.bounds.len() + 1, value);
    }

    /// How many values series `index` has counted on all threads.
    pub fn count(&self, index: usize) -> u64 {
        let first = index * cells_of_histogram(&self.bounds);
        (first..=first + self.bounds.len()).fold(0, |sum, cell| sum.wrapping_add(self.cells.sum(cell)))
    }
}

/// Counters that a histogram takes: one a bucket, the last without a bound, and the sum of all values.
pub fn cells_of_histogram(bounds: &[u64]) -> usize {
    bounds.len() + 2
}

impl Control<'_> {
    /// Counters that are shown as a metric, by series. The same name gives the same counters, also after a reload.
    ///
    /// # Errors
    /// The name is not of a metric, or taken by another one.
    pub fn metric_counters(&self, metric: &Metric) -> Result<Counters, Failure> {
        self.metric(metric, MetricKind::Counter, &[], 1.0)
    }

    /// Gauges that are shown as a metric, by series.
    ///
    /// # Errors
    /// As [`Control::metric_counters`].
    pub fn gauges(&self, metric: &Metric) -> Result<Gauges, Failure> {
        Ok(Gauges { shares: self.metric(metric, MetricKind::Gauge, &[], 1.0)? })
    }

    /// Histograms that are shown as a metric, by series: values are counted in buckets whose upper bounds are `bounds`,
    /// rising, and one more for all above. `scale` makes the metric's unit of a value: 1e-9 for ns that are shown as
    /// seconds.
    ///
    /// # Errors
    /// As [`Control::metric_counters`]; the bounds do not rise.
    pub fn histograms(&self, metric: &Metric, bounds: &[u64], scale: f64) -> Result<Histograms, Failure> {
        let cells = self.metric(metric, MetricKind::Histogram, bounds, scale)?;
        Ok(Histograms { cells, bounds: bounds.into() })
    }

    fn metric(
        &self,
        metric: &Metric,
        kind: MetricKind,
        bounds: &[u64],
        scale: f64,
    ) -> Result<Counters, Failure> {
        let registration = Registration { metric: metric.clone(), kind, bounds: bounds.to_vec(), scale };
        let Place { counters, length } = self.call("metric.register", &registration)?;
        self.counters(&counters, length)
    }

    /// Reports a metric whose values were found just now. For functions that hear of the event `metrics`, which comes
    /// before each scrape.
    ///
    /// # Errors
    /// The name is not of a metric, or taken by another one; values and series are not as many.
    pub fn report_metric(&self, report: &Report) -> Result<(), Failure> {
        self.call("metric.report", report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_multiply_and_the_last_varies_fastest() {
        let metric = Metric::new("hits", "Hits").label("zone", ["in", "out"]).label("kind", ["tcp", "udp"]);
        let values: Vec<String> = (metric.series.iter())
            .map(|labels| labels.iter().map(|(_, value)| value.as_str()).collect::<Vec<_>>().join("/"))
            .collect();
        assert_eq!(values, ["in/tcp", "in/udp", "out/tcp", "out/udp"]);
        assert_eq!(Metric::new("hits", "Hits").series, [Vec::new()]);
    }
}
