//! Running a program to its end, within a time limit.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Limit for programs that should answer at once; generous because the machine is shared.
pub const LIMIT: Duration = Duration::from_secs(60);

/// What a program left: its exit code and both streams as text.
#[derive(Debug, Clone)]
pub struct Finished {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// A command from words separated by white space: `words("ip -n x link show")`.
///
/// # Panics
/// On an empty line: the caller wrote it.
#[must_use]
pub fn words(line: &str) -> Command {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().expect("a program to run"));
    command.args(words);
    command
}

/// The command as a person would type it, for messages.
#[must_use]
pub fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Runs `command` and demands exit code 0; returns standard output.
///
/// # Errors
/// When the program is missing, fails, or runs longer than [`LIMIT`]; with what it wrote.
pub fn run(command: &mut Command) -> Result<String> {
    let finished = finish(command, LIMIT)?;
    if finished.code != Some(0) {
        let Finished { code, stdout, stderr } = finished;
        bail!("`{}` ended with {code:?}: {}{}", shown(command), stderr.trim(), stdout.trim());
    }
    Ok(finished.stdout)
}

/// Runs `command` to its end, whatever its exit code. Its standard input is empty.
///
/// # Errors
/// When the program cannot be started or runs longer than `limit`; it is killed then.
pub fn finish(command: &mut Command, limit: Duration) -> Result<Finished> {
    let line = shown(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{line}`"))?;
    let stdout = child.stdout.take().map(drain);
    let stderr = child.stderr.take().map(drain);
    let status = exit_within(&mut child, limit)?;
    if status.is_none() {
        child.kill()?;
        child.wait()?;
    }
    let text = |reader: Option<std::thread::JoinHandle<String>>| {
        reader.and_then(|thread| thread.join().ok()).unwrap_or_default()
    };
    let (stdout, stderr) = (text(stdout), text(stderr));
    match status {
        Some(status) => Ok(Finished { code: status.code(), stdout, stderr }),
        None => bail!("`{line}` still ran after {limit:?}: {}{}", stderr.trim(), stdout.trim()),
    }
}

/// Waits until `child` ends; `None` when it still runs after `limit`.
///
/// # Errors
/// When the system refuses to wait for it.
pub fn exit_within(child: &mut Child, limit: Duration) -> Result<Option<std::process::ExitStatus>> {
    let begin = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if begin.elapsed() >= limit {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn drain(mut stream: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // A broken pipe ends the text early; the exit code tells the rest.
        let _ = stream.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returns_the_output_of_a_success() {
        assert_eq!(run(&mut words("echo two words")).unwrap(), "two words\n");
    }

    #[test]
    fn names_program_code_and_words_of_a_failure() {
        let error = run(&mut words("ls /does/not/exist")).unwrap_err().to_string();
        assert!(
            error.contains("ls /does/not/exist") && error.contains('2') && error.contains("No such"),
            "{error}"
        );
    }

    #[test]
    fn kills_what_runs_too_long() {
        let begin = Instant::now();
        let error = finish(&mut words("sleep 60"), Duration::from_millis(50)).unwrap_err().to_string();
        assert!(error.contains("still ran"), "{error}");
        assert!(begin.elapsed() < Duration::from_secs(30));
    }
}
