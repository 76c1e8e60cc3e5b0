//! `cargo xtask bench --plots`: curves of what a packet costs, measured and drawn for the book.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, ensure};
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;
use serde::{Deserialize, Serialize};

use crate::build::Built;
use crate::cargo;

/// A curve, as `raddle bench --curves` writes it.
#[derive(Debug, Deserialize, Serialize)]
struct Curve {
    curve: String,
    x: String,
    y: String,
    series: Vec<Series>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Series {
    name: String,
    points: Vec<(f64, f64)>,
}

/// Width and height, in pixels.
const SIZE: (u32, u32) = (720, 400);
/// One colour a line.
const COLOURS: [RGBColor; 4] =
    [RGBColor(31, 90, 160), RGBColor(190, 70, 30), RGBColor(40, 130, 70), RGBColor(120, 60, 140)];
/// From this ratio of its ends on an axis is logarithmic.
const LOGARITHMIC_FROM: f64 = 20.0;

/// Where the book has its plots.
pub(crate) fn directory() -> PathBuf {
    cargo::root().join("docs/plots")
}

/// Measures the curves of these names, or all, and draws them.
///
/// # Errors
/// When a curve does not run, or cannot be drawn.
pub(crate) fn measure_and_draw(built: &Built, names: &[String], more: &[String]) -> Result<()> {
    let figures = tempfile::NamedTempFile::new().context("cannot make a file for the figures")?;
    let mut command = Command::new(&built.raddle);
    command.args(["bench", "--curves", "--json"]).arg(figures.path()).args(more).args(names);
    let status = command.status().with_context(|| format!("cannot start {}", built.raddle.display()))?;
    ensure!(status.success(), "the bench failed ({status})");
    draw_figures(figures.path())
}

/// Draws each curve of a file that `raddle bench --curves --json` wrote into a file of its own, with its figures beside it.
///
/// # Errors
/// When the file is none of those, or a curve cannot be drawn.
pub(crate) fn draw_figures(figures: &Path) -> Result<()> {
    let text = fs::read_to_string(figures).with_context(|| format!("cannot read {}", figures.display()))?;
    let curves: Vec<Curve> = serde_json::from_str(&text).context("the bench's figures are not curves")?;
    fs::create_dir_all(directory()).with_context(|| format!("cannot make {}", directory().display()))?;
    for curve in &curves {
        let path = directory().join(format!("{}.svg", curve.curve));
        draw(curve, &path).with_context(|| format!("cannot draw {}", path.display()))?;
        let beside = path.with_extension("json");
        let text = serde_json::to_string_pretty(curve)? + "\n";
        fs::write(&beside, text).with_context(|| format!("cannot write {}", beside.display()))?;
        println!("{}", path.display());
    }
    Ok(())
}

/// Draws a curve.
fn draw(curve: &Curve, path: &Path) -> Result<()> {
    let all = || curve.series.iter().flat_map(|series| &series.points);
    let most = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, f64::max);
    let (right, top) = (most(&mut all().map(|point| point.0)), most(&mut all().map(|point| point.1)));
    let left = all().map(|point| point.0).fold(f64::INFINITY, f64::min);
    ensure!(right > 0.0 && top > 0.0, "`{}` has no points", curve.curve);
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE).map_err(told)?;
    let mut chart = ChartBuilder::on(&area);
    chart.margin(16).x_label_area_size(44).y_label_area_size(56);
    let y = 0.0..top * 1.15;
    if left >= 1.0 && right / left >= LOGARITHMIC_FROM {
        draw_lines(&mut chart, curve, (left..right * 1.05).log_scale(), y)?;
    } else {
        draw_lines(&mut chart, curve, left.min(0.0)..right * 1.05, y)?;
    }
    area.present().map_err(told)
}

fn draw_lines<X>(
    chart: &mut ChartBuilder<'_, '_, SVGBackend<'_>>,
    curve: &Curve,
    x: X,
    y: Range<f64>,
) -> Result<()>
where
    X: AsRangedCoord<Value = f64>,
    X::CoordDescType: ValueFormatter<f64>,
{
    let mut context = chart.build_cartesian_2d(x, y).map_err(told)?;
    let mut mesh = context.configure_mesh();
    mesh.x_desc(&curve.x).y_desc(&curve.y).light_line_style(TRANSPARENT).x_label_formatter(&count);
    mesh.label_style(("sans-serif", 13)).axis_desc_style(("sans-serif", 15)).draw().map_err(told)?;
    for (series, colour) in curve.series.iter().zip(COLOURS.iter().cycle()) {
        let line = LineSeries::new(series.points.iter().copied(), colour.stroke_width(2)).point_size(3);
        let drawn = context.draw_series(line).map_err(told)?;
        drawn
            .label(&series.name)
            .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    let mut labels = context.configure_series_labels();
    labels.label_font(("sans-serif", 14)).background_style(WHITE.mix(0.8)).border_style(TRANSPARENT);
    labels.position(SeriesLabelPosition::UpperLeft).draw().map_err(told)
}

/// A number as people say it: 10 k, 2 M.
fn count(value: &f64) -> String {
    match *value {
        value if value >= 1e6 => format!("{} M", (value / 1e4).round() / 100.0),
        value if value >= 1e4 => format!("{} k", (value / 10.0).round() / 100.0),
        value => format!("{}", (value * 100.0).round() / 100.0),
    }
}

/// What the drawing library says went wrong; its errors cannot be sent between threads.
fn told(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("{error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_every_line_of_a_curve_on_either_kind_of_axis() {
        for points in [vec![(1.0, 30.0), (2e6, 48.6)], vec![(0.0, 30.0), (16.0, 200.0)]] {
            let series =
                ["IPv4", "IPv6"].map(|name| Series { name: name.to_owned(), points: points.clone() });
            let curve = Curve {
                curve: "routes".into(),
                x: "routes".into(),
                y: "clocks".into(),
                series: series.into(),
            };
            let file = tempfile::NamedTempFile::new().unwrap();
            draw(&curve, file.path()).unwrap();
            let drawn = fs::read_to_string(file.path()).unwrap();
            assert!(drawn.starts_with("<svg") && drawn.trim_end().ends_with("</svg>"), "{drawn}");
            assert!(drawn.matches("<polyline").count() >= 4, "two lines and their legends: {drawn}");
            assert!(drawn.contains("IPv4") && drawn.contains("IPv6"), "{drawn}");
        }
    }

    #[test]
    fn a_curve_without_points_is_refused() {
        let curve = Curve { curve: "none".into(), x: String::new(), y: String::new(), series: Vec::new() };
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(draw(&curve, file.path()).unwrap_err().to_string().contains("no points"));
    }

    #[test]
    fn numbers_are_written_as_people_say_them() {
        let text = |value: f64| count(&value);
        assert_eq!([text(1.0), text(1000.0), text(65_536.0), text(2e6)], ["1", "1000", "65.54 k", "2 M"]);
    }
}
