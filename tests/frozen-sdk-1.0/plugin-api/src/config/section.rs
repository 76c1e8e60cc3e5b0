//! The entry points for owners of sections.

use serde::de::DeserializeOwned;

use super::problem::SectionError;
use super::tree::{Step, Tree};

/// Parses section `name` of the whole configuration `text`; `None` when the file has no such section.
///
/// # Errors
/// All problems found in the section (or, when the text is not TOML, all syntax errors), each with its position.
pub fn parse_section<T: DeserializeOwned>(text: &str, name: &str) -> Result<Option<T>, SectionError> {
    Tree::parse(text)?.read(&[Step::Key(name)], &[])
}

/// Keys of `[interface.NAME]` that mean the same for every driver; the core reads them.
pub const INTERFACE_KEYS: &[&str] =
    &["driver", "up", "addresses", "mtu", "mac", "features", "l2-xconnect", "rx-mode"];

/// Parses what a driver of its own knows of `[interface.NAME]`: all but [`INTERFACE_KEYS`]. `None` when the file has no
/// such interface.
///
/// # Errors
/// All problems found, each with its position. Unknown keys are told beside those of the core.
pub fn parse_interface_options<T: DeserializeOwned>(
    text: &str,
    interface: &str,
) -> Result<Option<T>, SectionError> {
    Tree::parse(text)?.read(&[Step::Key("interface"), Step::Key(interface)], INTERFACE_KEYS)
}
