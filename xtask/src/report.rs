//! Steps with a heading and a time each, and the table at the end.

use std::fmt::Write;
use std::time::{Duration, Instant};

use anyhow::Result;

/// The steps of one run.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
}

/// One finished step.
#[derive(Debug)]
struct Row {
    name: String,
    verdict: Verdict,
    time: Duration,
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// As it should.
    Passed,
    /// With an error.
    Failed(String),
    /// Not begun, for this reason.
    NotRun(String),
}

impl Report {
    /// Runs one step under a heading. A failure is shown at once and kept.
    pub(crate) fn step(&mut self, name: &str, work: impl FnOnce() -> Result<Verdict>) {
        println!("\n── {name} ──");
        let begin = Instant::now();
        let verdict = work().unwrap_or_else(|error| Verdict::Failed(format!("{error:#}")));
        let time = begin.elapsed();
        match &verdict {
            Verdict::Passed => println!("{name}: passed in {:.1} s", time.as_secs_f64()),
            Verdict::Failed(error) => println!("{name}: FAILED after {:.1} s: {error}", time.as_secs_f64()),
            Verdict::NotRun(reason) => println!("{name}: not run: {reason}"),
        }
        self.rows.push(Row { name: name.to_owned(), verdict, time });
    }

    /// Whether the step of this name has failed.
    pub(crate) fn has_failed(&self, name: &str) -> bool {
        self.rows.iter().any(|row| row.name == name && matches!(row.verdict, Verdict::Failed(_)))
    }

    /// Whether no step has failed.
    pub(crate) fn is_clean(&self) -> bool {
        !self.rows.iter().any(|row| matches!(row.verdict, Verdict::Failed(_)))
    }

    /// The table; its last line sums up.
    pub(crate) fn table(&self) -> String {
        let width = self.rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
        let mut table = String::new();
        for Row { name, verdict, time } in &self.rows {
            let verdict = match verdict {
                Verdict::Passed => "passed".to_owned(),
                Verdict::Failed(error) => format!("FAILED  {}", first_line(error)),
                Verdict::NotRun(reason) => format!("not run  {}", first_line(reason)),
            };
            // Writing to a string cannot fail.
            let _ = writeln!(table, "{name:width$}  {:7.1} s  {verdict}", time.as_secs_f64());
        }
        let count =
            |wanted: fn(&Verdict) -> bool| self.rows.iter().filter(|row| wanted(&row.verdict)).count();
        let total: Duration = self.rows.iter().map(|row| row.time).sum();
        let _ = write!(
            table,
            "{} steps in {:.0} s: {} passed, {} failed, {} not run",
            self.rows.len(),
            total.as_secs_f64(),
            count(|verdict| *verdict == Verdict::Passed),
            count(|verdict| matches!(verdict, Verdict::Failed(_))),
            count(|verdict| matches!(verdict, Verdict::NotRun(_))),
        );
        table
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;

    #[test]
    fn sums_up_in_the_last_line() {
        let mut report = Report::default();
        report.step("good", || Ok(Verdict::Passed));
        report.step("bad", || bail!("first\nsecond"));
        report.step("left out", || Ok(Verdict::NotRun("no root".to_owned())));
        assert!(report.has_failed("bad") && !report.has_failed("good") && !report.is_clean());
        let table = report.table();
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(lines[1], "bad           0.0 s  FAILED  first");
        assert_eq!(lines[2], "left out      0.0 s  not run  no root");
        assert_eq!(lines[3], "3 steps in 0 s: 1 passed, 1 failed, 1 not run");
    }
}
