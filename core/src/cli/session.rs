//! A session with the daemon: commands go there, and what they return is printed.

use std::io::IsTerminal;
use std::path::PathBuf;

use serde_json::Value;

use super::exit::Exit;
use super::output::{print_part, report};
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
        let (mut printer, mut exit) = (Printer::default(), Exit::Success);
        let mut is_taken = true;
        let mut take = |answer: Answer, more: bool| {
            is_taken = printer.print(answer, more, &mut exit);
            is_taken
        };
        let outcome = self.client().and_then(|client| client.execute_each(line, format, &mut take));
        if !is_taken {
            self.client = None;
        }
        match outcome {
            Ok(Ok(())) => exit,
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

/// Prints an answer part by part; lists become one list.
#[derive(Default)]
struct Printer {
    /// A list was begun that is not ended yet.
    in_list: bool,
    /// It has elements.
    has_elements: bool,
}

impl Printer {
    /// Prints a part; `false` when nobody reads any more.
    fn print(&mut self, answer: Answer, more: bool, exit: &mut Exit) -> bool {
        let text = match (answer.data, answer.text) {
            (Some(Value::Array(list)), _) if more || self.in_list => self.list(&list, more),
            (Some(data), _) if std::io::stdout().is_terminal() => format!("{data:#}"),
            (Some(data), _) => data.to_string(),
            (None, Some(text)) if !text.is_empty() => text,
            _ => return true,
        };
        let (outcome, is_read) = print_part(&text);
        *exit = outcome;
        is_read
    }

    /// A part of a list, an element a line.
    fn list(&mut self, list: &[Value], more: bool) -> String {
        let mut text = if self.in_list { String::new() } else { "[".to_owned() };
        let mut elements = Vec::with_capacity(list.len());
        elements.extend(list.iter().map(Value::to_string));
        if self.has_elements && !elements.is_empty() {
            text.push(',');
        }
        text += &elements.join(",\n");
        self.has_elements |= !elements.is_empty();
        self.in_list = more;
        if !more {
            text.push(']');
        }
        text
    }
}

fn print_failure(failure: &Failure) -> Exit {
    let exit = if failure.usage.is_some() { Exit::Usage } else { Exit::Failure };
    let text = failure.render();
    report(text.strip_prefix("error: ").unwrap_or(&text), exit)
}
