//! Scapy in a namespace: makes packets and judges what comes back, independently of raddle's own decoders.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::Namespace;

/// Debian's Python; one that comes first in `PATH` may not have Debian's modules.
pub const PYTHON: &str = "/usr/bin/python3";
/// The file that shows Debian's scapy to be there.
pub const SCAPY: &str = "/usr/lib/python3/dist-packages/scapy/__init__.py";

/// The file that shows Debian's package of the Prometheus project's client to be there.
pub const PROMETHEUS_CLIENT: &str = "/usr/lib/python3/dist-packages/prometheus_client/openmetrics/parser.py";

/// The file that shows Debian's cryptography to be there.
pub const CRYPTOGRAPHY: &str = "/usr/lib/python3/dist-packages/cryptography/__init__.py";

/// The functions that snippets may use.
const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/python/judge.py");

/// The longest a snippet may run; snippets have time limits of their own.
const LIMIT: Duration = Duration::from_secs(300);

/// A Python process in a namespace that runs snippets one after the other; names they define stay.
#[derive(Debug)]
pub struct Judge {
    child: Child,
    input: ChildStdin,
    answers: Receiver<String>,
}

impl Judge {
    /// Starts it in `namespace`.
    ///
    /// # Errors
    /// When Python or scapy is missing.
    pub fn start(namespace: &Namespace) -> Result<Self> {
        let mut child = namespace
            .command(PYTHON)
            .args(["-I", PROGRAM])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {PYTHON}"))?;
        let input = child.stdin.take().context("python has no input")?;
        let output = child.stdout.take().context("python has no output")?;
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let mut judge = Self { child, input, answers };
        judge.run("result = 'ready'", json!({}))?;
        Ok(judge)
    }

    /// Runs a snippet in which `args` is the given value, and returns what it assigned to `result`.
    ///
    /// The snippet sees everything of `scapy.all` and the functions of `python/judge.py`.
    ///
    /// # Errors
    /// When the snippet raises; with its traceback.
    pub fn run(&mut self, snippet: &str, args: Value) -> Result<Value> {
        let request = json!({ "snippet": dedent(snippet), "args": args });
        writeln!(self.input, "{request}").context("the judge has ended")?;
        self.input.flush().context("the judge has ended")?;
        let line = match self.answers.recv_timeout(LIMIT) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => bail!("the judge gave no answer in {LIMIT:?} to:\n{snippet}"),
            Err(RecvTimeoutError::Disconnected) => bail!("the judge has ended at:\n{snippet}"),
        };
        let mut answer: Value =
            serde_json::from_str(&line).with_context(|| format!("the judge said {line:?}"))?;
        match answer["error"].as_str() {
            Some(error) => bail!("{}", error.trim()),
            None => Ok(answer["result"].take()),
        }
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Removes the indentation that all lines share, so that snippets can be indented with the Rust round them.
fn dedent(snippet: &str) -> String {
    let filled = || snippet.lines().filter(|line| !line.trim().is_empty());
    let indent = filled().map(|line| line.len() - line.trim_start_matches(' ').len()).min().unwrap_or(0);
    let lines: Vec<_> = snippet.lines().map(|line| line.get(indent..).unwrap_or("")).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removes_shared_indentation_only() {
        assert_eq!(dedent("\n    if x:\n        y()\n\n    z()\n"), "\nif x:\n    y()\n\nz()");
        assert_eq!(dedent("x = 1"), "x = 1");
    }
}
