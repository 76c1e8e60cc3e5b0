//! Walks usages along the tokens of a line.
//!
//! A [`Walk`] is one way through one usage: what is still to come, and the arguments found. Each token turns the set of
//! live walks into the next one; the walks alive at the end of a partial line are what completion and messages are made of.

use serde_json::{Map, Value};

use super::token::Token;
use super::usage::{Argument, Choice, Element, Usage, Word};

/// Walks kept at once. Usages come from code, so only a contrived one gets here; the worst-ranked are dropped.
const MAX_WALKS: usize = 1024;

/// One way through a usage.
#[derive(Debug, Clone)]
pub(super) struct Walk<'u> {
    /// Which command, as numbered by the caller.
    pub command: usize,
    /// The arguments found so far.
    pub arguments: Map<String, Value>,
    /// How each token was taken, best first in comparison.
    pub path: Vec<Taken<'u>>,
    todo: Vec<Pending<'u>>,
    /// The rest of the line was taken as text.
    line_taken: bool,
}

/// How a token was taken. The order is the preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Taken<'u> {
    /// It is this word.
    Exact(&'u str),
    /// It is the beginning of this word.
    Abbreviated(&'u str),
    /// It is the value of an argument.
    Value,
}

#[derive(Debug, Clone, Copy)]
enum Pending<'u> {
    Sequence(&'u [Element]),
    /// Groups of which those in the mask were used.
    Options(&'u [Vec<Element>], u64),
    /// More values of a repeated argument, or none.
    Again(&'u Argument),
}

/// What may come next on a walk.
#[derive(Debug, Clone)]
pub(super) struct Expected<'u> {
    /// Word or argument.
    pub leaf: Leaf<'u>,
    next: Vec<Pending<'u>>,
}

/// A word or an argument of a usage.
#[derive(Debug, Clone, Copy)]
pub(super) enum Leaf<'u> {
    /// A word, with the choice that it belongs to when all alternatives are words.
    Word(&'u Word, Option<&'u Choice>),
    /// An argument.
    Argument(&'u Argument),
}

impl<'u> Walk<'u> {
    /// A walk that stands before the first word of `usage`.
    pub fn start(command: usize, usage: &'u Usage) -> Self {
        Walk {
            command,
            arguments: Map::new(),
            path: Vec::new(),
            todo: vec![Pending::Sequence(usage.elements())],
            line_taken: false,
        }
    }

    /// All that may come next, and whether the line may also end here.
    pub fn expected(&self) -> (Vec<Expected<'u>>, bool) {
        if self.line_taken {
            return (Vec::new(), true);
        }
        let mut found = Vec::new();
        let may_end = expand(self.todo.clone(), &mut found);
        (found, may_end)
    }

    fn take(&self, expected: &Expected<'u>, token: &Token, rest: &str) -> Option<Walk<'u>> {
        let (taken, entries) = match expected.leaf {
            Leaf::Word(word, choice) => {
                if token.quoted || token.text.is_empty() || !word.text.starts_with(&token.text) {
                    return None;
                }
                let taken = if word.text == token.text {
                    Taken::Exact(&word.text)
                } else {
                    Taken::Abbreviated(&word.text)
                };
                let key = choice.and_then(|choice| choice.key.clone());
                let chosen = key.map(|key| (key, Value::from(word.text.as_str())));
                let flag = word.recorded.then(|| (word.text.clone(), Value::Bool(true)));
                (taken, [chosen, flag])
            }
            Leaf::Argument(argument) => {
                let value = if argument.rest_of_line && !rest.is_empty() {
                    Value::from(rest)
                } else {
                    argument.kind.read(&token.text)?
                };
                let value = match (argument.repeated, self.arguments.get(&argument.name)) {
                    (true, Some(Value::Array(earlier))) => {
                        let mut values = earlier.clone();
                        values.push(value);
                        Value::Array(values)
                    }
                    (true, _) => Value::Array(vec![value]),
                    (false, _) => value,
                };
                (Taken::Value, [Some((argument.name.clone(), value)), None])
            }
        };
        let mut next = self.clone();
        next.todo.clone_from(&expected.next);
        next.path.push(taken);
        next.line_taken = matches!(expected.leaf, Leaf::Argument(argument) if argument.rest_of_line);
        next.arguments.extend(entries.into_iter().flatten());
        Some(next)
    }
}

/// Words of which a token is an ambiguous abbreviation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ambiguity(pub Vec<String>);

/// Leads all walks over one token. `rest` is the line from the token on when other tokens follow, else empty.
///
/// # Errors
/// The token abbreviates several words and is nothing else.
pub(super) fn advance<'u>(walks: &[Walk<'u>], token: &Token, rest: &str) -> Result<Vec<Walk<'u>>, Ambiguity> {
    let mut next: Vec<Walk<'u>> = Vec::new();
    let mut abbreviated: Vec<&str> = Vec::new();
    for walk in walks {
        if walk.line_taken {
            next.push(walk.clone());
            continue;
        }
        for expected in walk.expected().0 {
            let Some(taken) = walk.take(&expected, token, rest) else { continue };
            if let Some(Taken::Abbreviated(word)) = taken.path.last()
                && !abbreviated.contains(word)
            {
                abbreviated.push(word);
            }
            next.push(taken);
        }
    }
    let last_is =
        |walk: &Walk<'_>, wanted: fn(Taken<'_>) -> bool| walk.path.last().copied().is_some_and(wanted);
    let exact = next.iter().any(|walk| last_is(walk, |taken| matches!(taken, Taken::Exact(_))));
    if exact || abbreviated.len() > 1 {
        next.retain(|walk| !last_is(walk, |taken| matches!(taken, Taken::Abbreviated(_))));
    }
    if next.is_empty() && abbreviated.len() > 1 {
        abbreviated.sort_unstable();
        return Err(Ambiguity(abbreviated.into_iter().map(str::to_owned).collect()));
    }
    if next.len() > MAX_WALKS {
        next.sort_by(|a, b| a.path.cmp(&b.path));
        next.truncate(MAX_WALKS);
    }
    Ok(next)
}

/// The walk that the line means, of those that may end here: words before values, earlier tokens first.
pub(super) fn best<'w, 'u>(walks: &'w [Walk<'u>]) -> Option<&'w Walk<'u>> {
    // `min_by` keeps the first of equals: the order of registration, then of the usage.
    walks.iter().filter(|walk| walk.expected().1).min_by(|a, b| preference(a).cmp(preference(b)))
}

fn preference<'w>(walk: &'w Walk<'_>) -> impl Iterator<Item = u8> + 'w {
    walk.path.iter().map(|taken| match taken {
        Taken::Exact(_) => 0,
        Taken::Abbreviated(_) => 1,
        Taken::Value => 2,
    })
}

/// Collects what may come next; returns whether everything left may be absent.
fn expand<'u>(mut todo: Vec<Pending<'u>>, found: &mut Vec<Expected<'u>>) -> bool {
    loop {
        match todo.pop() {
            None => return true,
            Some(Pending::Sequence([])) => {}
            Some(Pending::Sequence([first, rest @ ..])) => {
                todo.push(Pending::Sequence(rest));
                match first {
                    Element::Word(word) => {
                        found.push(Expected { leaf: Leaf::Word(word, None), next: todo });
                        return false;
                    }
                    Element::Argument(argument) => {
                        if argument.repeated {
                            todo.push(Pending::Again(argument));
                        }
                        found.push(Expected { leaf: Leaf::Argument(argument), next: todo });
                        return false;
                    }
                    Element::Choice(choice) => {
                        for alternative in &choice.alternatives {
                            if let (Some(_), [Element::Word(word)]) = (&choice.key, alternative.as_slice()) {
                                found.push(Expected {
                                    leaf: Leaf::Word(word, Some(choice)),
                                    next: todo.clone(),
                                });
                            } else {
                                expand(with(&todo, Pending::Sequence(alternative)), found);
                            }
                        }
                        return false;
                    }
                    Element::Options(groups) => todo.push(Pending::Options(groups, 0)),
                }
            }
            Some(Pending::Options(groups, used)) => {
                for (index, group) in groups.iter().enumerate() {
                    // At most `usage::MAX_GROUPS` = 64 groups, so the shift stays within the mask.
                    let bit = 1_u64 << index;
                    if used & bit == 0 {
                        let after = with(&todo, Pending::Options(groups, used | bit));
                        expand(with(&after, Pending::Sequence(group)), found);
                    }
                }
            }
            Some(Pending::Again(argument)) => {
                found.push(Expected {
                    leaf: Leaf::Argument(argument),
                    next: with(&todo, Pending::Again(argument)),
                });
            }
        }
    }
}

fn with<'u>(todo: &[Pending<'u>], more: Pending<'u>) -> Vec<Pending<'u>> {
    let mut todo = todo.to_vec();
    todo.push(more);
    todo
}
