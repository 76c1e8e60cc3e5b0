//! Metrics of the network: routes and neighbours, counted when somebody asks.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use raddle_plugin_api::metric::{Label, Metric, MetricKind, Report};
use raddle_plugin_api::{Control, Failure, on_event};

use super::neighbor::Neighbors;
use super::routes::Routes;

/// Answers the event `metrics`.
fn metrics(control: &mut Control<'_>, (): ()) -> Result<(), Failure> {
    let tables = control.resource::<Routes>()?.tables();
    let routes = tables.iter().flat_map(|table| {
        [("ip4", table.ip4_routes), ("ip6", table.ip6_routes)]
            .map(|(family, count)| (vec![label("family", family), label("table", &table.name)], count as f64))
    });
    report(control, "routes", "Routes, by routing table and address family", routes)?;
    let bytes = tables.iter().map(|table| (vec![label("table", &table.name)], table.lookup_bytes as f64));
    report_as(
        control,
        Metric::new("route_lookup_memory", "Memory of what workers search for routes").unit("bytes"),
        bytes,
    )?;
    let mut neighbors: BTreeMap<(String, String), u32> = BTreeMap::new();
    control.resource::<Neighbors>()?.for_each(None, |_, entry, interface| {
        let interface = interface.map(|interface| interface.name.clone()).unwrap_or_default();
        let state = serde_json::to_value(entry.state()).ok();
        let state = state.as_ref().and_then(|state| state.as_str()).unwrap_or_default().to_owned();
        *neighbors.entry((interface, state)).or_default() += 1;
    });
    let neighbors = neighbors.into_iter().map(|((interface, state), count)| {
        (vec![label("interface", &interface), label("state", &state)], f64::from(count))
    });
    report(control, "neighbors", "Neighbours, by interface and state", neighbors)
}

on_event! { "metrics", metrics }

fn label(name: &str, value: &str) -> Label {
    (name.to_owned(), value.to_owned())
}

fn report(
    control: &Control<'_>,
    name: &str,
    help: &str,
    series: impl Iterator<Item = (Vec<Label>, f64)>,
) -> Result<(), Failure> {
    report_as(control, Metric::new(name, help), series)
}

/// Reports a gauge with these series.
fn report_as(
    control: &Control<'_>,
    metric: Metric,
    series: impl Iterator<Item = (Vec<Label>, f64)>,
) -> Result<(), Failure> {
    let (labels, values) = series.unzip();
    let metric = Metric { series: labels, ..metric };
    control.report_metric(&Report { metric, kind: MetricKind::Gauge, values })
}
