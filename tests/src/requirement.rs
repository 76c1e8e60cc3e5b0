//! What a black-box test needs of the machine, said aloud when it is missing.

use std::path::Path;
use std::sync::Once;

/// One thing a test cannot do without. Root is always needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// iproute2's `ip`.
    Ip,
    /// iputils' `ping`.
    Ping,
    /// `curl`.
    Curl,
    /// `iperf3`.
    Iperf,
    /// Debian's own Python: another one first in `PATH` lacks Debian's modules.
    Python,
    /// Scapy for Debian's Python.
    Scapy,
    /// The daemon, built.
    Raddle,
    /// The example plugin, built and copied into the plugin directory.
    FlowCount,
}

/// Whether this process is root and everything in `needs` is here; a test returns at once when it is not.
///
/// The first call of a process also sweeps what killed runs left.
///
/// # Panics
/// When something is missing and the variable `CI` is set: there a test must not be skipped.
#[must_use]
pub fn met(needs: &[Need]) -> bool {
    let missing = missing(needs);
    if missing.is_empty() {
        static SWEEP: Once = Once::new();
        SWEEP.call_once(|| match crate::sweep::sweep() {
            Ok(names) if names.is_empty() => {}
            Ok(names) => eprintln!("removed what an earlier run left: {}", names.join(", ")),
            Err(error) => eprintln!("could not remove what an earlier run left: {error:#}"),
        });
        return true;
    }
    let message = format!("this test needs {}", missing.join(", "));
    assert!(std::env::var_os("CI").is_none(), "{message}");
    eprintln!("not run: {message}");
    false
}

fn missing(needs: &[Need]) -> Vec<String> {
    let mut missing = Vec::new();
    if !rustix::process::geteuid().is_root() {
        missing.push("root (network namespaces)".to_owned());
    }
    missing.extend([Need::Ip].iter().chain(needs).filter_map(|need| need.complaint()));
    missing
}

impl Need {
    /// What to do about it when it is missing.
    fn complaint(self) -> Option<String> {
        let tool = |name: &str, package: &str| {
            (!in_path(name)).then(|| format!("{name} (apt-get install {package}, or cargo xtask test)"))
        };
        let built = |path: &Path| (!path.exists()).then(|| format!("{} (cargo xtask build)", path.display()));
        match self {
            Self::Ip => tool("ip", "iproute2"),
            Self::Ping => tool("ping", "iputils-ping"),
            Self::Curl => tool("curl", "curl"),
            Self::Iperf => tool("iperf3", "iperf3"),
            Self::Python => tool(crate::judge::PYTHON, "python3"),
            Self::Scapy => (!Path::new(crate::judge::SCAPY).exists())
                .then(|| "scapy (apt-get install python3-scapy, or cargo xtask test)".to_owned()),
            Self::Raddle => built(&crate::daemon::raddle()),
            Self::FlowCount => built(&crate::daemon::target_dir().join("plugins/libflow_count.so")),
        }
    }
}

/// Whether a program of this name (or path) can be found as a shell would find it.
#[must_use]
pub fn in_path(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    // Joining an absolute path yields that path.
    std::env::split_paths(&paths).any(|directory| directory.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_programs_by_name_and_by_path() {
        assert!(in_path("sh"));
        assert!(in_path("/bin/sh"));
        assert!(!in_path("no-such-program-anywhere"));
    }
}
