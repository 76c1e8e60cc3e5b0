//! The reference pages of the book are made from what the code registers. `cargo xtask docs` writes them; without it
//! these tests say which page is stale.

mod commands;
mod config;
mod nodes;

use std::path::{Path, PathBuf};

use raddle::host::{Engine, EngineConfig};
use raddle::memory::HugePages;

/// Set by `cargo xtask docs`: the pages are written instead of compared.
const WRITE: &str = "RADDLE_WRITE_REFERENCE";

fn engine() -> Box<Engine> {
    let config = EngineConfig { buffers: 1024, hugepages: HugePages::Never, ..EngineConfig::default() };
    Engine::create(config).unwrap()
}

fn path(page: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference").join(page)
}

/// Fails when the page on disk is another one, or writes it.
fn settle(page: &str, text: &str) {
    let path = path(page);
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, text).unwrap();
        return;
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let pairs = found.lines().map(Some).chain(std::iter::repeat(None)).zip(text.lines());
    let stale = pairs.enumerate().find(|(_, (old, new))| *old != Some(*new));
    if let Some((line, (old, new))) = stale {
        let (line, old) = (line + 1, old.unwrap_or("(the end)"));
        panic!("docs/reference/{page} is stale at line {line}:\n- {old}\n+ {new}\nrun `cargo xtask docs`");
    }
    assert_eq!(found, text, "docs/reference/{page} is stale at its end; run `cargo xtask docs`");
}

#[test]
fn the_page_on_the_configuration_is_what_the_schema_says() {
    settle("config.md", &config::page(&raddle::control::config::schema(), &engine().drivers()));
}

#[test]
fn the_page_on_commands_is_what_is_registered() {
    let commands = engine().commands().1;
    settle(
        "commands.md",
        &commands::page(commands.iter().map(|command| (&*command.usage, &*command.summary))),
    );
}

#[test]
fn the_page_on_nodes_is_what_is_in_the_graph() {
    let engine = engine();
    settle("nodes.md", &nodes::page(&engine.node_entries(), &engine.arc_entries()));
}
