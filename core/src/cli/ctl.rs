//! `raddle ctl`: talks to a running dataplane.

use std::io::{BufRead, IsTerminal};
use std::path::PathBuf;

use super::args::CtlArguments;
use super::dispatch::{print, print_json};
use super::exit::Exit;
use super::shell;
use crate::control::client::{Answer, Client, ClientError};
use crate::control::protocol::{self, Failure, Format};
use crate::control::server::default_path;

/// Carries out what the arguments say.
pub(super) fn ctl(arguments: &CtlArguments) -> Exit {
    if arguments.schema {
        return print_json(&protocol::schema());
    }
    let path = arguments.socket.clone().unwrap_or_else(default_path);
    let mut session = Session { path, client: None, json: arguments.json };
    if !arguments.command.is_empty() {
        return session.run(&command_line(&arguments.command));
    }
    if let Err(error) = session.client() {
        return report(&error.to_string(), Exit::Unreachable);
    }
    if std::io::stdin().is_terminal() { shell::run(session) } else { run_lines(&mut session) }
}

/// A connection that is made when it is needed, and again after the daemon was restarted.
pub(super) struct Session {
    path: PathBuf,
    client: Option<Client>,
    json: bool,
}

impl Session {
    /// The connection.
    pub fn client(&mut self) -> Result<&mut Client, ClientError> {
        let client = match self.client.take() {
            Some(client) => client,
            None => Client::connect(&self.path)?,
        };
        Ok(self.client.insert(client))
    }

    /// Runs a command and prints what it returns.
    pub fn run(&mut self, line: &str) -> Exit {
        let format = if self.json { Format::Json } else { Format::Text };
        match self.client().and_then(|client| client.execute(line, format)) {
            Ok(Ok(answer)) => print_answer(answer),
            Ok(Err(failure)) => print_failure(&failure),
            Err(error) => {
                // What became of the command is not known, so it is not repeated; the next one connects again.
                self.client = None;
                report(&error.to_string(), Exit::Unreachable)
            }
        }
    }
}

/// Whether a line ends the session.
pub(super) fn is_farewell(line: &str) -> bool {
    matches!(line.trim(), "quit" | "exit")
}

/// Runs the lines of the standard input; goes on after a command that fails, and returns the worst.
fn run_lines(session: &mut Session) -> Exit {
    let mut worst = Exit::Success;
    for line in std::io::stdin().lock().lines() {
        let line = match line {
            Ok(line) => line,
            Err(error) => return report(&format!("cannot read the standard input: {error}"), Exit::Failure),
        };
        if is_farewell(&line) {
            break;
        }
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        let exit = session.run(&line);
        if exit == Exit::Unreachable {
            return exit;
        }
        worst = worst.max(exit);
    }
    worst
}

/// One line of the arguments. A lone argument is a line already; of several, each stays one word.
fn command_line(arguments: &[String]) -> String {
    let word = |argument: &String| {
        let is_plain = !argument.is_empty() && !argument.contains([' ', '\t', '\n', '\'', '"', '\\']);
        if is_plain { argument.clone() } else { crate::control::language::quote(argument) }
    };
    match arguments {
        [line] => line.clone(),
        words => words.iter().map(word).collect::<Vec<_>>().join(" "),
    }
}

fn print_answer(answer: Answer) -> Exit {
    match (answer.data, answer.text) {
        (Some(data), _) if std::io::stdout().is_terminal() => print_json(&data),
        (Some(data), _) => print(&data.to_string()),
        (None, Some(text)) if !text.is_empty() => print(&text),
        _ => Exit::Success,
    }
}

fn print_failure(failure: &Failure) -> Exit {
    let exit = if failure.usage.is_some() { Exit::Usage } else { Exit::Failure };
    let text = failure.render();
    report(text.strip_prefix("error: ").unwrap_or(&text), exit)
}

/// Tells an error on stderr, in colour if a person is there to see it.
fn report(message: &str, exit: Exit) -> Exit {
    if std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) {
        eprintln!("\x1b[1;31merror:\x1b[0m {message}");
    } else {
        eprintln!("error: {message}");
    }
    exit
}

#[cfg(test)]
impl Session {
    /// A session for tests.
    pub fn to(path: &std::path::Path) -> Self {
        Session { path: path.into(), client: None, json: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_become_one_line() {
        let line =
            |words: &[&str]| command_line(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert_eq!(line(&["show interface"]), "show interface");
        assert_eq!(line(&["show", "interface", "?"]), "show interface ?");
        assert_eq!(line(&["log", "a b", ""]), "log \"a b\" \"\"");
    }
}
