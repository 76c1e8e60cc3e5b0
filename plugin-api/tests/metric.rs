//! Metrics: what threads count, and what is read of it.

use raddle_plugin_api::metric::{Metric, MetricKind, Report};
use raddle_plugin_api::testing::Harness;

#[test]
fn a_gauge_is_the_sum_of_what_threads_added_and_may_sink() {
    let mut host = Harness::builder().workers(2).build();
    let metric = Metric::new("sessions", "Sessions").label("zone", ["in", "out"]);
    let gauges = host.control(|control| control.gauges(&metric).expect("gauges"));
    host.worker(1, |worker| gauges.add(worker, 1, 5));
    host.worker(2, |worker| gauges.add(worker, 1, -7));
    assert_eq!((gauges.sum(0), gauges.sum(1)), (0, -2));
    host.control(|control| gauges.set_on_main(control, 0, 40));
    host.worker(1, |worker| {
        gauges.set(worker, 0, 2);
        gauges.add(worker, 2, 1);
    });
    assert_eq!((gauges.sum(0), gauges.sum(1)), (42, -2), "a series that is not there counts nothing");
}

#[test]
fn a_histogram_counts_values_in_the_bucket_whose_bound_they_do_not_exceed() {
    let mut host = Harness::builder().workers(1).build();
    let metric = Metric::new("length", "Length").label("kind", ["a", "b"]);
    let histograms =
        host.control(|control| control.histograms(&metric, &[10, 100], 1.0).expect("histograms"));
    host.worker(1, |worker| [0, 10, 11, 100, 101].map(|value| histograms.observe(worker, 1, value)));
    assert_eq!((histograms.count(0), histograms.count(1)), (0, 5));
    // The second series: three buckets and the sum behind those of the first.
    let cells: Vec<u64> = (4..8).map(|cell| host.counter("length", cell)).collect();
    assert_eq!(cells, [2, 2, 1, 222]);
}

#[test]
fn counters_and_reports_go_by_the_host() {
    let mut host = Harness::builder().workers(1).build();
    let counters =
        host.control(|control| control.metric_counters(&Metric::new("hits", "Hits")).expect("counters"));
    host.worker(1, |worker| counters.add(worker, 0, 3));
    assert_eq!(counters.sum(0), 3);
    let metric = Metric::new("routes", "Routes");
    let report = Report { metric, kind: MetricKind::Gauge, values: vec![1.0] };
    assert!(host.control(|control| control.report_metric(&report)).is_ok());
}
