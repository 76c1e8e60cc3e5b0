//! `cargo xtask sharing`: whether threads write cache lines that other threads touch while packets pass.
//!
//! Under valgrind's `lackey` every read and write of two workers is seen, with the thread that makes it. A line that one
//! thread writes and another touches travels between their cores; how often at most is the lesser of the two counts.
//! What is left when a shorter run's counts are taken from a longer one's is the packets' own.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::build::{self, Built};
use crate::packages;

/// What to look at.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Cases of `cargo xtask bench`
    #[arg(value_name = "CASE", default_values = ["l2-xconnect", "ip4-1", "ip6-1"])]
    cases: Vec<String>,
}

/// Packets of the shorter and of the longer run.
const PACKETS: [u64; 2] = [20_000, 60_000];
/// Moves of lines that are no finding, a packet: less than five a frame.
const ALLOWED: f64 = 0.02;
/// Lines that are told.
const TOLD: usize = 8;
/// Bits of an address within a cache line.
const LINE_BITS: u32 = 6;
/// Where valgrind maps a position-independent program.
const PROGRAM_BASE: u64 = 0x10_8000;

/// Looks at each case.
///
/// # Errors
/// When a case does not run, or lines travel.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    packages::ensure_installed(&[packages::VALGRIND])?;
    let built = build::build_for_counting()?;
    let mut found = Vec::new();
    for case in &arguments.cases {
        let [short, long] = [look(&built, case, PACKETS[0])?, look(&built, case, PACKETS[1])?];
        ensure!(
            long.packets > short.packets,
            "{case}: the longer run was no longer: {} packets",
            long.packets
        );
        let lines = long.more_than(&short);
        let moves =
            lines.iter().map(|line| line.moves).sum::<u64>() as f64 / (long.packets - short.packets) as f64;
        println!("{case}: at most {moves:.4} lines a packet move between the workers");
        for line in lines.iter().take(TOLD) {
            println!(
                "  {:#x}: {} moves, written by {}",
                line.address,
                line.moves,
                symbol(&built, line.writer)
            );
        }
        if moves > ALLOWED {
            found.push(case.as_str());
        }
    }
    ensure!(found.is_empty(), "lines are shared on the packets' way: {}", found.join(", "));
    Ok(ExitCode::SUCCESS)
}

/// How often threads touched a line.
#[derive(Clone, Debug, Default)]
struct Line {
    /// Writes and all accesses, by thread.
    by_thread: BTreeMap<u32, (u64, u64)>,
    /// The instruction that wrote last.
    writer: u64,
}

impl Line {
    /// How often it moved between threads, at most.
    fn moves(&self) -> u64 {
        let of = |(thread, &(writes, _)): (&u32, &(u64, u64))| {
            let others = self.by_thread.iter().filter(|(other, _)| *other != thread);
            writes.min(others.map(|(_, &(_, accesses))| accesses).sum())
        };
        self.by_thread.iter().map(of).max().unwrap_or(0)
    }
}

/// What was seen in a run.
#[derive(Debug, Default)]
struct Seen {
    packets: u64,
    lines: HashMap<u64, Line>,
}

/// A line that moved more often in the longer run.
#[derive(Debug, PartialEq, Eq)]
struct Moved {
    address: u64,
    moves: u64,
    writer: u64,
}

impl Seen {
    /// The lines that moved more often than in a shorter run, most first. Addresses differ from run to run, so that
    /// they are told apart by who writes them.
    fn more_than(&self, shorter: &Self) -> Vec<Moved> {
        let by_writer = |seen: &Self| {
            let mut moves: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
            for (&address, line) in seen.lines.iter().filter(|(_, line)| line.by_thread.len() > 1) {
                let entry = moves.entry(line.writer).or_default();
                *entry = (entry.0 + line.moves(), address);
            }
            moves
        };
        let before = by_writer(shorter);
        let more = by_writer(self).into_iter().map(|(writer, (moves, address))| {
            let then = before.get(&writer).map_or(0, |entry| entry.0);
            Moved { address: address << LINE_BITS, moves: moves.saturating_sub(then), writer }
        });
        let mut more: Vec<_> = more.filter(|line| line.moves > 0).collect();
        more.sort_by_key(|line| std::cmp::Reverse(line.moves));
        more
    }

    /// Takes in one line of what valgrind says.
    fn take(&mut self, text: &str, state: &mut State) {
        let (kind, rest) = match text.as_bytes() {
            [b'I', ..] => {
                state.instruction = address(&text[1..]).unwrap_or(0);
                return;
            }
            [b' ', kind @ (b'L' | b'S' | b'M'), ..] => (*kind, &text[2..]),
            _ => {
                if let Some(thread) = running(text) {
                    state.thread = thread;
                }
                return;
            }
        };
        // Of the main thread's work nothing is on the packets' way.
        let Some(at) = address(rest).filter(|_| state.thread > MAIN_THREAD) else { return };
        let line = self.lines.entry(at >> LINE_BITS).or_default();
        let counts = line.by_thread.entry(state.thread).or_default();
        counts.1 += 1;
        if kind != b'L' {
            counts.0 += 1;
            line.writer = state.instruction;
        }
    }
}

/// Valgrind's number of the main thread.
const MAIN_THREAD: u32 = 1;

/// Where in its output we are.
#[derive(Debug, Default)]
struct State {
    thread: u32,
    instruction: u64,
}

/// The address in `  04016b80,3`.
fn address(text: &str) -> Option<u64> {
    u64::from_str_radix(text.trim().split(',').next()?, 16).ok()
}

/// The thread in `--9013--   SCHED[2]:  acquired lock (…)`.
fn running(text: &str) -> Option<u32> {
    let (number, rest) = text.split_once("SCHED[")?.1.split_once(']')?;
    rest.contains("acquired lock").then(|| number.parse().ok())?
}

fn look(built: &Built, case: &str, packets: u64) -> Result<Seen> {
    let mut child = Command::new("valgrind")
        .args(["--tool=lackey", "--trace-mem=yes", "--trace-sched=yes", "--fair-sched=yes"])
        .arg(&built.raddle)
        .args(["bench", case, "--workers", "2", "--packets", &packets.to_string(), "--plugins"])
        .arg(&built.plugins)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start valgrind")?;
    let trace = BufReader::with_capacity(1 << 20, child.stderr.take().context("it has a pipe")?);
    let (mut seen, mut state) = (Seen::default(), State::default());
    for line in trace.lines() {
        seen.take(&line.context("cannot read what valgrind says")?, &mut state);
    }
    let output = child.wait_with_output().context("valgrind is lost")?;
    ensure!(output.status.success(), "{case}: valgrind ended with {}", output.status);
    let stdout = String::from_utf8_lossy(&output.stdout);
    let Some(packets) = stdout.lines().last().and_then(|line| line.trim().parse().ok()) else {
        bail!("{case}: no number of packets in {stdout:?}");
    };
    ensure!(!seen.lines.is_empty(), "{case}: no worker touched any memory");
    seen.packets = packets;
    Ok(seen)
}

/// The name of the program's function at an address, or the address.
fn symbol(built: &Built, address: u64) -> String {
    let told = format!("{address:#x}");
    let Some(offset) = address.checked_sub(PROGRAM_BASE) else { return told };
    let mut command = Command::new("addr2line");
    command.args(["--functions", "--demangle", "--exe"]).arg(&built.raddle).arg(format!("{offset:#x}"));
    let output = raddle_tests::command::run(&mut command).unwrap_or_default();
    output.lines().next().filter(|name| *name != "??").map_or(told, str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(text: &str) -> Seen {
        let (mut seen, mut state) = (Seen::default(), State::default());
        text.lines().for_each(|line| seen.take(line, &mut state));
        seen
    }

    const ON_2: &str = "--9--   SCHED[2]:  acquired lock (x)\n";
    const ON_3: &str = "--9--   SCHED[3]:  acquired lock (x)\n";

    #[test]
    fn a_line_that_one_writes_and_another_touches_moves() {
        let text = format!("{ON_2}I  00100,3\n S 1000,8\n S 1008,8\n{ON_3}I  00200,3\n L 1030,8\n");
        let moved = seen(&text).more_than(&Seen::default());
        assert_eq!(moved, [Moved { address: 0x1000, moves: 1, writer: 0x100 }]);
    }

    #[test]
    fn what_one_alone_writes_or_all_only_read_stays() {
        let text = format!("{ON_2}I  00100,3\n S 1000,8\n L 2000,8\n{ON_3} L 2000,8\n M 3000,8\n");
        assert!(seen(&text).more_than(&Seen::default()).is_empty());
        let of_main = format!("--9--   SCHED[1]:  acquired lock (x)\n S 1000,8\n{ON_2} L 1000,8\n");
        assert!(seen(&of_main).more_than(&Seen::default()).is_empty(), "the main thread is not on the way");
    }

    #[test]
    fn what_a_shorter_run_does_as_often_is_of_the_set_up() {
        let text = format!("{ON_2}I  00100,3\n M 1000,8\n{ON_3} M 1000,8\n");
        assert_eq!(seen(&text).more_than(&Seen::default()).len(), 1);
        assert!(seen(&text).more_than(&seen(&text)).is_empty());
    }
}
