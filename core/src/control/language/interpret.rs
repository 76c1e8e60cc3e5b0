//! What a line means.

use serde_json::{Map, Value};

use super::error::CommandError;
use super::help::HelpPage;
use super::matcher::best;
use super::set::{CommandId, CommandSet, expectations};
use super::token::{Token, Tokens, tokenise};

/// What a line means.
#[derive(Debug, Clone, PartialEq)]
pub enum Interpreted {
    /// Nothing: the line is blank or a comment (`# …`).
    Nothing,
    /// A command with its arguments.
    Command(Invocation),
    /// A question for help: `help`, `help show`, `show ?`.
    Help(HelpPage),
}

/// A command with its arguments.
#[derive(Debug, Clone, PartialEq)]
pub struct Invocation {
    /// The command.
    pub command: CommandId,
    /// Argument name → value; each optional or chosen word → `true`; each choice of words (`up|down`) → the word chosen.
    pub arguments: Map<String, Value>,
}

impl CommandSet {
    /// Finds out what `line` means.
    ///
    /// # Errors
    /// It is neither a command nor a question for help; the error says why.
    pub fn interpret(&self, line: &str) -> Result<Interpreted, CommandError> {
        if line.trim_start().starts_with('#') {
            return Ok(Interpreted::Nothing);
        }
        let Tokens { tokens, unterminated } = tokenise(line)?;
        if unterminated {
            return Err(CommandError::UnclosedQuote);
        }
        match tokens.as_slice() {
            [] => Ok(Interpreted::Nothing),
            [.., last] if !last.quoted && last.text.ends_with('?') => {
                self.question(&line[..last.span.end - 1]).map(Interpreted::Help)
            }
            [first, rest @ ..] if !first.quoted && first.text == "help" => {
                self.help(rest).map(Interpreted::Help)
            }
            tokens => self.invocation(line, tokens).map(Interpreted::Command),
        }
    }

    fn invocation(&self, line: &str, tokens: &[Token]) -> Result<Invocation, CommandError> {
        let walks = self.walk(line, tokens)?;
        match best(&walks) {
            Some(walk) => {
                let command = self.commands()[walk.command].id;
                Ok(Invocation { command, arguments: walk.arguments.clone() })
            }
            None => Err(CommandError::Incomplete {
                line: line.trim().to_owned(),
                expected: expectations(&walks),
                usage: self.usages(&walks),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::set::RegisterError;
    use super::*;

    const USAGES: &[&str] = &[
        "acl add <name> [at <index:u32>]",
        "acl delete <name>",
        "show interface [<interface>] [detail]",
        "show fib [<prefix>] [table <table:u32>]",
        "show runtime",
        "set interface state <interface> up|down",
        "route add <prefix> via <next-hop:ip> [interface <interface>]",
        "ping <address:ip> [count <count:u32:1..100>] [interval <interval:duration>]",
        "trace add <node> <count:u32>",
        "log <text:string>",
        "plugin load <path> [force]",
        "test any <a:ip>|(name <b>)|all",
        "test many <values:u16…>",
    ];

    fn set() -> CommandSet {
        let mut set = CommandSet::new();
        for usage in USAGES {
            set.register(usage, "helps").unwrap();
        }
        set
    }

    fn matched(line: &str) -> (String, Value) {
        let set = set();
        match set.interpret(line) {
            Ok(Interpreted::Command(invocation)) => {
                (set.usage(invocation.command).unwrap().to_string(), Value::Object(invocation.arguments))
            }
            other => panic!("{line}: {other:?}"),
        }
    }

    fn message(line: &str) -> String {
        set().interpret(line).unwrap_err().to_string()
    }

    #[test]
    fn finds_the_command_and_its_arguments() {
        let cases = [
            ("acl add x", 0, json!({"name": "x"})),
            ("acl add x at 3", 0, json!({"name": "x", "at": true, "index": 3})),
            ("show interface", 2, json!({})),
            ("show interface tap0", 2, json!({"interface": "tap0"})),
            ("show interface detail tap0", 2, json!({"interface": "tap0", "detail": true})),
            ("show interface tap0 detail", 2, json!({"interface": "tap0", "detail": true})),
            ("show interface 'detail'", 2, json!({"interface": "detail"})),
            ("show fib table 1 10.0.0.0/8", 3, json!({"table": 1, "prefix": "10.0.0.0/8"})),
            ("set interface state t up", 5, json!({"interface": "t", "up": true, "up|down": "up"})),
            (
                "route add ::/0 via fe80::1 interface t",
                6,
                json!({"prefix": "::/0", "next-hop": "fe80::1", "interface": "t"}),
            ),
            (
                "ping 10.0.0.1 interval 1s count 2",
                7,
                json!({"address": "10.0.0.1", "interval": 1_000_000_000, "count": 2}),
            ),
            ("log one  two 'three'", 9, json!({"text": "one  two 'three'"})),
            ("log 'one two'", 9, json!({"text": "one two"})),
            ("plugin load '/a b' force", 10, json!({"path": "/a b", "force": true})),
            ("test any 10.0.0.1", 11, json!({"a": "10.0.0.1"})),
            ("test any name x", 11, json!({"name": true, "b": "x"})),
            ("test any all", 11, json!({"all": true})),
            ("test many 1 2 3", 12, json!({"values": [1, 2, 3]})),
        ];
        for (line, usage, arguments) in cases {
            assert_eq!(matched(line), (USAGES[usage].to_owned(), arguments), "{line}");
        }
    }

    #[test]
    fn words_may_be_abbreviated_when_unambiguous() {
        for (line, usage) in
            [("sh int", 2), ("sho in tap0 det", 2), ("sh f", 3), ("se int st t d", 5), ("a a x a 1", 0)]
        {
            assert_eq!(matched(line).0, USAGES[usage], "{line}");
        }
        assert_eq!(matched("se int st t d").1["up|down"], json!("down"));
        assert_eq!(message("s int"), "`s` is ambiguous: `set`, `show`");
        let mut set = set();
        set.register("show interface-rx", "").unwrap();
        assert!(
            matches!(set.interpret("show interface"), Ok(Interpreted::Command(_))),
            "exact beats abbreviation"
        );
        assert!(matches!(set.interpret("show interf"), Err(CommandError::Ambiguous { .. })));
    }

    #[test]
    fn errors_say_what_was_expected() {
        let cases = [
            ("shwo", "unknown command `shwo`; did you mean `show`?"),
            ("frobnicate", "unknown command `frobnicate`; `help` lists all commands"),
            ("show interfaec", "unexpected `interfaec` after `show`; did you mean `interface`?"),
            ("show runtme", "unexpected `runtme` after `show`; did you mean `runtime`?"),
            ("show runtime x", "unexpected `x` after `show runtime`; the line should end there"),
            ("route add 10.0.0.0/8", "`route add 10.0.0.0/8` is incomplete; expected `via`"),
            ("route add x", "<prefix>: `x` is not an IP prefix (ADDRESS/LENGTH)"),
            ("ping 10.0.0.1 count 101", "<count>: `101` is not a number from 1 to 100"),
            ("trace add n", "`trace add n` is incomplete; expected <count:u32>"),
            ("test many 1 x", "<values>: `x` is not a number from 0 to 65535"),
            ("test any x", "unexpected `x` after `test any`; expected <a:ip>, `name` or `all`"),
            ("log 'x", "a quote is not closed"),
            ("acl", "`acl` is incomplete; expected `add` or `delete`"),
        ];
        for (line, expected) in cases {
            assert_eq!(message(line), expected, "{line}");
        }
        assert_eq!(set().interpret("trace add n").unwrap_err().usage(), Some("trace add <node> <count:u32>"));
    }

    #[test]
    fn blank_lines_and_comments_mean_nothing() {
        for line in ["", "  ", "# show", "  # 'x"] {
            assert_eq!(set().interpret(line), Ok(Interpreted::Nothing));
        }
    }

    #[test]
    fn commands_can_be_removed_and_are_not_registered_twice() {
        let mut set = set();
        let id = set.register("late word", "").unwrap();
        assert_eq!(
            set.register("late  word", ""),
            Err(RegisterError::Duplicate { usage: "late word".into() })
        );
        assert!(set.interpret("late word").is_ok());
        assert!(set.remove(id) && !set.remove(id));
        assert!(set.interpret("late word").is_err());
        assert!(matches!(set.register("help me", ""), Err(RegisterError::Reserved { .. })));
    }
}
