//! `cargo xtask bench --against REV`: this tree beside another revision, in turns, so that both see the same machine.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::build::Built;
use crate::cargo;

/// How the comparison is made.
#[derive(Debug)]
pub(crate) struct Comparison<'a> {
    /// The revision to compare with, as git names it.
    pub(crate) revision: &'a str,
    /// Cases of the bench; all when there are none.
    pub(crate) cases: &'a [String],
    /// More words for each run of the bench.
    pub(crate) more: &'a [String],
    /// How often each is run.
    pub(crate) rounds: u32,
}

/// Builds the revision, runs both in turns, and prints the ratio of each case with its spread.
///
/// # Errors
/// When there is no such revision, it does not build, or a run fails.
pub(crate) fn run(comparison: &Comparison<'_>, built: &Built) -> Result<ExitCode> {
    let other = build_revision(comparison.revision)?;
    let mut ratios: BTreeMap<String, Ratios> = BTreeMap::new();
    for round in 0..comparison.rounds.max(1) {
        // Whoever goes first finds a cooler machine: that, too, is shared out.
        let order =
            if round % 2 == 0 { [&other.raddle, &built.raddle] } else { [&built.raddle, &other.raddle] };
        let mut figures = BTreeMap::new();
        for program in order {
            figures.insert(program, measure(program, comparison)?);
        }
        let (then, now) = (&figures[&other.raddle], &figures[&built.raddle]);
        for (case, clocks) in now {
            if let Some(before) = then.get(case) {
                ratios.entry(case.clone()).or_default().add(*before, *clocks);
            }
        }
    }
    ensure!(!ratios.is_empty(), "no case is in both revisions");
    println!(
        "\nclocks a packet, this tree beside {}, {} rounds in turns:",
        comparison.revision, comparison.rounds
    );
    println!("{:<22} {:>8} {:>8} {:>7}  spread of the ratio", "case", "then", "now", "ratio");
    for (case, ratios) in &mut ratios {
        println!("{case:<22} {}", ratios.line());
    }
    Ok(ExitCode::SUCCESS)
}

/// What the rounds of a case said.
#[derive(Debug, Default)]
struct Ratios {
    then: Vec<f64>,
    now: Vec<f64>,
    ratio: Vec<f64>,
}

impl Ratios {
    fn add(&mut self, then: f64, now: f64) {
        self.then.push(then);
        self.now.push(now);
        self.ratio.push(now / then);
    }

    /// Medians, and the ratio's least and most.
    fn line(&mut self) -> String {
        let [then, now, ratio] =
            [&mut self.then, &mut self.now, &mut self.ratio].map(|figures| median(figures));
        let (least, most) = (self.ratio[0], self.ratio[self.ratio.len() - 1]);
        let verdict = match (least, most) {
            (1.0.., _) if ratio > 1.0 => "slower in every round",
            (_, ..1.0) => "faster in every round",
            _ => "",
        };
        format!("{then:>8.1} {now:>8.1} {ratio:>7.3}  {least:.3} to {most:.3}  {verdict}")
            .trim_end()
            .to_owned()
    }
}

/// The middle one of the figures, which are sorted by it.
fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    if figures.len() % 2 == 1 { figures[middle] } else { (figures[middle - 1] + figures[middle]) / 2.0 }
}

/// One run of the bench: clocks a packet by case and number of workers.
fn measure(program: &Path, comparison: &Comparison<'_>) -> Result<BTreeMap<String, f64>> {
    let figures = tempfile::NamedTempFile::new().context("cannot make a file for the figures")?;
    let mut command = Command::new(program);
    command.arg("bench").args(comparison.cases).arg("--json").arg(figures.path()).args(comparison.more);
    // Only the comparison is of interest.
    let output = command.output().with_context(|| format!("cannot start {}", program.display()))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} failed: {}", program.display(), complaint.trim());
    let text = fs::read_to_string(figures.path()).context("cannot read the figures")?;
    parse(&text)
}

/// The cases that have clocks a packet.
fn parse(text: &str) -> Result<BTreeMap<String, f64>> {
    let results: Vec<Value> = serde_json::from_str(text).context("the bench's figures are not JSON")?;
    let clocks = results.iter().filter_map(|result| {
        let (case, workers) = (result["case"].as_str()?, result["workers"].as_u64()?);
        let name = if workers == 1 { case.to_owned() } else { format!("{case} ×{workers}") };
        Some((name, result["clocks_per_packet"].as_f64()?))
    });
    Ok(clocks.collect())
}

/// A checkout of the revision, built as this tree is, by its own xtask and in a target folder of its own.
fn build_revision(revision: &str) -> Result<Built> {
    let of = format!("{revision}^{{commit}}");
    let commit = raddle_tests::command::run(git().args(["rev-parse", "--verify", "--quiet", &of]));
    let commit = commit.with_context(|| format!("git knows no revision `{revision}`"))?;
    let commit = commit.trim().get(..12).context("a commit has a longer name")?.to_owned();
    let checkout = cargo::target().join("against").join(&commit);
    if !checkout.join("Cargo.toml").exists() {
        // What an interrupted run left would be in the way.
        raddle_tests::command::run(git().args(["worktree", "prune"]))?;
        let mut add = git();
        add.args(["worktree", "add", "--quiet", "--force", "--detach"]).arg(&checkout).arg(&commit);
        raddle_tests::command::run(&mut add)?;
    }
    println!("building {revision} ({commit})");
    let target = checkout.join("target");
    let mut build = Command::new("cargo");
    build.args(["xtask", "build", "--release"]).current_dir(&checkout).env("CARGO_TARGET_DIR", &target);
    let status = build.status().context("cannot start cargo")?;
    ensure!(status.success(), "{revision} does not build ({status})");
    let release: PathBuf = target.join("release");
    Ok(Built { raddle: release.join("raddle"), plugins: release.join("plugins") })
}

fn git() -> Command {
    let mut command = Command::new("git");
    command.current_dir(cargo::root());
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_costs_clocks_from_the_figures() {
        let text = r#"[{"case":"ip4-1","workers":1,"clocks_per_packet":30.5},{"case":"ip4-1","workers":2,
            "clocks_per_packet":31.0},{"case":"splice","what":"hold","figure":41.9,"unit":"us"}]"#;
        let expected = [("ip4-1".to_owned(), 30.5), ("ip4-1 ×2".to_owned(), 31.0)];
        assert_eq!(parse(text).unwrap(), BTreeMap::from(expected));
        assert!(parse("{").is_err());
    }

    #[test]
    fn the_spread_tells_whether_it_is_chance() {
        let of = |pairs: &[(f64, f64)]| {
            let mut ratios = Ratios::default();
            pairs.iter().for_each(|&(then, now)| ratios.add(then, now));
            ratios.line()
        };
        let line = of(&[(100.0, 80.0), (110.0, 90.0), (100.0, 85.0)]);
        assert_eq!(line, "   100.0     85.0   0.818  0.800 to 0.850  faster in every round");
        assert!(of(&[(100.0, 120.0), (100.0, 110.0)]).ends_with("1.100 to 1.200  slower in every round"));
        assert!(of(&[(100.0, 90.0), (100.0, 110.0)]).ends_with("0.900 to 1.100"));
        assert!(of(&[(100.0, 100.0)]).ends_with("1.000 to 1.000"));
    }
}
