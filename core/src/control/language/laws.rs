//! Laws of the command language, checked on random usages and lines.

use proptest::prelude::*;
use serde_json::{Map, Value};

use super::complete::NoCompleter;
use super::interpret::Interpreted;
use super::set::CommandSet;
use super::token::quote;
use super::types::ArgumentType;
use super::usage::{Element, Usage};

/// A usage under construction; names and words are numbered when it is written, so that no two collide.
#[derive(Debug, Clone)]
enum Shape {
    Word,
    Argument(&'static str),
    /// Alternatives, each begun by a word of its own when it is not a lone word.
    Choice(Vec<Vec<Shape>>),
    /// A group begun by a word of its own.
    Group(Vec<Shape>),
}

fn shapes() -> impl Strategy<Value = Vec<Shape>> {
    let types = [
        "word",
        "string",
        "u16",
        "u32:5..500",
        "ip",
        "ip4-prefix",
        "ip6",
        "mac",
        "duration",
        "on-off",
        "path",
    ];
    let leaf =
        prop_oneof![Just(Shape::Word), proptest::sample::select(types.to_vec()).prop_map(Shape::Argument)];
    let shape = leaf.prop_recursive(3, 24, 4, |inner| {
        let sequence = proptest::collection::vec(inner, 0..3);
        prop_oneof![
            proptest::collection::vec(sequence.clone(), 2..4).prop_map(Shape::Choice),
            sequence.prop_map(Shape::Group),
        ]
    });
    proptest::collection::vec(shape, 0..5)
}

fn write(shapes: &[Shape], counter: &mut u32, out: &mut String) {
    for shape in shapes {
        *counter += 1;
        match shape {
            Shape::Word => *out += &format!(" k{counter}q"),
            Shape::Argument(kind) => *out += &format!(" <a{counter}:{kind}>"),
            Shape::Choice(alternatives) => {
                for (index, alternative) in alternatives.iter().enumerate() {
                    *counter += 1;
                    *out += &format!("{}(k{counter}q", if index > 0 { "|" } else { " " });
                    write(alternative, counter, out);
                    out.push(')');
                }
            }
            Shape::Group(group) => {
                *out += &format!(" [k{counter}q");
                write(group, counter, out);
                out.push(']');
            }
        }
    }
}

/// Makes one line of a usage and the arguments that it means; `dice` decides at each fork.
fn speak(
    elements: &[Element],
    dice: &mut dyn FnMut() -> u32,
    line: &mut Vec<String>,
    said: &mut Map<String, Value>,
) {
    for element in elements {
        match element {
            Element::Word(word) => {
                line.push(word.text.clone());
                if word.recorded {
                    said.insert(word.text.clone(), true.into());
                }
            }
            Element::Argument(argument) if argument.repeated => {
                let texts: Vec<String> = (0..=dice() % 3).map(|_| sample(argument.kind, dice())).collect();
                let values: Option<Vec<Value>> = texts.iter().map(|text| argument.kind.read(text)).collect();
                said.insert(argument.name.clone(), values.unwrap().into());
                line.extend(texts.iter().map(|text| quote(text)));
            }
            Element::Argument(argument) => {
                let text = sample(argument.kind, dice());
                said.insert(argument.name.clone(), argument.kind.read(&text).unwrap());
                line.push(quote(&text));
            }
            Element::Choice(choice) => {
                let chosen = &choice.alternatives[dice() as usize % choice.alternatives.len()];
                if let (Some(key), [Element::Word(word)]) = (&choice.key, chosen.as_slice()) {
                    said.insert(key.clone(), word.text.clone().into());
                }
                speak(chosen, dice, line, said);
            }
            Element::Options(groups) => {
                let mut order: Vec<usize> = (0..groups.len()).filter(|_| dice().is_multiple_of(2)).collect();
                if !order.is_empty() {
                    let turn = dice() as usize % order.len();
                    order.rotate_left(turn);
                }
                for index in order {
                    speak(&groups[index], dice, line, said);
                }
            }
        }
    }
}

/// A value of the type that is not the beginning of any word (words begin with `k`).
fn sample(kind: ArgumentType, dice: u32) -> String {
    match kind {
        ArgumentType::Text => format!("some \"text\" {dice}"),
        ArgumentType::Number { min, max, .. } => (min + u64::from(dice) % (max - min + 1)).to_string(),
        ArgumentType::Ip | ArgumentType::Ip4 => std::net::Ipv4Addr::from_bits(dice).to_string(),
        ArgumentType::Ip6 => format!("2001:db8::{:x}", dice & 0xffff),
        ArgumentType::Prefix | ArgumentType::Ip4Prefix => {
            format!("{}/{}", std::net::Ipv4Addr::from_bits(dice), dice % 33)
        }
        ArgumentType::Ip6Prefix => format!("2001:db8::{:x}/{}", dice & 0xffff, dice % 129),
        ArgumentType::Mac => format!("02:00:00:00:00:{:02x}", dice & 0xff),
        ArgumentType::Duration => format!("{}ms", dice),
        ArgumentType::OnOff => if dice.is_multiple_of(2) { "on" } else { "off" }.to_owned(),
        _ => format!("v{dice} x"),
    }
}

proptest! {
    #[test]
    fn any_line_made_of_a_usage_gives_its_arguments_back(shapes in shapes(), tail in proptest::sample::select(vec!["", " <tail:u16…>", " end [tail <more:word…>]"]), dice in proptest::collection::vec(any::<u32>(), 1..64)) {
        let mut text = "k0q".to_owned();
        write(&shapes, &mut 0, &mut text);
        text += tail;
        let mut set = CommandSet::new();
        set.register("k0qother <x:string>", "").unwrap();
        let id = set.register(&text, "").unwrap();
        let usage = Usage::parse(&text).unwrap();
        prop_assert_eq!(&Usage::parse(&usage.to_string()).unwrap(), &usage);

        let mut thrown = 0;
        let mut throw = || {
            thrown += 1;
            dice[thrown % dice.len()].rotate_left(thrown as u32)
        };
        let (mut line, mut said) = (Vec::new(), Map::new());
        speak(usage.elements(), &mut throw, &mut line, &mut said);
        let line = line.join(" ");
        match set.interpret(&line) {
            Ok(Interpreted::Command(invocation)) => {
                prop_assert_eq!(invocation.command, id);
                prop_assert_eq!(Value::Object(invocation.arguments), Value::Object(said), "{} / {}", text, line);
            }
            other => prop_assert!(false, "{text} / {line}: {other:?}"),
        }
        // Each beginning of a good line can be completed, and what is offered for its last word contains it.
        for end in (0..=line.len()).filter(|end| line.is_char_boundary(*end)) {
            let completion = set.complete(&line, end, &NoCompleter);
            prop_assert!(completion.start <= end);
        }
    }

    #[test]
    fn no_line_makes_it_panic(line in "\\PC*|[a-z0-9 '\"\\\\?#/.:-]{0,60}", cursor in 0usize..80) {
        let mut set = CommandSet::new();
        for usage in ["show interface [<interface>] [detail]", "a <b:string>", "a <c> [<d:u32>] [<e:ip>] [f…]", "x <y…>"] {
            let _ = set.register(usage, "");
        }
        let _ = set.interpret(&line);
        let _ = set.interpret(&format!("show {line}"));
        let _ = set.interpret(&format!("a {line}"));
        let _ = set.interpret(&format!("x {line}"));
        let _ = set.complete(&line, cursor, &NoCompleter);
    }
}
