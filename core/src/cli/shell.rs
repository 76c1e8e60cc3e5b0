//! The interactive shell of `raddle ctl`. What can be typed is asked from the daemon.

use std::borrow::Cow;
use std::cell::RefCell;

use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::{Hint, Hinter};
use rustyline::history::FileHistory;
use rustyline::{CompletionType, Config, Context, Editor, Helper, Validator};

use super::exit::Exit;
use super::history;
use super::session::{Session, is_farewell};
use crate::control::language::{Candidate, Completion};

const PROMPT: &str = "raddle# ";

/// Reads and runs lines until the user leaves.
pub(super) fn run(session: Session) -> Exit {
    let config = Config::builder().completion_type(CompletionType::List).history_ignore_space(true).build();
    let mut editor: Editor<Daemon, FileHistory> = match Editor::with_config(config) {
        Ok(editor) => editor,
        Err(error) => return failed(&error),
    };
    editor.set_helper(Some(Daemon { session: RefCell::new(session) }));
    let history = history::path();
    if let Some(path) = &history {
        // There is none at the first time.
        let _ = editor.load_history(path);
    }
    println!("`help` lists the commands, `?` at the end of a line says what may follow, Ctrl-D leaves.");
    let exit = converse(&mut editor);
    if let Some(path) = &history
        && let Err(error) =
            history::make_directory(path).map_err(Into::into).and_then(|()| editor.append_history(path))
    {
        eprintln!("the history cannot be kept in {}: {error}", path.display());
    }
    exit
}

fn converse(editor: &mut Editor<Daemon, FileHistory>) -> Exit {
    loop {
        match editor.readline(PROMPT) {
            Ok(line) if is_farewell(&line) => return Exit::Success,
            Ok(line) if line.trim().is_empty() => {}
            Ok(line) => {
                // Only a line that cannot be kept is not; that must not keep it from being run.
                let _ = editor.add_history_entry(line.as_str());
                if let Some(daemon) = editor.helper() {
                    // The error has been told; the shell goes on.
                    daemon.session.borrow_mut().run(&line);
                }
            }
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => return Exit::Success,
            Err(error) => return failed(&error),
        }
    }
}

fn failed(error: &ReadlineError) -> Exit {
    eprintln!("error: the terminal cannot be used: {error}");
    Exit::Failure
}

/// Completes and hints by asking the daemon.
#[derive(Helper, Validator)]
struct Daemon {
    session: RefCell<Session>,
}

impl Daemon {
    fn ask(&self, line: &str, cursor: usize) -> Option<Completion> {
        self.session.try_borrow_mut().ok()?.complete(line, cursor)
    }
}

impl Completer for Daemon {
    type Candidate = Pair;

    fn complete(&self, line: &str, cursor: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let Some(completion) = self.ask(line, cursor) else { return Ok((cursor, Vec::new())) };
        let typed = &line[completion.start..cursor];
        let pair = |candidate: Candidate| Pair {
            display: match candidate.help.as_str() {
                "" => candidate.text.clone(),
                help => format!("{:16}  {help}", candidate.text),
            },
            replacement: match candidate.placeholder {
                // Stands in the list, so that no other candidate is taken for the only one, but inserts nothing.
                true => typed.to_owned(),
                // The blank says that the word is whole.
                false => format!("{} ", candidate.text),
            },
        };
        Ok((completion.start, completion.candidates.into_iter().map(pair).collect()))
    }
}

/// What is shown dimly after the cursor.
#[derive(Debug, PartialEq, Eq)]
struct Suggestion {
    text: String,
    /// Whether the right arrow takes it over.
    insert: bool,
}

impl Hint for Suggestion {
    fn display(&self) -> &str {
        &self.text
    }

    fn completion(&self) -> Option<&str> {
        self.insert.then_some(&self.text)
    }
}

impl Hinter for Daemon {
    type Hint = Suggestion;

    fn hint(&self, line: &str, cursor: usize, _: &Context<'_>) -> Option<Suggestion> {
        if line.trim().is_empty() || cursor < line.len() {
            return None;
        }
        let completion = self.ask(line, cursor)?;
        let [only] = completion.candidates.as_slice() else { return None };
        let typed = &line[completion.start..];
        if only.placeholder {
            return typed.is_empty().then(|| Suggestion { text: only.text.clone(), insert: false });
        }
        let text = only.text.strip_prefix(typed).filter(|rest| !rest.is_empty())?.to_owned();
        Some(Suggestion { text, insert: true })
    }
}

/// Only called when the terminal has colours.
impl Highlighter for Daemon {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _: bool) -> Cow<'b, str> {
        Cow::Owned(format!("\x1b[1m{prompt}\x1b[0m"))
    }

    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        Cow::Owned(format!("\x1b[2m{hint}\x1b[0m"))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustyline::history::DefaultHistory;

    use super::*;
    use crate::control::protocol::tests::Sample;
    use crate::control::server::{Limits, Server};

    #[test]
    fn completion_and_hints_come_from_the_daemon() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let mut server = Server::start(&path, Arc::new(Sample::new()), Limits::default()).unwrap();
        let daemon = Daemon { session: RefCell::new(Session::new(path.clone(), false)) };
        let history = DefaultHistory::new();
        let context = Context::new(&history);

        let (start, pairs) = daemon.complete("sh", 2, &context).unwrap();
        assert_eq!((start, pairs[0].replacement.as_str()), (0, "show "));
        let hint = |line: &str| daemon.hint(line, line.len(), &context);
        assert_eq!(hint("sho"), Some(Suggestion { text: "w".into(), insert: true }));
        assert_eq!(hint("big "), Some(Suggestion { text: "<bytes:u32>".into(), insert: false }));
        assert_eq!(hint("nonsense "), None);
        assert_eq!(
            daemon.complete("big ", 4, &context).unwrap().1[0].replacement,
            "",
            "a placeholder is not inserted"
        );

        server.stop();
        assert_eq!(hint("sho"), None);
        assert!(daemon.complete("sh", 2, &context).unwrap().1.is_empty());
        let _restarted = Server::start(&path, Arc::new(Sample::new()), Limits::default()).unwrap();
        assert!(hint("sho").is_some(), "it connects again");
    }
}
