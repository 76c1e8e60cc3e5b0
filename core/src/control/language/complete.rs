//! Completion, made of usages and of names that are known at run time.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::error::CommandError;
use super::matcher::Leaf;
use super::set::CommandSet;
use super::token::{Token, quote, tokenise};
use super::types::ArgumentType;
use super::usage::Argument;

/// Candidates sent at most.
const MAX_CANDIDATES: usize = 500;

/// What may stand at the cursor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Completion {
    /// Byte of the line from which a candidate replaces what is there, up to the cursor.
    pub start: usize,
    /// The candidates, sorted.
    pub candidates: Vec<Candidate>,
    /// Whether the line before the word at the cursor is a whole command.
    pub may_end: bool,
}

/// One thing that may stand at the cursor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Candidate {
    /// The text; quoted where it must be.
    pub text: String,
    /// One line on it.
    pub help: String,
    /// Whether it only says what is expected (`<count:u32>`), and is not to be inserted.
    pub placeholder: bool,
}

/// The argument that is being completed.
#[derive(Debug, Clone, Copy)]
pub struct Query<'q> {
    /// The argument's type.
    pub kind: ArgumentType,
    /// The argument's name.
    pub argument: &'q str,
    /// Usage of the command.
    pub usage: &'q super::usage::Usage,
    /// What has been typed of the value.
    pub partial: &'q str,
}

/// Knows the names of things that exist at run time: interfaces, nodes, plugins, and what a plugin's commands take.
pub trait Completer {
    /// Values that may stand for the argument, each with a line of help. Those that do not begin with what was typed
    /// are dropped by the caller.
    fn values(&self, query: &Query<'_>) -> Vec<(String, String)>;
}

/// Knows no names.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoCompleter;

impl Completer for NoCompleter {
    fn values(&self, _: &Query<'_>) -> Vec<(String, String)> {
        Vec::new()
    }
}

impl CommandSet {
    /// What may stand at byte `cursor` of `line`; nothing when the line before it is wrong.
    pub fn complete(&self, line: &str, cursor: usize, completer: &dyn Completer) -> Completion {
        complete(self, line, cursor, completer).unwrap_or(Completion {
            start: cursor.min(line.len()),
            candidates: Vec::new(),
            may_end: false,
        })
    }
}

/// As [`CommandSet::complete`], but says why the line before the cursor is wrong.
pub(super) fn complete(
    set: &CommandSet,
    line: &str,
    cursor: usize,
    completer: &dyn Completer,
) -> Result<Completion, CommandError> {
    let mut cursor = cursor.min(line.len());
    while !line.is_char_boundary(cursor) {
        cursor -= 1;
    }
    let line = &line[..cursor];
    let mut tokens = tokenise(line)?.tokens;
    let partial = match tokens.last() {
        Some(last) if last.span.end == cursor => tokens.pop(),
        _ => None,
    };
    let partial = partial.unwrap_or(Token { text: String::new(), span: cursor..cursor, quoted: false });
    // `help` takes the words of the commands.
    let is_help = tokens.first().is_some_and(|first| !first.quoted && first.text == "help");
    let before = if is_help { &tokens[1..] } else { &tokens[..] };

    let mut candidates: Vec<Candidate> = Vec::new();
    let mut add = |text: String, help: String, placeholder: bool| match candidates
        .iter_mut()
        .find(|c| c.text == text)
    {
        // Several commands go on with this word: no single line of help fits it.
        Some(known) if known.help != help && !placeholder => known.help = String::new(),
        Some(_) => {}
        None => candidates.push(Candidate { text, help, placeholder }),
    };
    let mut may_end = is_help;
    for walk in set.walk(line, before)? {
        let command = &set.commands()[walk.command];
        let (expected, ends) = walk.expected();
        may_end |= ends;
        for leaf in expected.into_iter().map(|expected| expected.leaf) {
            match leaf {
                Leaf::Word(word, _) => {
                    if !partial.quoted && word.text.starts_with(&partial.text) {
                        add(word.text.clone(), command.help.clone(), false);
                    }
                }
                Leaf::Argument(_) if is_help => {}
                Leaf::Argument(argument) => {
                    let query = Query {
                        kind: argument.kind,
                        argument: &argument.name,
                        usage: &command.usage,
                        partial: &partial.text,
                    };
                    let mut any = false;
                    for (value, help) in values(argument, &query, completer) {
                        if value.starts_with(&partial.text) {
                            any = true;
                            add(quote(&value), help, false);
                        }
                    }
                    if !any && (partial.text.is_empty() || argument.kind.read(&partial.text).is_some()) {
                        add(argument.to_string(), argument.kind.describe(), true);
                    }
                }
            }
        }
    }
    if before.is_empty() && !is_help && !partial.quoted && "help".starts_with(&partial.text) {
        add("help".into(), "list commands, or those that begin with the words".into(), false);
    }
    candidates.sort_by(|a, b| (a.placeholder, &a.text).cmp(&(b.placeholder, &b.text)));
    candidates.truncate(MAX_CANDIDATES);
    Ok(Completion { start: partial.span.start, candidates, may_end })
}

fn values(argument: &Argument, query: &Query<'_>, completer: &dyn Completer) -> Vec<(String, String)> {
    if argument.kind == ArgumentType::OnOff {
        return vec![("off".into(), String::new()), ("on".into(), String::new())];
    }
    completer.values(query)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Names;

    impl Completer for Names {
        fn values(&self, query: &Query<'_>) -> Vec<(String, String)> {
            let names: &[&str] = match (query.kind, query.argument) {
                (ArgumentType::Interface, _) => &["tap0", "tap1", "loop 0"],
                (_, "list") => &["inside"],
                _ => &[],
            };
            names.iter().map(|name| ((*name).to_owned(), "a thing".to_owned())).collect()
        }
    }

    fn texts(line: &str) -> (usize, Vec<String>) {
        let mut set = CommandSet::new();
        for usage in [
            "show interface [<interface>] [detail]",
            "show runtime",
            "set interface state <interface> up|down",
            "set checksum <on-off>",
            "acl add <list> [at <index:u32>]",
        ] {
            set.register(usage, usage).unwrap();
        }
        let completion = set.complete(line, line.len(), &Names);
        (completion.start, completion.candidates.into_iter().map(|candidate| candidate.text).collect())
    }

    #[test]
    fn offers_what_the_usages_allow() {
        let cases: &[(&str, usize, &[&str])] = &[
            ("", 0, &["acl", "help", "set", "show"]),
            ("s", 0, &["set", "show"]),
            ("sh", 0, &["show"]),
            ("show ", 5, &["interface", "runtime"]),
            ("sh int ", 7, &["\"loop 0\"", "detail", "tap0", "tap1"]),
            ("sh int ta", 7, &["tap0", "tap1"]),
            ("sh int \"lo", 7, &["\"loop 0\""]),
            ("show interface tap0 ", 20, &["detail"]),
            ("set interface state tap0 ", 25, &["down", "up"]),
            ("set checksum ", 13, &["off", "on"]),
            ("acl add ", 8, &["inside"]),
            ("acl add x at ", 13, &["<index:u32>"]),
            ("acl add x at 1", 13, &["<index:u32>"]),
            ("acl add x at y", 13, &[]),
            ("help sh", 5, &["show"]),
            ("help show ", 10, &["interface", "runtime"]),
            ("nonsense ", 9, &[]),
        ];
        for (line, start, expected) in cases {
            let expected: Vec<String> = expected.iter().map(|text| (*text).to_owned()).collect();
            assert_eq!(texts(line), (*start, expected), "{line}");
        }
    }

    #[test]
    fn a_cursor_within_the_line_or_past_it_is_fine() {
        let mut set = CommandSet::new();
        set.register("show ä", "").unwrap_err();
        set.register("show x", "").unwrap();
        for cursor in 0..12 {
            let _ = set.complete("shöw x", cursor, &NoCompleter);
        }
        assert_eq!(set.complete("show x", 2, &NoCompleter).candidates.len(), 1);
    }
}
