//! Removal of what killed runs left: namespaces with the processes in them, and temporary directories.
//!
//! All that this crate makes is named `raddle-<pid>-…` after the process that made it. What belongs to a process that no longer
//! runs belongs to nobody.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use rustix::process::{Pid, Signal, kill_process};

use crate::command::{run, words};
use crate::wait::wait_until;

/// What the names of all namespaces and temporary directories begin with.
pub const PREFIX: &str = "raddle-";

/// Where iproute2 keeps named namespaces.
const NAMESPACES: &str = "/run/netns";

/// Removes what dead processes left and returns the names.
///
/// # Errors
/// When a namespace cannot be deleted (without root, for instance).
pub fn sweep() -> Result<Vec<String>> {
    sweep_where(|pid| !is_alive(pid))
}

/// Removes what the process `pid` made, dead or alive, and returns the names.
///
/// # Errors
/// As [`sweep`].
pub fn sweep_of(pid: u32) -> Result<Vec<String>> {
    sweep_where(|owner| owner == pid)
}

/// Kills every process in the namespace `name` and deletes it.
///
/// # Errors
/// When iproute2 refuses.
pub fn destroy_namespace(name: &str) -> Result<()> {
    let inhabitants = || run(&mut words(&format!("ip netns pids {name}"))).unwrap_or_default();
    for pid in inhabitants().lines().filter_map(|line| line.trim().parse().ok()).filter_map(Pid::from_raw) {
        // One that ended meanwhile is what we want.
        let _ = kill_process(pid, Signal::KILL);
    }
    // A namespace lives as long as a process in it: its interfaces must be gone when this returns.
    let _ =
        wait_until("killed processes to end", Duration::from_secs(10), || inhabitants().trim().is_empty());
    run(&mut words(&format!("ip netns delete {name}")))?;
    Ok(())
}

/// The names of all namespaces this crate made, of whichever process.
#[must_use]
pub fn namespaces() -> Vec<String> {
    owned_names(Path::new(NAMESPACES)).into_iter().map(|(name, _)| name).collect()
}

fn sweep_where(orphaned: impl Fn(u32) -> bool) -> Result<Vec<String>> {
    let mut swept = Vec::new();
    for (name, _) in owned_names(Path::new(NAMESPACES)).into_iter().filter(|(_, pid)| orphaned(*pid)) {
        if let Err(error) = destroy_namespace(&name) {
            // Two test binaries may sweep at once: the other one was faster.
            if Path::new(NAMESPACES).join(&name).exists() {
                return Err(error);
            }
        }
        swept.push(name);
    }
    let temporary = std::env::temp_dir();
    for (name, _) in owned_names(&temporary).into_iter().filter(|(_, pid)| orphaned(*pid)) {
        if fs::remove_dir_all(temporary.join(&name)).is_ok() {
            swept.push(name);
        }
    }
    Ok(swept)
}

fn owned_names(directory: &Path) -> Vec<(String, u32)> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter_map(|name| owner(&name).map(|pid| (name, pid))).collect()
}

/// The process in `raddle-<pid>-…`.
fn owner(name: &str) -> Option<u32> {
    let (pid, rest) = name.strip_prefix(PREFIX)?.split_once('-')?;
    (!rest.is_empty()).then(|| pid.parse().ok()).flatten()
}

/// Whether `pid` still runs; one that ended but was not yet waited for does not.
fn is_alive(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    // The state follows the name, which is in brackets and may hold anything (proc_pid_stat(5)).
    !stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with(['Z', 'X']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_the_owner_only_from_names_of_this_crate() {
        for (name, expected) in [
            ("raddle-12-3-alice", Some(12)),
            ("raddle-12-", None),
            ("raddle-12", None),
            ("raddle-x-alice", None),
            ("raddle--alice", None),
            ("other-12-alice", None),
        ] {
            assert_eq!(owner(name), expected, "{name}");
        }
    }

    #[test]
    fn knows_the_living_from_the_dead() {
        assert!(is_alive(std::process::id()));
        let mut child = words("true").spawn().unwrap();
        let pid = child.id();
        // Not waited for yet: a zombie counts as dead once it has ended.
        wait_until("the child to end", Duration::from_secs(10), || !is_alive(pid)).unwrap();
        child.wait().unwrap();
        assert!(!is_alive(pid));
    }
}
