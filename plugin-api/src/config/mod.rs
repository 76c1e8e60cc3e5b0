//! Reads sections of the configuration file; every error points at its line and column.
//!
//! The file is one TOML text. The core hands the *whole* text to each owner of a section, and the owner picks its part
//! with [`parse_section`]: so positions in messages are those that the operator sees in the editor, and nothing but
//! text crosses the plugin ABI.
//!
//! ```
//! use raddle_plugin_api::config::parse_section;
//!
//! #[derive(Debug, PartialEq, serde::Deserialize)]
//! #[serde(deny_unknown_fields, rename_all = "kebab-case")]
//! struct Limits {
//!     max_sessions: u32,
//! }
//!
//! let text = "[acl]\nmax-sessions = 10\n";
//! assert_eq!(parse_section::<Limits>(text, "acl").unwrap(), Some(Limits { max_sessions: 10 }));
//! assert_eq!(parse_section::<Limits>(text, "nat64").unwrap(), None);
//!
//! let error = parse_section::<Limits>("[acl]\nmax-session = 10\n", "acl").unwrap_err();
//! assert_eq!(error.problems()[0].to_string(), "2:1: unknown key `max-session`; did you mean `max-sessions`?");
//! ```

mod decode;
mod in_range;
mod problem;
mod running;
mod section;
mod tree;

#[cfg(test)]
mod tests;

pub use in_range::InRange;
pub use problem::{Problem, SectionError, nearest};
pub use running::RunningSection;
pub use section::{INTERFACE_KEYS, parse_interface_options, parse_section};
pub use tree::{Step, Tree};
