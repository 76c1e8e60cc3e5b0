//! `docs/reference/commands.md`.

use std::fmt::Write;

const HEAD: &str = "\
# Commands

Made by `cargo xtask docs` from what the core registers. Plugins add their own; `help` in `raddle ctl` lists all that a
running raddle has, and `COMMAND ?` tells what may follow.

`<name>` stands for a value, `<name:type>` says of which kind, `[…]` may be left out, `a|b` is one of several words.
Words may be shortened as long as one command fits.
";

/// The page, from usages and summaries.
pub fn page<'a>(commands: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut commands: Vec<_> = commands.collect();
    commands.sort_unstable();
    let mut text = HEAD.to_owned();
    let mut group = "";
    for (usage, summary) in commands {
        let first = usage.split(' ').next().unwrap_or(usage);
        if first != group {
            group = first;
            // Writing to a string cannot fail.
            let _ = writeln!(text, "\n## {group}\n");
        }
        let _ = writeln!(text, "- `{usage}`  \n  {summary}");
    }
    text
}
