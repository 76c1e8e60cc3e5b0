//! The binary as a user meets it: exit codes and messages. Runs without root.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use raddle::control::language::{CommandSet, Completion, Interpreted, NoCompleter};
use raddle::control::protocol::{Executor, Failure, Format, Reply};
use raddle::control::server::{Limits, Server};
use serde_json::json;

fn raddle(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_raddle"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Exit code, standard output, standard error.
fn outcome(output: Output) -> (i32, String, String) {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn run(arguments: &[&str]) -> (i32, String, String) {
    outcome(raddle(arguments).output().unwrap())
}

fn run_with_input(arguments: &[&str], input: &str) -> (i32, String, String) {
    let mut child = raddle(arguments).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    outcome(child.wait_with_output().unwrap())
}

fn write(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Commands that need no dataplane.
struct Daemon(CommandSet);

impl Daemon {
    fn start(directory: &Path) -> (String, Server) {
        let mut set = CommandSet::new();
        for usage in ["show thing [<name>]", "fail", "log <text:string>"] {
            set.register(usage, "helps").unwrap();
        }
        let path = directory.join("raddle.sock");
        let server = Server::start(&path, Arc::new(Daemon(set)), Limits::default()).unwrap();
        (path.to_str().unwrap().to_owned(), server)
    }
}

impl Executor for Daemon {
    fn execute(&self, line: &str, _: Format) -> Reply {
        match self.0.interpret(line)? {
            Interpreted::Nothing => Ok(json!(null).into()),
            Interpreted::Help(page) => Ok(json!(page.to_string()).into()),
            Interpreted::Command(_) if line == "fail" => Err(Failure::new("it failed")),
            Interpreted::Command(invocation) => Ok(json!([invocation.arguments]).into()),
        }
    }

    fn complete(&self, line: &str, cursor: usize) -> Completion {
        self.0.complete(line, cursor, &NoCompleter)
    }
}

#[test]
fn version_and_help_are_printed() {
    let (code, out, _) = run(&["--version"]);
    assert_eq!((code, out), (0, format!("raddle {}\n", env!("CARGO_PKG_VERSION"))));
    let (code, out, _) = run(&["--help"]);
    assert_eq!(code, 0);
    for part in ["run", "ctl", "config", "plugin", "Exit codes"] {
        assert!(out.contains(part), "{part}: {out}");
    }
    assert!(run(&["ctl", "--help"]).1.contains("raddle ctl --json show interface"));
}

#[test]
fn wrong_arguments_exit_with_2() {
    for arguments in [&[][..], &["frobnicate"], &["config"], &["config", "check"], &["run", "--nonsense"]] {
        let (code, out, error) = run(arguments);
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}");
        assert!(error.contains("Usage:"), "{error}");
    }
}

#[test]
fn config_check_says_ok() {
    let directory = tempfile::tempdir().unwrap();
    let file = write(directory.path(), "empty.toml", "");
    assert_eq!(run(&["config", "check", &file]), (0, format!("{file}: ok\n"), String::new()));
}

#[test]
fn config_check_reports_all_mistakes_and_exits_with_2() {
    let directory = tempfile::tempdir().unwrap();
    let good = write(directory.path(), "good.toml", "[runtime]\nworkers = 1\n");
    let bad = write(directory.path(), "bad.toml", "[runtime]\nwrokers = 1\n\n[log]\nlevel = 3\n");
    let (code, out, error) = run(&["config", "check", &bad, &good]);
    assert_eq!((code, out), (2, format!("{good}: ok\n")));
    assert_eq!(
        error,
        format!(
            "{bad}:2:1: unknown key `wrokers`; did you mean `workers`?\n  2 | wrokers = 1\n    | ^^^^^^^\n\
             {bad}:5:9: expected a string\n  5 | level = 3\n    |         ^\n"
        )
    );
    let (code, _, error) = run(&["config", "check", "/nonexistent/file.toml"]);
    assert_eq!(code, 2);
    assert!(error.starts_with("cannot read /nonexistent/file.toml: "), "{error}");
}

#[test]
fn run_starts_nothing_with_a_wrong_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("s");
    let text = format!("[control]\nsocket = '{}'\n[buffers]\ncount = -1\n", socket.display());
    let bad = write(directory.path(), "bad.toml", &text);
    let (code, out, error) = run(&["run", "-c", &bad]);
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(error.contains(":4:9: expected an integer from 0 to 4294967295, found integer `-1`"), "{error}");
    assert!(!socket.exists());
}

#[test]
fn schemas_are_json() {
    for arguments in [&["config", "schema"][..], &["ctl", "--schema"]] {
        let (code, out, _) = run(arguments);
        assert_eq!(code, 0);
        assert!(serde_json::from_str::<serde_json::Value>(&out).unwrap().is_object());
    }
}

#[test]
fn ctl_runs_one_command() {
    let directory = tempfile::tempdir().unwrap();
    let (socket, _server) = Daemon::start(directory.path());
    let ctl = |arguments: &[&str]| run(&[&["ctl", "--socket", &socket], arguments].concat());
    assert_eq!(ctl(&["show", "thing", "a b"]), (0, "name\na b\n".into(), String::new()));
    assert_eq!(ctl(&["show thing x"]), (0, "name\nx\n".into(), String::new()));
    assert_eq!(ctl(&["--json", "show", "thing", "x"]), (0, "[{\"name\":\"x\"}]\n".into(), String::new()));
    assert_eq!(ctl(&["fail"]), (1, String::new(), "error: it failed\n".into()));
    assert_eq!(
        ctl(&["show", "thing", "a", "b"]),
        (
            2,
            String::new(),
            "error: unexpected `b` after `show thing a`; the line should end there\nusage: show thing [<name>]\n".into()
        )
    );
    assert!(ctl(&["show", "?"]).1.contains("thing"));
}

#[test]
fn ctl_says_when_no_daemon_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("raddle.sock");
    let socket = socket.to_str().unwrap();
    let expected = format!(
        "error: cannot reach raddle at {socket}: no such socket; is the daemon running? (`raddle run` starts it)\n"
    );
    assert_eq!(run(&["ctl", "--socket", socket, "show"]), (4, String::new(), expected.clone()));
    assert_eq!(run(&["ctl", "--socket", socket]), (4, String::new(), expected));
}

#[test]
fn ctl_runs_the_lines_of_a_pipe_and_returns_the_worst() {
    let directory = tempfile::tempdir().unwrap();
    let (socket, _server) = Daemon::start(directory.path());
    let ctl = |input: &str| run_with_input(&["ctl", "--socket", &socket], input);
    assert_eq!(
        ctl("# a comment\n\nlog one  two\nfail\nshow thing x\n"),
        (1, "text\none  two\nname\nx\n".into(), "error: it failed\n".into())
    );
    assert_eq!(ctl("show thing a\nquit\nfail\n"), (0, "name\na\n".into(), String::new()));
    assert_eq!(ctl(""), (0, String::new(), String::new()));
}
