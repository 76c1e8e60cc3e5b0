//! What is said when a line is not a command.

use super::token::TokenError;

/// Why a line is not a command: one sentence, and the usage where one command was clearly meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The line cannot be split into tokens.
    #[error(transparent)]
    Line(#[from] TokenError),
    /// A quote is not closed.
    #[error("a quote is not closed")]
    UnclosedQuote,
    /// No command begins with this word.
    #[error("unknown command `{word}`{}", meant(.nearest))]
    UnknownCommand {
        /// The first word of the line.
        word: String,
        /// The word that was probably meant.
        nearest: Option<String>,
    },
    /// A token abbreviates several words.
    #[error("`{token}` is ambiguous: `{}`", .words.join("`, `"))]
    Ambiguous {
        /// The token.
        token: String,
        /// The words it could be.
        words: Vec<String>,
    },
    /// A token is no value of the only thing that may stand there.
    #[error("<{argument}>: `{token}` is not {expected}")]
    BadValue {
        /// The token.
        token: String,
        /// What the type wants, in words.
        expected: String,
        /// The argument's name.
        argument: String,
        /// The usages in question, one a line.
        usage: String,
    },
    /// A token fits nothing that may stand there.
    #[error("unexpected `{token}` after `{before}`{}", expectation(.nearest, .expected))]
    Unexpected {
        /// The token.
        token: String,
        /// The line before it.
        before: String,
        /// The word that was probably meant.
        nearest: Option<String>,
        /// What may stand there; empty when nothing may.
        expected: Vec<String>,
        /// The usages in question, one a line.
        usage: String,
    },
    /// The line ends too early.
    #[error("`{line}` is incomplete{}", expectation(&None, .expected))]
    Incomplete {
        /// The line.
        line: String,
        /// What may come next.
        expected: Vec<String>,
        /// The usages in question, one a line.
        usage: String,
    },
}

impl CommandError {
    /// The usage of the command that was meant, or of the few that may be, one a line.
    pub fn usage(&self) -> Option<&str> {
        match self {
            CommandError::BadValue { usage, .. }
            | CommandError::Unexpected { usage, .. }
            | CommandError::Incomplete { usage, .. } => Some(usage),
            _ => None,
        }
    }
}

fn meant(nearest: &Option<String>) -> String {
    match nearest {
        Some(nearest) => format!("; did you mean `{nearest}`?"),
        None => "; `help` lists all commands".to_owned(),
    }
}

fn expectation(nearest: &Option<String>, expected: &[String]) -> String {
    match (nearest, expected) {
        (Some(_), _) => meant(nearest),
        (None, []) => "; the line should end there".to_owned(),
        (None, [one]) => format!("; expected {one}"),
        (None, [several @ .., last]) if several.len() < 8 => {
            format!("; expected {} or {last}", several.join(", "))
        }
        (None, several) => format!("; expected one of {} words", several.len()),
    }
}
