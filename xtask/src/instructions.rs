//! `cargo xtask instructions`: how many instructions a packet costs in the nodes on its way, under callgrind, beside what
//! is on record. Clocks drift with the machine; these do not.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Mutex;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::build::{self, Built};
use crate::{cargo, packages};

/// What to count.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Cases of `cargo xtask bench`; those on record when none is named
    #[arg(value_name = "CASE")]
    cases: Vec<String>,
    /// Put the counts on record, instead of comparing them
    #[arg(long)]
    write: bool,
}

/// Packets of the shorter and of the longer run; what lies between them is counted. In the shorter one every flow of the
/// cases has its session.
const PACKETS: [u64; 2] = [1 << 17, 1 << 18];
/// How much more or less than on record is no change: another processor leads libc to copy by other instructions.
const TOLERANCE: f64 = 0.05;
/// The function within which all nodes but inputs run.
const COUNTED: &str = "raddle::runtime::dispatch::run_node";

/// Counts on record: how they were made, and instructions a packet by case.
#[derive(Debug, Default, Deserialize, Serialize)]
struct Record {
    rustc: String,
    instructions: BTreeMap<String, f64>,
}

/// Counts, then compares with what is on record, or writes it.
///
/// # Errors
/// When the build fails, a case does not run, or a count is not as on record.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    packages::ensure_installed(&[packages::VALGRIND])?;
    let built = build::build_for_counting()?;
    let mut record = read()?;
    let cases = if arguments.cases.is_empty() {
        record.instructions.keys().cloned().collect()
    } else {
        arguments.cases.clone()
    };
    ensure!(!cases.is_empty(), "no case is on record; name some, with --write");
    let counts = count_all(&built, &cases)?;
    let rustc = raddle_tests::command::run(Command::new("rustc").arg("--version"))?.trim().to_owned();
    if arguments.write {
        record.rustc = rustc;
        record.instructions.extend(counts);
        let text = serde_json::to_string_pretty(&record)? + "\n";
        fs::write(path(), text).with_context(|| format!("cannot write {}", path().display()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut changed = Vec::new();
    println!("{:<20} {:>12} {:>12} {:>8}", "case", "on record", "now", "ratio");
    for (case, now) in &counts {
        let Some(before) = record.instructions.get(case) else {
            println!("{case:<20} {:>12} {now:>12.1}", "-");
            continue;
        };
        let ratio = now / before;
        println!("{case:<20} {before:>12.1} {now:>12.1} {ratio:>8.3}");
        if is_change(*before, *now) {
            changed.push(case.as_str());
        }
    }
    let hint = if rustc == record.rustc {
        String::new()
    } else {
        format!(" (the record is by {}, this is {rustc})", record.rustc)
    };
    ensure!(
        changed.is_empty(),
        "not as on record: {}{hint}; if that is meant, put it on record with `cargo xtask instructions --write` and \
         say why in the commit",
        changed.join(", ")
    );
    Ok(ExitCode::SUCCESS)
}

/// Whether a count differs by more than chance; better is a change too, since the record is what later ones are held to.
fn is_change(before: f64, now: f64) -> bool {
    (now / before - 1.0).abs() > TOLERANCE
}

fn path() -> PathBuf {
    cargo::root().join("xtask/instructions.json")
}

fn read() -> Result<Record> {
    if !path().exists() {
        return Ok(Record::default());
    }
    let text = fs::read_to_string(path()).with_context(|| format!("cannot read {}", path().display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not what it should be", path().display()))
}

/// Counts the cases, two at a time.
fn count_all(built: &Built, cases: &[String]) -> Result<BTreeMap<String, f64>> {
    let (next, counts) = (Mutex::new(cases.iter()), Mutex::new(BTreeMap::new()));
    let work = || -> Result<()> {
        loop {
            let Some(case) = next.lock().expect("no thread panics with it").next() else { return Ok(()) };
            let count = count(built, case).with_context(|| format!("case {case}"))?;
            counts.lock().expect("no thread panics with it").insert(case.clone(), count);
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("no thread panics"))
    })?;
    Ok(counts.into_inner().expect("no thread panicked"))
}

/// Instructions a packet.
fn count(built: &Built, case: &str) -> Result<f64> {
    let [short, long] = [run_case(built, case, PACKETS[0])?, run_case(built, case, PACKETS[1])?];
    ensure!(long.packets > short.packets, "the longer run was no longer: {} packets", long.packets);
    let instructions = long.instructions.saturating_sub(short.instructions) as f64;
    // To a tenth: more is noise.
    Ok((instructions / (long.packets - short.packets) as f64 * 10.0).round() / 10.0)
}

/// What a run did.
#[derive(Debug, PartialEq, Eq)]
struct Counted {
    packets: u64,
    instructions: u64,
}

fn run_case(built: &Built, case: &str, packets: u64) -> Result<Counted> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no"])
        .arg(format!("--toggle-collect={COUNTED}*"))
        .arg(&built.raddle)
        .args(["bench", case, "--packets", &packets.to_string(), "--plugins"])
        .arg(&built.plugins)
        .output()
        .context("cannot start valgrind")?;
    let [stdout, stderr] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    ensure!(output.status.success(), "valgrind ended with {}: {stderr}", output.status);
    parse(&stdout, &stderr).with_context(|| format!("neither counts nor packets in: {stdout}{stderr}"))
}

/// The packets that the program prints, and the instructions that callgrind does.
fn parse(stdout: &str, stderr: &str) -> Option<Counted> {
    let packets = stdout.lines().last()?.trim().parse().ok()?;
    let collected = stderr.lines().find_map(|line| line.split_once("Collected :"))?.1;
    Some(Counted { packets, instructions: collected.trim().parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_count_from_what_callgrind_says() {
        let stderr =
            "==7== Callgrind, a call-graph\n==7== \n==7== Events    : Ir\n==7== Collected : 60526419\n";
        let expected = Counted { packets: 65_539, instructions: 60_526_419 };
        assert_eq!(parse("65539\n", stderr), Some(expected));
        assert_eq!(parse("", stderr), None);
        assert_eq!(parse("65539\n", "==7== killed"), None);
    }

    #[test]
    fn a_change_is_more_than_the_tolerance_either_way() {
        assert!(!is_change(100.0, 104.9) && !is_change(100.0, 95.1));
        assert!(is_change(100.0, 105.1) && is_change(100.0, 94.9));
    }

    #[test]
    fn cases_are_on_record() {
        assert!(!read().unwrap().instructions.is_empty());
    }
}
