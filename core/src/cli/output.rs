//! What is printed.

use std::io::{IsTerminal, Write};

use super::exit::Exit;

/// Prints JSON for people to read.
pub(super) fn print_json(value: &serde_json::Value) -> Exit {
    print(&format!("{value:#}"))
}

/// Prints a text and a newline. A reader that has had enough (`| head`) is no failure.
pub(super) fn print(text: &str) -> Exit {
    print_part(text).0
}

/// As [`print`], and says whether there is still a reader.
pub(super) fn print_part(text: &str) -> (Exit, bool) {
    match writeln!(std::io::stdout().lock(), "{text}") {
        Ok(()) => (Exit::Success, true),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => (Exit::Success, false),
        Err(_) => (Exit::Failure, false),
    }
}

/// Tells an error on stderr, in colour if a person is there to see it.
pub(super) fn report(message: &str, exit: Exit) -> Exit {
    if std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) {
        eprintln!("\x1b[1;31merror:\x1b[0m {message}");
    } else {
        eprintln!("error: {message}");
    }
    exit
}
