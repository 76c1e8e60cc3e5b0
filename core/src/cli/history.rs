//! Where the shell keeps its history.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The history file, `$XDG_STATE_HOME/raddle/history` (XDG base directories; `~/.local/state` by default); `None` for a
/// user without a home.
pub(super) fn path() -> Option<PathBuf> {
    locate(|variable| std::env::var_os(variable).map(PathBuf::from))
}

/// Makes the directory of the history file, for this user alone.
pub(super) fn make_directory(history: &Path) -> io::Result<()> {
    match history.parent() {
        Some(directory) => DirBuilder::new().recursive(true).mode(0o700).create(directory),
        None => Ok(()),
    }
}

fn locate(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    // The specification: a path that is not absolute is to be ignored.
    let absolute = |name| variable(name).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
    Some(state.join("raddle/history"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_is_kept_where_the_user_keeps_state() {
        let with = |set: &'static [(&str, &str)]| {
            locate(move |name| {
                set.iter().find(|(known, _)| *known == name).map(|(_, value)| PathBuf::from(value))
            })
        };
        assert_eq!(with(&[("XDG_STATE_HOME", "/s"), ("HOME", "/h")]), Some("/s/raddle/history".into()));
        assert_eq!(
            with(&[("XDG_STATE_HOME", "s"), ("HOME", "/h")]),
            Some("/h/.local/state/raddle/history".into())
        );
        assert_eq!(with(&[]), None);
    }
}
