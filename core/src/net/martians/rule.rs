//! What makes a packet a martian.

use std::fmt;

use raddle_plugin_api::error;
use serde::Serialize;

use super::registry::Columns;

error! {
    /// Why packets are dropped.
    pub enum MartianError {
        Truncated => "truncated": "shorter than an IP header",
        Source => "martian-source": "the source is of a prefix that no host has addresses of (RFC 6890)",
        Destination => "martian-destination": "the destination is of a prefix that no packet is sent to (RFC 6890)",
        NotForwardable => "not-forwardable": "source or destination may not be forwarded (RFC 6890)",
    }
}

/// Whether a packet between such addresses may go on. `is_own` is asked only where it matters: whether the destination is one
/// of raddle's.
///
/// # Errors
/// It may not, and why.
pub fn judge(
    source: Columns,
    destination: Columns,
    is_own: impl FnOnce() -> bool,
) -> Result<(), MartianError> {
    if !source.source {
        return Err(MartianError::Source);
    }
    if !destination.destination {
        return Err(MartianError::Destination);
    }
    let may_be_forwarded = source.forwardable && destination.forwardable;
    if !may_be_forwarded && !is_own() {
        return Err(MartianError::NotForwardable);
    }
    Ok(())
}

/// What is noted of a traced packet.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Record {
    pub source: String,
    pub destination: String,
    pub martian: bool,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, destination, martian } = self;
        write!(f, "{source} > {destination}: {}", if *martian { "martian" } else { "passes" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 6890 §2.2.1
    #[test]
    fn judges_by_the_columns() {
        let ordinary = Columns::ORDINARY;
        let forbidden = Columns::FORBIDDEN;
        let link = Columns { forwardable: false, global: false, ..ordinary };
        let source_only = Columns { destination: false, forwardable: false, global: false, ..ordinary };
        for (source, destination, own, expected) in [
            (ordinary, ordinary, false, Ok(())),
            (forbidden, ordinary, true, Err(MartianError::Source)),
            (ordinary, forbidden, true, Err(MartianError::Destination)),
            (source_only, ordinary, true, Ok(())),
            (ordinary, source_only, false, Err(MartianError::Destination)),
            (link, ordinary, false, Err(MartianError::NotForwardable)),
            (ordinary, link, false, Err(MartianError::NotForwardable)),
            (link, link, true, Ok(())),
        ] {
            assert_eq!(judge(source, destination, || own), expected, "{source:?} {destination:?} {own}");
        }
    }
}
