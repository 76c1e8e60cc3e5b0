//! Debian packages that a step needs: installed by root, asked for otherwise.

use std::process::Command;

use anyhow::{Result, bail, ensure};
use raddle_tests::requirement::in_path;

/// A Debian package and the program (name or path) or file that shows it to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Package {
    name: &'static str,
    probe: &'static str,
}

/// `ip`: network namespaces and links.
pub(crate) const IPROUTE2: Package = Package { name: "iproute2", probe: "ip" };
/// `ping`.
pub(crate) const PING: Package = Package { name: "iputils-ping", probe: "ping" };
/// `curl`.
pub(crate) const CURL: Package = Package { name: "curl", probe: "curl" };
/// Debian's own Python, for the web server and for scapy.
pub(crate) const PYTHON: Package = Package { name: "python3", probe: raddle_tests::judge::PYTHON };
/// Bulk TCP.
pub(crate) const IPERF: Package = Package { name: "iperf3", probe: "iperf3" };
/// Switching a device's offloads.
pub(crate) const ETHTOOL: Package = Package { name: "ethtool", probe: "ethtool" };
/// The judge of the black-box tests.
pub(crate) const SCAPY: Package = Package { name: "python3-scapy", probe: raddle_tests::judge::SCAPY };
/// What scapy encrypts with.
pub(crate) const CRYPTOGRAPHY: Package =
    Package { name: "python3-cryptography", probe: raddle_tests::judge::CRYPTOGRAPHY };
/// The crypto engine of Intel, which the IPsec plugin is built with where it is.
pub(crate) const IPSEC_MB: Package =
    Package { name: "libipsec-mb-dev", probe: "/usr/include/intel-ipsec-mb.h" };
/// A parser of OpenMetrics.
pub(crate) const PROMETHEUS_CLIENT: Package =
    Package { name: "python3-prometheus-client", probe: raddle_tests::judge::PROMETHEUS_CLIENT };
/// The compiler of filters.
pub(crate) const LIBPCAP: Package = Package { name: "libpcap0.8", probe: raddle_tests::requirement::LIBPCAP };
/// The judge of capture files.
pub(crate) const TSHARK: Package = Package { name: "tshark", probe: "tshark" };
/// A routing daemon.
pub(crate) const BIRD: Package = Package { name: "bird2", probe: "/usr/sbin/bird" };
/// The resolver of the NAT64 tests and demo.
pub(crate) const UNBOUND: Package = Package { name: "unbound", probe: raddle_tests::dns64::UNBOUND };
/// A second opinion on stateless translation.
pub(crate) const TAYGA: Package = Package { name: "tayga", probe: "/usr/sbin/tayga" };
/// A linker.
pub(crate) const LLD: Package = Package { name: "lld", probe: "ld.lld" };
/// libFuzzer is C++.
pub(crate) const CXX: Package = Package { name: "g++", probe: "g++" };

/// Counts instructions.
pub(crate) const VALGRIND: Package = Package { name: "valgrind", probe: "valgrind" };

/// Makes sure that all of `packages` are installed.
///
/// # Errors
/// When some are missing and this is not root (with the command to type), or when apt-get fails.
pub(crate) fn ensure_installed(packages: &[Package]) -> Result<()> {
    let missing = missing(packages);
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    if !is_root() || !in_path("apt-get") {
        bail!(
            "this needs packages that are not installed; install them with:\n    \
             sudo apt-get update && sudo apt-get install -y --no-install-recommends {names}"
        );
    }
    println!("installing {names}");
    // Lists that cannot be refreshed may still do.
    if let Err(error) = apt_get(&["update", "-qq"]) {
        eprintln!("{error:#}; going on with the package lists there are");
    }
    let install = ["install", "-y", "-qq", "--no-install-recommends"];
    apt_get(&install.iter().copied().chain(missing.iter().copied()).collect::<Vec<_>>())?;
    let still_missing = self::missing(packages);
    ensure!(still_missing.is_empty(), "installed {names}, but {} cannot be found", still_missing.join(" "));
    Ok(())
}

/// Whether this process may make namespaces and install packages.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn missing(packages: &[Package]) -> Vec<&'static str> {
    packages.iter().filter(|package| !in_path(package.probe)).map(|package| package.name).collect()
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("DEBCONF_NONINTERACTIVE_SEEN", "true");
    // No terminal to ask on, and apt's own log only when it fails.
    let finished = raddle_tests::command::finish(&mut command, std::time::Duration::from_secs(1200))?;
    ensure!(
        finished.code == Some(0),
        "`apt-get {}` failed: {}{}",
        arguments.join(" "),
        finished.stdout,
        finished.stderr
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_only_packages_whose_probe_is_absent() {
        let shell = Package { name: "dash", probe: "sh" };
        let file = Package { name: "base-files", probe: "/etc/passwd" };
        let absent = Package { name: "absent", probe: "no-such-program-anywhere" };
        assert_eq!(missing(&[shell, absent, file]), ["absent"]);
    }

    #[test]
    fn needs_no_root_when_all_is_there() {
        assert!(ensure_installed(&[Package { name: "dash", probe: "sh" }]).is_ok());
    }
}
