//! The plugin author's guide, done as it says: every command, every change, every line that it shows.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use raddle_tests::command::finish;
use raddle_tests::{Need, requirement, scratch, target_dir};

const GUIDE: &str = include_str!("../../docs/plugin-guide.md");

/// Time that a step may take: builds on a busy machine.
const STEP: Duration = Duration::from_secs(600);

/// What the guide has its reader do.
#[derive(Debug, PartialEq)]
enum Step<'a> {
    /// Commands, and lines that they print.
    Run { script: &'a str, shows: Vec<&'a str> },
    /// A part of a file, as it is there.
    Shows { file: &'a str, text: &'a str },
    /// Text at the end of a file.
    Append { file: &'a str, text: &'a str },
    /// Text in the place of other text.
    Edit { file: &'a str, old: &'a str, new: &'a str },
}

/// A block of code: its language, its text, and the mark in front of it.
struct Block<'a> {
    language: &'a str,
    text: &'a str,
    mark: Option<(&'a str, &'a str)>,
}

fn blocks(page: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut rest = page;
    while let Some((before, after)) = rest.split_once("```") {
        let Some((language, after)) = after.split_once('\n') else { break };
        let Some((text, after)) = after.split_once("```") else { break };
        let mark = before.trim_end().rsplit_once("<!-- ").map(|(_, mark)| mark);
        let mark = mark.and_then(|mark| mark.strip_suffix(" -->")).and_then(|mark| mark.split_once(": "));
        blocks.push(Block { language, text, mark });
        rest = after;
    }
    blocks
}

fn steps(page: &str) -> Result<Vec<Step<'_>>> {
    let mut steps = Vec::new();
    let mut blocks = blocks(page).into_iter();
    while let Some(Block { language, text, mark }) = blocks.next() {
        steps.push(match (language, mark) {
            ("sh", None) => Step::Run { script: text, shows: Vec::new() },
            ("text", None) => {
                let Some(Step::Run { shows, .. }) = steps.last_mut() else {
                    bail!("what is said to print this?\n{text}");
                };
                *shows = text.lines().collect();
                continue;
            }
            // Something to read, which nobody does here.
            (_, Some(("sketch", _))) => continue,
            (_, Some(("shows", file))) => Step::Shows { file, text },
            (_, Some(("append", file))) => Step::Append { file, text },
            (_, Some(("edit", file))) => {
                let new = blocks.next().context("an edit without its second block")?.text;
                Step::Edit { file, old: text, new }
            }
            _ => bail!("nobody knows what to do with this block of {language:?}:\n{text}"),
        });
    }
    Ok(steps)
}

/// Whether a line is there, in which `…` stands for anything.
fn has_line(output: &str, pattern: &str) -> bool {
    output.lines().any(|line| matches(line.trim_end(), pattern))
}

fn matches(line: &str, pattern: &str) -> bool {
    match pattern.split_once('…') {
        None => line == pattern,
        Some((start, rest)) => line.strip_prefix(start).is_some_and(|line| {
            line.char_indices().any(|(at, _)| matches(&line[at..], rest)) || rest.is_empty()
        }),
    }
}

/// The reader: where they are, and what they have installed.
struct Reader {
    place: PathBuf,
    programs: PathBuf,
    target: PathBuf,
    sdk: PathBuf,
}

impl Reader {
    fn file(&self, name: &str) -> Result<(PathBuf, String)> {
        let path = self.place.join(name);
        let text = fs::read_to_string(&path).with_context(|| format!("no {}", path.display()))?;
        Ok((path, text))
    }

    fn take(&mut self, step: &Step<'_>) -> Result<()> {
        match step {
            Step::Run { script, shows } => self.run(script, shows),
            Step::Shows { file, text } => {
                ensure!(self.file(file)?.1.contains(text), "{file} has no part\n{text}");
                Ok(())
            }
            Step::Append { file, text } => {
                let (path, old) = self.file(file)?;
                Ok(fs::write(path, old + text)?)
            }
            Step::Edit { file, old, new } => {
                let (path, text) = self.file(file)?;
                ensure!(text.matches(old).count() == 1, "{file} has not once\n{old}");
                Ok(fs::write(path, text.replace(old, new))?)
            }
        }
    }

    fn run(&mut self, script: &str, shows: &[&str]) -> Result<()> {
        let place = self.programs.join("place");
        let mut shell = std::process::Command::new("bash");
        // The same as in a terminal, where the next command finds its reader in the directory of the last.
        let whole = format!("set -e\n{{ {script}\n}} 2>&1\npwd > '{}'\n", place.display());
        let path = std::env::var("PATH").unwrap_or_default();
        shell.args(["-c", &whole]).current_dir(&self.place);
        shell.env("PATH", format!("{}:{path}", self.programs.display()));
        shell.env("CARGO_TARGET_DIR", &self.target).env("RADDLE_SDK", &self.sdk);
        shell.env("CARGO_NET_OFFLINE", "true").env_remove("RADDLE");
        let finished = finish(&mut shell, STEP)?;
        let output = &finished.stdout;
        ensure!(finished.code == Some(0), "this ended with {:?}:\n{script}\n{output}", finished.code);
        for line in shows {
            ensure!(has_line(output, line), "no line\n{line}\nin what this printed:\n{script}\n{output}");
        }
        self.place = fs::read_to_string(&place)?.trim().into();
        // The crates that were fetched for this repository, not newer ones.
        let lock = self.place.join("Cargo.lock");
        if self.place.join("Cargo.toml").exists() && !lock.exists() {
            fs::copy(self.sdk.join("../examples/flow-count/Cargo.lock"), lock)?;
        }
        Ok(())
    }
}

#[test]
fn a_feature_is_in_traffic_when_the_guide_is_done() -> Result<()> {
    if !requirement::met(&[Need::Ping, Need::Raddle]) {
        return Ok(());
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("a package inside the workspace")?;
    let (work, programs) = (scratch::directory()?, scratch::directory()?);
    for program in ["raddle", "cargo-raddle"] {
        let built = target_dir().join(program);
        std::os::unix::fs::symlink(&built, programs.path().join(program))?;
        ensure!(built.exists(), "{} is not built (cargo xtask build)", built.display());
    }
    let mut reader = Reader {
        place: work.path().into(),
        programs: programs.path().into(),
        target: target_dir().parent().context("the build directory")?.join("examples"),
        sdk: root.join("plugin-api"),
    };
    let steps = steps(GUIDE)?;
    assert!(steps.len() > 10, "the guide has only {} steps", steps.len());
    for step in &steps {
        reader.take(step)?;
    }
    Ok(())
}

#[test]
fn blocks_are_read_as_steps() -> Result<()> {
    let page = "a\n```sh\nx\n```\nb\n```text\ny …\n```\n<!-- edit: f -->\n```rust\n1\n```\n```rust\n2\n```\n";
    let expected =
        [Step::Run { script: "x\n", shows: vec!["y …"] }, Step::Edit { file: "f", old: "1\n", new: "2\n" }];
    assert_eq!(steps(page)?, expected);
    assert!(steps("```c\n```\n").is_err());
    assert!(
        has_line("a b c\n", "a…c")
            && has_line("abc", "abc")
            && has_line("x", "x…")
            && !has_line("abc", "a…d")
    );
    Ok(())
}
