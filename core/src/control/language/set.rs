//! The set of known commands, and the walks of a line through their usages.

use raddle_plugin_api::config::nearest;

use super::error::CommandError;
use super::matcher::{Leaf, Walk, advance};
use super::token::Token;
use super::usage::{Usage, UsageError};

/// Usages shown with a message; when more commands come into question, their leading words are enough.
const MAX_USAGES_SHOWN: usize = 6;

/// Names a registered command as long as it is registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CommandId(u64);

/// All commands that a line may be.
#[derive(Debug, Clone, Default)]
pub struct CommandSet {
    commands: Vec<Command>,
    next_id: u64,
}

#[derive(Debug, Clone)]
pub(super) struct Command {
    pub id: CommandId,
    pub usage: Usage,
    pub help: String,
}

/// Why a command cannot be registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// The usage string is wrong.
    #[error(transparent)]
    Usage(#[from] UsageError),
    /// Another command has the same usage.
    #[error("command `{usage}` is already registered")]
    Duplicate {
        /// The usage string.
        usage: String,
    },
    /// The word belongs to the command language itself.
    #[error("`{word}` cannot begin a command: the shell has a command of that name")]
    Reserved {
        /// The first word.
        word: String,
    },
}

impl CommandSet {
    /// An empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a command by its usage string and one line of help.
    ///
    /// # Errors
    /// The usage is wrong, already registered, or begins with a word of the shell.
    pub fn register(&mut self, usage: &str, help: &str) -> Result<CommandId, RegisterError> {
        let usage = Usage::parse(usage)?;
        if let Some(word) =
            usage.leading_words().next().filter(|word| matches!(*word, "help" | "quit" | "exit"))
        {
            return Err(RegisterError::Reserved { word: word.to_owned() });
        }
        if self.commands.iter().any(|command| command.usage == usage) {
            return Err(RegisterError::Duplicate { usage: usage.to_string() });
        }
        let id = CommandId(self.next_id);
        self.next_id += 1;
        self.commands.push(Command { id, usage, help: help.to_owned() });
        Ok(id)
    }

    /// Removes a command; false when it is not registered (any more).
    pub fn remove(&mut self, id: CommandId) -> bool {
        let before = self.commands.len();
        self.commands.retain(|command| command.id != id);
        self.commands.len() < before
    }

    /// The usage of a command.
    pub fn usage(&self, id: CommandId) -> Option<&Usage> {
        self.commands.iter().find(|command| command.id == id).map(|command| &command.usage)
    }

    /// Leads walks over all commands along `tokens`; at least one is alive at the end.
    pub(super) fn walk<'s>(&'s self, line: &str, tokens: &[Token]) -> Result<Vec<Walk<'s>>, CommandError> {
        let mut walks: Vec<Walk<'s>> = self.starts(tokens.first());
        for (index, token) in tokens.iter().enumerate() {
            let rest = if index + 1 < tokens.len() { line[token.span.start..].trim_end() } else { "" };
            let next = advance(&walks, token, rest)
                .map_err(|words| CommandError::Ambiguous { token: token.text.clone(), words: words.0 })?;
            if next.is_empty() {
                return Err(self.dead_end(&walks, line, token, index));
            }
            walks = next;
        }
        Ok(walks)
    }

    /// Walks of the commands that can begin with `first`.
    fn starts<'s>(&'s self, first: Option<&Token>) -> Vec<Walk<'s>> {
        let fits = |command: &Command| match (first, command.usage.leading_words().next()) {
            (Some(token), Some(word)) => word.starts_with(&token.text),
            _ => true,
        };
        let commands = self.commands.iter().enumerate().filter(|(_, command)| fits(command));
        commands.map(|(index, command)| Walk::start(index, &command.usage)).collect()
    }

    fn dead_end(&self, walks: &[Walk<'_>], line: &str, token: &Token, index: usize) -> CommandError {
        if index == 0 {
            let words = self.first_words();
            let nearest = nearest(&token.text, words).map(str::to_owned);
            return CommandError::UnknownCommand { word: token.text.clone(), nearest };
        }
        let usage = self.usages(walks);
        let leaves: Vec<Leaf<'_>> = walks.iter().flat_map(|walk| walk.expected().0).map(|e| e.leaf).collect();
        let arguments: Vec<_> = leaves
            .iter()
            .filter_map(|leaf| match leaf {
                Leaf::Argument(argument) => Some(*argument),
                Leaf::Word(..) => None,
            })
            .collect();
        if let ([argument, others @ ..], true) = (arguments.as_slice(), arguments.len() == leaves.len())
            && others.iter().all(|other| other.kind == argument.kind)
        {
            return CommandError::BadValue {
                token: token.text.clone(),
                expected: argument.kind.describe(),
                argument: argument.name.clone(),
                usage,
            };
        }
        let words = leaves.iter().filter_map(|leaf| match leaf {
            Leaf::Word(word, _) => Some(word.text.as_str()),
            Leaf::Argument(_) => None,
        });
        CommandError::Unexpected {
            token: token.text.clone(),
            before: line[..token.span.start].trim().to_owned(),
            nearest: nearest(&token.text, words).map(str::to_owned),
            expected: expectations(walks),
            usage,
        }
    }

    /// Usages of the commands of these walks, one a line.
    pub(super) fn usages(&self, walks: &[Walk<'_>]) -> String {
        let mut indices: Vec<usize> = walks.iter().map(|walk| walk.command).collect();
        indices.dedup();
        let mut usages: Vec<String> = indices
            .iter()
            .take(MAX_USAGES_SHOWN)
            .map(|index| self.commands[*index].usage.to_string())
            .collect();
        if indices.len() > MAX_USAGES_SHOWN {
            usages.push(format!("… and {} more", indices.len() - MAX_USAGES_SHOWN));
        }
        usages.join("\n")
    }

    /// The first words of all commands, each once, sorted.
    pub(super) fn first_words(&self) -> Vec<&str> {
        let mut words: Vec<&str> =
            self.commands.iter().filter_map(|c| c.usage.leading_words().next()).collect();
        words.push("help");
        words.sort_unstable();
        words.dedup();
        words
    }

    pub(super) fn commands(&self) -> &[Command] {
        &self.commands
    }
}

/// What may come next, as it stands in usages, each once.
pub(super) fn expectations(walks: &[Walk<'_>]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for expected in walks.iter().flat_map(|walk| walk.expected().0) {
        let text = match expected.leaf {
            Leaf::Word(word, _) => format!("`{}`", word.text),
            Leaf::Argument(argument) => argument.to_string(),
        };
        if !found.contains(&text) {
            found.push(text);
        }
    }
    found
}
