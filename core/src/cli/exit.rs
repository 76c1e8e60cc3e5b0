//! Exit codes.

use std::process::ExitCode;

/// How a run of `raddle` ended, as its exit code tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    /// 0: all went well.
    Success = 0,
    /// 1: a command failed.
    Failure = 1,
    /// 2: the command line, a command's usage, or the configuration is wrong; nothing was done.
    Usage = 2,
    /// 4: the daemon cannot be reached.
    Unreachable = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}
