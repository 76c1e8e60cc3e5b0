//! A session with the daemon: commands go there, and what they return is printed.

use std::io::IsTerminal;
use std::path::PathBuf;

use super::exit::Exit;
use super::output::{print, print_json, report};
use crate::control::client::{Answer, Client, ClientError};
use crate::control::language::Completion;
use crate::control::protocol::{Failure, Format};

/// A connection that is made when it is needed, and again after the daemon was restarted.
pub(super) struct Session {
    path: PathBuf,
    client: Option<Client>,
    json: bool,
}

impl Session {
    /// A session with the daemon at `path`; `json` asks for data instead of text.
    pub fn new(path: PathBuf, json: bool) -> Self {
        Session { path, client: None, json }
    }

    /// What may stand at byte `cursor` of `line`; nothing when the daemon does not answer, which the next command tells.
    pub fn complete(&mut self, line: &str, cursor: usize) -> Option<Completion> {
        let completion = self.client().and_then(|client| client.complete(line, cursor));
        if completion.is_err() {
            self.client = None;
        }
        completion
            .ok()
            .filter(|completion| completion.start <= cursor && line.is_char_boundary(completion.start))
    }

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
