//! `docs/reference/nodes.md`.

use std::fmt::Write;

use raddle::host::{ArcEntry, NodeEntry};

const HEAD: &str = "\
# Nodes, arcs and drop reasons

Made by `cargo xtask docs` from the core's graph; plugins add nodes and features of their own. `show errors` counts dropped
packets by the reasons listed here. Every node can also send to `drop`.

## Feature arcs

A packet enters an arc, passes the features that are enabled on its interface, in this order, and goes on to the arc's end.

| arc | end | features of the core |
| --- | --- | --- |
";

/// The page.
pub fn page(nodes: &[NodeEntry], arcs: &[ArcEntry]) -> String {
    let mut text = HEAD.to_owned();
    for arc in arcs {
        let features = if arc.features.is_empty() { "none".to_owned() } else { arc.features.join(", ") };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| `{}` | `{}` | {features} |", arc.name, arc.end);
    }
    text.push_str("\n## Nodes\n");
    for node in nodes {
        let _ = writeln!(text, "\n### {}\n", node.name);
        let nexts = match node.nexts.as_slice() {
            [] => "sends to no node by name".to_owned(),
            nexts => format!("sends to `{}`", nexts.join("`, `")),
        };
        let _ = writeln!(text, "{} node, {nexts}.", capitalized(node.kind));
        if !node.errors.is_empty() {
            text.push_str("\n| reason | meaning |\n| --- | --- |\n");
        }
        for (name, meaning) in &node.errors {
            let _ = writeln!(text, "| `{name}` | {} |", meaning.replace('|', "\\|"));
        }
    }
    text
}

fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}
