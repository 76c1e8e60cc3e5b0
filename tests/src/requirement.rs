//! What a black-box test needs of the machine, said aloud when it is missing.

use std::path::{Path, PathBuf};
use std::sync::Once;

/// Where Debian has libpcap.
pub const LIBPCAP: &str = "/usr/lib/x86_64-linux-gnu/libpcap.so.0.8";

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
    /// `ethtool`.
    Ethtool,
    /// Debian's own Python: another one first in `PATH` lacks Debian's modules.
    Python,
    /// Scapy for Debian's Python.
    Scapy,
    /// The Prometheus project's client for Debian's Python, which has a parser of OpenMetrics.
    PrometheusClient,
    /// libpcap, which compiles filters for raddle.
    Libpcap,
    /// Wireshark's `tshark`.
    Tshark,
    /// The resolver `unbound`.
    Unbound,
    /// The stateless translator `tayga`.
    Tayga,
    /// The daemon, built.
    Raddle,
    /// The example plugin, built and copied into the plugin directory.
    FlowCount,
    /// The plugin `acl`, built and copied into the plugin directory.
    Acl,
    /// The NAT64 plugin, built and copied into the plugin directory.
    Nat64,
    /// The plugin `tuntap`, built and copied into the plugin directory.
    Tuntap,
    /// BIRD, the routing daemon, with its client.
    Bird,
    /// The AF_XDP plugin, built and copied into the plugin directory.
    AfXdp,
    /// The IPsec plugin, built and copied into the plugin directory.
    Ipsec,
    /// Python's cryptography, by which scapy encrypts.
    Cryptography,
    /// The plugins that only tests load, built and copied.
    TestPlugins,
    /// One plugin, built in every way that must load.
    AbiPlugins,
}

/// The folder with one plugin built in every way that must load, a folder for each.
#[must_use]
pub fn abi_plugins() -> PathBuf {
    crate::daemon::target_dir().join("abi")
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
        let built = |path: &Path, step: &str| {
            (!path.exists()).then(|| format!("{} (cargo xtask {step})", path.display()))
        };
        match self {
            Self::Ip => tool("ip", "iproute2"),
            Self::Ping => tool("ping", "iputils-ping"),
            Self::Curl => tool("curl", "curl"),
            Self::Iperf => tool("iperf3", "iperf3"),
            Self::Ethtool => tool("ethtool", "ethtool"),
            Self::Python => tool(crate::judge::PYTHON, "python3"),
            Self::Scapy => (!Path::new(crate::judge::SCAPY).exists())
                .then(|| "scapy (apt-get install python3-scapy, or cargo xtask test)".to_owned()),
            Self::PrometheusClient => (!Path::new(crate::judge::PROMETHEUS_CLIENT).exists()).then(|| {
                "prometheus_client (apt-get install python3-prometheus-client, or cargo xtask test)"
                    .to_owned()
            }),
            Self::Libpcap => (!Path::new(LIBPCAP).exists())
                .then(|| "libpcap (apt-get install libpcap0.8, or cargo xtask test)".to_owned()),
            Self::Tshark => tool("tshark", "tshark"),
            Self::Unbound => tool(crate::dns64::UNBOUND, "unbound"),
            Self::Tayga => tool("/usr/sbin/tayga", "tayga"),
            Self::Raddle => built(&crate::daemon::raddle(), "build"),
            Self::AbiPlugins => built(&abi_plugins(), "abi"),
            Self::TestPlugins => built(&crate::test_plugin::original("faulty"), "build"),
            Self::FlowCount => built(&crate::daemon::target_dir().join("plugins/libflow_count.so"), "build"),
            Self::Nat64 => built(&crate::daemon::target_dir().join("plugins/libnat64.so"), "build"),
            Self::Tuntap => built(&crate::daemon::target_dir().join("plugins/libtuntap.so"), "build"),
            Self::AfXdp => built(&crate::daemon::target_dir().join("plugins/libaf_xdp.so"), "build"),
            Self::Bird => tool("/usr/sbin/bird", "bird2"),
            Self::Ipsec => built(&crate::daemon::target_dir().join("plugins/libraddle_ipsec.so"), "build"),
            Self::Cryptography => (!Path::new(crate::judge::CRYPTOGRAPHY).exists()).then(|| {
                "cryptography (apt-get install python3-cryptography, or cargo xtask test)".to_owned()
            }),
            Self::Acl => built(&crate::daemon::target_dir().join("plugins/libraddle_acl.so"), "build"),
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
