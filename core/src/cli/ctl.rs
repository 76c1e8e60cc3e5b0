//! `raddle ctl`: talks to a running dataplane.

use std::io::{BufRead, IsTerminal};

use super::args::CtlArguments;
use super::exit::Exit;
use super::output::{print_json, report};
use super::session::{Session, is_farewell};
use super::shell;
use crate::control::protocol;
use crate::control::server::default_path;

/// Carries out what the arguments say.
pub(super) fn ctl(arguments: &CtlArguments) -> Exit {
    if arguments.schema {
        return print_json(&protocol::schema());
    }
    let path = arguments.socket.clone().unwrap_or_else(default_path);
    let mut session = Session::new(path, arguments.json);
    if !arguments.command.is_empty() {
        return session.run(&command_line(&arguments.command));
    }
    if let Err(error) = session.client() {
        return report(&error.to_string(), Exit::Unreachable);
    }
    if std::io::stdin().is_terminal() { shell::run(session) } else { run_lines(&mut session) }
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
