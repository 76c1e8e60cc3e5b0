//! Help, made of usages.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::complete::{NoCompleter, complete};
use super::error::CommandError;
use super::set::CommandSet;
use super::token::Token;

/// A page of help.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HelpPage {
    /// What can be typed, and what it does.
    pub entries: Vec<HelpEntry>,
}

/// A line of help.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HelpEntry {
    /// A usage, a word, or an argument.
    pub usage: String,
    /// One line on it.
    pub help: String,
}

impl fmt::Display for HelpPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width =
            self.entries.iter().map(|entry| entry.usage.chars().count()).filter(|width| *width <= 40).max();
        let width = width.unwrap_or(0);
        for (index, HelpEntry { usage, help }) in self.entries.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            if help.is_empty() {
                write!(f, "  {usage}")?;
            } else if usage.chars().count() > width {
                write!(f, "  {usage}\n  {:width$}  {help}", "")?;
            } else {
                write!(f, "  {usage:width$}  {help}")?;
            }
        }
        Ok(())
    }
}

impl CommandSet {
    /// The page for `help [WORD…]`: all commands, or those that begin with the words and what their arguments are.
    pub(super) fn help(&self, words: &[Token]) -> Result<HelpPage, CommandError> {
        let begins = |usage: &mut dyn Iterator<Item = &str>| {
            words.iter().all(|token| usage.next().is_some_and(|word| word.starts_with(&token.text)))
        };
        let found: Vec<_> =
            self.commands().iter().filter(|command| begins(&mut command.usage.leading_words())).collect();
        let mut entries: Vec<HelpEntry> = found
            .iter()
            .map(|command| HelpEntry { usage: command.usage.to_string(), help: command.help.clone() })
            .collect();
        entries.sort_by(|a, b| a.usage.cmp(&b.usage));
        if let [command] = found.as_slice() {
            entries.extend(command.usage.arguments().into_iter().map(|argument| HelpEntry {
                usage: argument.to_string(),
                help: match argument.repeated {
                    true => format!("{}, once or more", argument.kind.describe()),
                    false => argument.kind.describe(),
                },
            }));
        }
        match (entries.is_empty(), words.first()) {
            (true, Some(first)) => {
                let known = self.first_words().iter().any(|word| word.starts_with(&first.text));
                let nearest = raddle_plugin_api::config::nearest(&first.text, self.first_words());
                let nearest = nearest.filter(|_| !known).map(str::to_owned);
                let word = words.iter().map(|token| token.text.as_str()).collect::<Vec<_>>().join(" ");
                Err(CommandError::UnknownCommand { word, nearest })
            }
            _ => {
                if words.is_empty() {
                    entries.push(HelpEntry {
                        usage: "help [<word…>]".into(),
                        help: "list commands, or those that begin with the words; `?` at the end of a line says what may follow"
                            .into(),
                    });
                }
                Ok(HelpPage { entries })
            }
        }
    }

    /// The page for `?` after a partial line: what may come next.
    pub(super) fn question(&self, line: &str) -> Result<HelpPage, CommandError> {
        let completion = complete(self, line, line.len(), &NoCompleter)?;
        let mut entries: Vec<HelpEntry> = completion
            .candidates
            .into_iter()
            .map(|candidate| HelpEntry { usage: candidate.text, help: candidate.help })
            .collect();
        if completion.may_end {
            entries.push(HelpEntry { usage: "<Enter>".into(), help: "run the command".into() });
        }
        Ok(HelpPage { entries })
    }
}

#[cfg(test)]
mod tests {
    use super::super::interpret::Interpreted;
    use super::*;

    fn page(line: &str) -> String {
        let mut set = CommandSet::new();
        set.register("show interface [<interface>] [detail]", "interfaces and their counters").unwrap();
        set.register("show runtime", "what each node costs").unwrap();
        set.register("ping <address:ip> [count <count:u32:1..100>]", "send echo requests").unwrap();
        match set.interpret(line) {
            Ok(Interpreted::Help(page)) => page.to_string(),
            Err(error) => error.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn help_lists_commands_by_their_leading_words() {
        assert_eq!(
            page("help show"),
            "  show interface [<interface>] [detail]  interfaces and their counters\n  show runtime                           what each node costs"
        );
        assert!(page("help").contains("help [<word…>]"));
        assert_eq!(page("help shwo"), "unknown command `shwo`; did you mean `show`?");
    }

    #[test]
    fn help_of_one_command_explains_its_arguments() {
        assert!(page("help ping").contains("<count:u32:1..100>"), "{}", page("help ping"));
        assert!(page("help ping").contains("a number from 1 to 100"));
    }

    #[test]
    fn a_question_mark_says_what_may_follow() {
        assert_eq!(
            page("show ?"),
            "  interface  interfaces and their counters\n  runtime    what each node costs"
        );
        assert_eq!(page("sh r?"), "  runtime  what each node costs");
        assert!(page("show interface ?").contains("<Enter>"));
        assert!(page("?").contains("ping"));
    }
}
