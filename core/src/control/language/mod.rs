//! The command language: usage strings, and what is made of them — parsing, completion, help.

mod complete;
mod error;
mod help;
mod interpret;
mod matcher;
mod set;
mod token;
mod types;
mod usage;

#[cfg(test)]
mod laws;

pub use complete::{Candidate, Completer, Completion, NoCompleter, Query};
pub use error::CommandError;
pub use help::{HelpEntry, HelpPage};
pub use interpret::{Interpreted, Invocation};
pub use set::{CommandId, CommandSet, RegisterError};
pub use token::{MAX_LINE_BYTES, MAX_TOKENS, Token, TokenError, Tokens, quote, tokenise};
pub use types::{ArgumentType, TYPE_NAMES};
pub use usage::{Argument, Choice, Element, Usage, UsageError, Word};
