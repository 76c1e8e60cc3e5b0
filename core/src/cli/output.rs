//! What is printed.

use std::io::{IsTerminal, Write};

use super::exit::Exit;

/// Prints JSON for people to read.
pub(super) fn print_json(value: &serde_json::Value) -> Exit {
    print(&format!("{value:#}"))
}

/// Prints a text and a newline. A reader that has had enough (`| head`) is no failure.
pub(super) fn print(text: &str) -> Exit {
    match writeln!(std::io::stdout().lock(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Exit::Failure,
        _ => Exit::Success,
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
