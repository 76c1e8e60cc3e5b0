//! Usage strings: the grammar of one command, typed once.
//!
//! ```text
//! usage    = sequence
//! sequence = item { item }
//! item     = choice | "[" sequence "]"
//! choice   = atom { "|" atom }
//! atom     = word | argument | "(" sequence ")"
//! argument = "<" name [ ":" type [ ":" min ".." max ] ] [ "…" ] ">" [ "…" ]
//! ```
//!
//! `...` stands for `…`. Groups in brackets that follow each other may come in any order, each at most once. The bounds of
//! a number are both included. A repeated argument, and a `string` that is to take the rest of the line, come last.

use std::collections::BTreeMap;
use std::fmt;

use super::types::{ArgumentType, TYPE_NAMES, greatest};

/// Depth to which groups may nest.
const MAX_DEPTH: usize = 16;
/// Optional groups that may follow each other.
pub(super) const MAX_GROUPS: usize = 64;

/// The grammar of one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    elements: Vec<Element>,
}

/// A part of a usage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Element {
    /// A literal word.
    Word(Word),
    /// A value that the user types.
    Argument(Argument),
    /// Exactly one of several sequences. None of them matches the empty line.
    Choice(Choice),
    /// Groups that may be left out and come in any order.
    Options(Vec<Vec<Element>>),
}

/// A literal word of a usage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// The word.
    pub text: String,
    /// Whether it is told to the command: it stands in a group or choice, and no argument has its name.
    pub recorded: bool,
}

/// An argument of a usage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    /// The key under which the command finds the value.
    pub name: String,
    /// The type of the value.
    pub kind: ArgumentType,
    /// Whether it takes one value or more, given as an array.
    pub repeated: bool,
    /// Whether it takes the rest of the line as it was typed: a `string` that comes last.
    pub rest_of_line: bool,
}

/// A choice between sequences.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The key under which the command finds the word chosen (`up|down`); set if all alternatives are single words.
    pub key: Option<String>,
    /// The alternatives.
    pub alternatives: Vec<Vec<Element>>,
}

/// What is wrong with a usage string.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("bad usage `{usage}`, column {column}: {reason}")]
pub struct UsageError {
    /// The usage string.
    pub usage: String,
    /// Column in characters, counted from 1.
    pub column: usize,
    /// What is wrong there.
    pub reason: String,
}

impl Usage {
    /// Parses a usage string.
    ///
    /// # Errors
    /// The string does not follow the grammar; a name is used twice; something that must come last does not.
    pub fn parse(text: &str) -> Result<Self, UsageError> {
        let mut parser = Parser { chars: text.chars().collect(), at: 0 };
        let located = |(at, reason): Fault| UsageError { usage: text.to_owned(), column: at + 1, reason };
        let mut elements = parser.sequence(0, None).map_err(located)?;
        if !matches!(elements.first(), Some(Element::Word(_))) {
            return Err(located((0, "a usage begins with a word".into())));
        }
        let mut arguments = BTreeMap::new();
        check_names(&elements, &mut arguments).map_err(|reason| located((0, reason)))?;
        check_tail(&mut elements, true).map_err(|reason| located((0, reason)))?;
        mark_recorded(&mut elements, &arguments, false);
        Ok(Usage { elements })
    }

    /// The parts, in order.
    pub fn elements(&self) -> &[Element] {
        &self.elements
    }

    /// The words that the usage begins with, up to the first argument, choice or group.
    pub fn leading_words(&self) -> impl Iterator<Item = &str> {
        self.elements.iter().map_while(|element| match element {
            Element::Word(word) => Some(word.text.as_str()),
            _ => None,
        })
    }

    /// All arguments, in order, each name once.
    pub fn arguments(&self) -> Vec<&Argument> {
        fn collect<'u>(elements: &'u [Element], found: &mut Vec<&'u Argument>) {
            for element in elements {
                match element {
                    Element::Word(_) => {}
                    Element::Argument(argument) if found.iter().any(|known| known.name == argument.name) => {}
                    Element::Argument(argument) => found.push(argument),
                    Element::Choice(Choice { alternatives: groups, .. }) | Element::Options(groups) => {
                        groups.iter().for_each(|group| collect(group, found));
                    }
                }
            }
        }
        let mut found = Vec::new();
        collect(&self.elements, &mut found);
        found
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_sequence(f, &self.elements)
    }
}

impl fmt::Display for Argument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}", self.name)?;
        let default = ArgumentType::by_name(&self.name).unwrap_or(ArgumentType::Word);
        if self.kind != default {
            write!(f, ":{}", self.kind)?;
        }
        f.write_str(if self.repeated { "…>" } else { ">" })
    }
}

fn write_sequence(f: &mut fmt::Formatter<'_>, elements: &[Element]) -> fmt::Result {
    for (index, element) in elements.iter().enumerate() {
        if index > 0 {
            f.write_str(" ")?;
        }
        match element {
            Element::Word(word) => f.write_str(&word.text)?,
            Element::Argument(argument) => write!(f, "{argument}")?,
            Element::Choice(choice) => {
                for (index, alternative) in choice.alternatives.iter().enumerate() {
                    if index > 0 {
                        f.write_str("|")?;
                    }
                    match alternative.as_slice() {
                        [single @ (Element::Word(_) | Element::Argument(_))] => {
                            write_sequence(f, std::slice::from_ref(single))?;
                        }
                        several => {
                            f.write_str("(")?;
                            write_sequence(f, several)?;
                            f.write_str(")")?;
                        }
                    }
                }
            }
            Element::Options(groups) => {
                for (index, group) in groups.iter().enumerate() {
                    f.write_str(if index > 0 { " [" } else { "[" })?;
                    write_sequence(f, group)?;
                    f.write_str("]")?;
                }
            }
        }
    }
    Ok(())
}

/// Index of a character, and what is wrong there.
type Fault = (usize, String);

struct Parser {
    chars: Vec<char>,
    at: usize,
}

impl Parser {
    /// Parses up to `end` (a closing bracket, which is taken) or the end of the string.
    fn sequence(&mut self, depth: usize, end: Option<char>) -> Result<Vec<Element>, Fault> {
        let start = self.at;
        if depth > MAX_DEPTH {
            return Err((start, format!("groups nest deeper than {MAX_DEPTH}")));
        }
        let mut elements: Vec<Element> = Vec::new();
        loop {
            self.blanks();
            match (self.peek(), end) {
                (Some(character), Some(end)) if character == end => {
                    self.at += 1;
                    break;
                }
                (None, None) => break,
                (None, Some(end)) => return Err((self.at, format!("`{end}` is missing"))),
                (Some('['), _) => {
                    self.at += 1;
                    let group = self.sequence(depth + 1, Some(']'))?;
                    match elements.last_mut() {
                        Some(Element::Options(groups)) if groups.len() == MAX_GROUPS => {
                            return Err((
                                self.at,
                                format!("more than {MAX_GROUPS} optional groups in a row"),
                            ));
                        }
                        Some(Element::Options(groups)) => groups.push(group),
                        _ => elements.push(Element::Options(vec![group])),
                    }
                }
                (Some(_), _) => {
                    let choice = self.choice(depth)?;
                    elements.extend(choice);
                }
            }
        }
        if elements.iter().all(|element| matches!(element, Element::Options(_))) {
            let reason =
                if elements.is_empty() { "something is missing here" } else { "this can match nothing" };
            return Err((start, reason.into()));
        }
        Ok(elements)
    }

    /// Parses atoms joined by `|`; a lone atom is returned as the elements that it is.
    fn choice(&mut self, depth: usize) -> Result<Vec<Element>, Fault> {
        let mut alternatives = vec![self.atom(depth)?];
        loop {
            let before = self.at;
            self.blanks();
            if self.peek() != Some('|') {
                self.at = before;
                break;
            }
            self.at += 1;
            self.blanks();
            alternatives.push(self.atom(depth)?);
        }
        if let [_] = alternatives.as_slice() {
            return Ok(alternatives.remove(0));
        }
        // `(a|b)|c` is `a|b|c`.
        let flattened: Vec<Vec<Element>> = alternatives
            .into_iter()
            .flat_map(|mut alternative| match alternative.as_mut_slice() {
                [Element::Choice(inner)] => std::mem::take(&mut inner.alternatives),
                _ => vec![alternative],
            })
            .collect();
        let words: Option<Vec<&str>> = flattened
            .iter()
            .map(|alternative| match alternative.as_slice() {
                [Element::Word(word)] => Some(word.text.as_str()),
                _ => None,
            })
            .collect();
        let key = words.map(|words| words.join("|"));
        Ok(vec![Element::Choice(Choice { key, alternatives: flattened })])
    }

    fn atom(&mut self, depth: usize) -> Result<Vec<Element>, Fault> {
        match self.peek() {
            Some('(') => {
                self.at += 1;
                self.sequence(depth + 1, Some(')'))
            }
            Some('<') => Ok(vec![Element::Argument(self.argument()?)]),
            Some(character) if is_word_character(character) => {
                let text = self.take_while(is_word_character);
                Ok(vec![Element::Word(Word { text, recorded: false })])
            }
            Some(character) => Err((self.at, format!("unexpected `{character}`"))),
            None => Err((self.at, "something is missing here".into())),
        }
    }

    fn argument(&mut self) -> Result<Argument, Fault> {
        self.at += 1;
        let start = self.at;
        let name = self.take_while(is_name_character);
        if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
            return Err((
                start,
                "an argument's name is made of a-z, 0-9 and `-`, and begins with a letter".into(),
            ));
        }
        let mut kind = ArgumentType::by_name(&name).unwrap_or(ArgumentType::Word);
        if self.take(":") {
            let at = self.at;
            let type_name = self.take_while(is_name_character);
            kind = ArgumentType::by_name(&type_name).ok_or_else(|| {
                (at, format!("unknown type `{type_name}`; types: {}", TYPE_NAMES.join(", ")))
            })?;
            if self.take(":") {
                kind = self.bounds(kind)?;
            }
        }
        let mut repeated = self.take("…") || self.take("...");
        if !self.take(">") {
            return Err((self.at, "`>` is missing".into()));
        }
        repeated |= self.take("…") || self.take("...");
        Ok(Argument { name, kind, repeated, rest_of_line: false })
    }

    fn bounds(&mut self, kind: ArgumentType) -> Result<ArgumentType, Fault> {
        let at = self.at;
        let ArgumentType::Number { bits, .. } = kind else {
            return Err((at, format!("type `{kind}` has no bounds")));
        };
        let min = self.take_while(|c| c.is_ascii_digit()).parse();
        let dots = self.take("..");
        let max = self.take_while(|c| c.is_ascii_digit()).parse();
        match (min, dots, max) {
            (Ok(min), true, Ok(max)) if min <= max && max <= greatest(bits) => {
                Ok(ArgumentType::Number { bits, min, max })
            }
            _ => Err((at, format!("bounds of `{kind}` are MIN..MAX, at most {}", greatest(bits)))),
        }
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn blanks(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }

    fn take(&mut self, text: &str) -> bool {
        let found = text.chars().enumerate().all(|(index, c)| self.chars.get(self.at + index) == Some(&c));
        if found {
            self.at += text.chars().count();
        }
        found
    }

    fn take_while(&mut self, accept: impl Fn(char) -> bool) -> String {
        let mut taken = String::new();
        while let Some(character) = self.peek().filter(|c| accept(*c)) {
            taken.push(character);
            self.at += 1;
        }
        taken
    }
}

fn is_name_character(character: char) -> bool {
    character.is_ascii_lowercase() || character.is_ascii_digit() || character == '-'
}

fn is_word_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.')
}

/// Finds arguments of the same name on one way through the usage, and of different types on different ways.
fn check_names(elements: &[Element], seen: &mut BTreeMap<String, ArgumentType>) -> Result<(), String> {
    for element in elements {
        match element {
            Element::Word(_) => {}
            Element::Argument(argument) => {
                if seen.insert(argument.name.clone(), argument.kind).is_some() {
                    return Err(format!("argument `{}` appears twice", argument.name));
                }
            }
            Element::Options(groups) => groups.iter().try_for_each(|group| check_names(group, seen))?,
            Element::Choice(choice) => {
                let before = seen.clone();
                for alternative in &choice.alternatives {
                    let mut way = before.clone();
                    check_names(alternative, &mut way)?;
                    for (name, kind) in way {
                        if seen.insert(name.clone(), kind).is_some_and(|other| other != kind) {
                            return Err(format!("argument `{name}` has two types"));
                        }
                    }
                }
            }
        }
    }
    Ok(())
}

/// Marks strings that come last, and refuses repeated arguments that do not.
fn check_tail(elements: &mut [Element], is_tail: bool) -> Result<(), String> {
    let count = elements.len();
    for (index, element) in elements.iter_mut().enumerate() {
        let is_last = is_tail && index + 1 == count;
        match element {
            Element::Word(_) => {}
            Element::Argument(argument) if argument.repeated && !is_last => {
                return Err(format!("repeated argument `{}` does not come last", argument.name));
            }
            Element::Argument(argument) => {
                argument.rest_of_line = is_last && !argument.repeated && argument.kind == ArgumentType::Text;
            }
            Element::Choice(choice) => {
                choice
                    .alternatives
                    .iter_mut()
                    .try_for_each(|alternative| check_tail(alternative, is_last))?;
            }
            Element::Options(groups) => {
                let is_last = is_last && groups.len() == 1;
                groups.iter_mut().try_for_each(|group| check_tail(group, is_last))?;
            }
        }
    }
    Ok(())
}

fn mark_recorded(elements: &mut [Element], arguments: &BTreeMap<String, ArgumentType>, inside: bool) {
    for element in elements {
        match element {
            Element::Word(word) => word.recorded = inside && !arguments.contains_key(&word.text),
            Element::Argument(_) => {}
            Element::Choice(Choice { alternatives: groups, .. }) | Element::Options(groups) => {
                groups.iter_mut().for_each(|group| mark_recorded(group, arguments, true));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_what_it_parsed() {
        for text in [
            "acl add <name> [at <index:u32>]",
            "show interface [<interface>]",
            "set interface state <interface> up|down",
            "route add <prefix> via <next-hop:ip> [interface <interface>]",
            "trace add <node> <count:u32:1..1000>",
            "test (a b)|<c> d [e] [f [g]]",
            "log <text:string…>",
        ] {
            assert_eq!(Usage::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Usage::parse("a  ( b | c ) <d>... ").unwrap().to_string(), "a b|c <d…>");
        assert_eq!(Usage::parse("a (b c)").unwrap().to_string(), "a b c");
    }

    #[test]
    fn an_argument_named_as_a_type_has_that_type() {
        let usage = Usage::parse("x <interface> <name> <mac> <n:u16>").unwrap();
        let kinds: Vec<_> = usage.arguments().iter().map(|argument| argument.kind.name()).collect();
        assert_eq!(kinds, ["interface", "word", "mac", "u16"]);
    }

    #[test]
    fn only_a_string_at_the_very_end_takes_the_rest_of_the_line() {
        let rest = |text: &str| Usage::parse(text).unwrap().arguments().last().unwrap().rest_of_line;
        assert!(rest("log <text:string>"));
        assert!(rest("log [note <text:string>]"));
        assert!(!rest("log [note <text:string>] [more]"));
        assert!(!rest("log <text:string> end"));
    }

    #[test]
    fn bad_usages_are_refused_with_their_position() {
        let cases = [
            ("", 1, "something is missing here"),
            ("<a>", 1, "a usage begins with a word"),
            ("[a]", 1, "this can match nothing"),
            ("a [b", 5, "`]` is missing"),
            ("a b]", 4, "unexpected `]`"),
            ("a []", 4, "something is missing here"),
            ("a ([b])", 4, "this can match nothing"),
            ("a [[b]]", 4, "this can match nothing"),
            ("a |", 4, "something is missing here"),
            ("a <b", 5, "`>` is missing"),
            ("a <B>", 4, "an argument's name is made of a-z, 0-9 and `-`, and begins with a letter"),
            ("a <b:u32:9..1>", 10, "bounds of `u32` are MIN..MAX, at most 4294967295"),
            ("a <b:u16:0..65536>", 10, "bounds of `u16` are MIN..MAX, at most 65535"),
            ("a <b:ip:1..2>", 9, "type `ip` has no bounds"),
            ("a <b> [c <b>]", 1, "argument `b` appears twice"),
            ("a (x <b:ip>)|(y <b:u32>)", 1, "argument `b` has two types"),
            ("a <b…> c", 1, "repeated argument `b` does not come last"),
            ("a [<b…>] [c]", 1, "repeated argument `b` does not come last"),
        ];
        for (text, column, reason) in cases {
            let error = Usage::parse(text).unwrap_err();
            assert_eq!((error.column, error.reason.as_str()), (column, reason), "{text}");
        }
        let error = Usage::parse("a <b:u8>").unwrap_err();
        assert!(error.reason.starts_with("unknown type `u8`; types: word, string, u16"), "{error}");
        assert!(Usage::parse(&format!("a {}b{}", "(".repeat(40), ")".repeat(40))).is_err());
    }

    #[test]
    fn the_same_name_may_stand_on_different_ways() {
        assert!(Usage::parse("a (x <b:ip>)|(y <b:ip>)").is_ok());
    }

    proptest::proptest! {
        #[test]
        fn no_usage_makes_the_parser_panic(text in "\\PC*|[a-c<>\\[\\]()|:. …0-9u]{0,60}") {
            if let Ok(usage) = Usage::parse(&text) {
                let printed = usage.to_string();
                proptest::prop_assert_eq!(Usage::parse(&printed).map(|again| again.to_string()), Ok(printed));
            }
        }
    }
}
