//! The session log: who had which port when. Workers note events, a thread of its own sends them: as syslog (`syslog.rs`), as
//! IPFIX (`ipfix.rs`), or as both.

mod event;
mod exporter;
mod ipfix;
mod syslog;

pub use event::{Event, EventKind, SessionLog};

pub use exporter::{Logger, Targets};
pub use ipfix::IpfixTarget;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LogWhat {
    /// Bindings: who had which port when (RFC 6888 REQ-12 asks for no destinations).
    #[default]
    Bindings,
    /// Sessions: with whom.
    Sessions,
}
