//! Two hosts in network namespaces, each behind a tap that raddle makes.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// Name of the tap in each host.
const DEVICE: &str = "raddle0";
/// How long a tap may take to carry packets.
const CARRIER: Duration = Duration::from_secs(30);

/// A host in a network namespace, which is deleted when this is dropped.
#[derive(Debug)]
pub(crate) struct TapHost {
    /// Name of the interface of raddle's that it is behind.
    pub(crate) interface: &'static str,
    /// Its namespace, as iproute2 knows it.
    pub(crate) namespace: String,
    subnet: u8,
}

impl TapHost {
    /// Makes the namespace `PLUGIN-INTERFACE`.
    ///
    /// # Errors
    /// This is not root, iproute2 is missing, or there is such a namespace.
    pub(crate) fn create(plugin: &str, interface: &'static str, subnet: u8) -> Result<Self> {
        let namespace = format!("{plugin}-{interface}");
        ip(&["netns", "add", &namespace])
            .with_context(|| format!("if another run left it: ip netns delete {namespace}"))?;
        let host = Self { interface, namespace, subnet };
        ip(&["-n", &host.namespace, "link", "set", "lo", "up"])?;
        Ok(host)
    }

    /// The host's IPv4 address.
    pub(crate) fn ip4(&self) -> String {
        format!("10.99.{}.2", self.subnet)
    }

    /// The host's IPv6 address.
    pub(crate) fn ip6(&self) -> String {
        format!("fd99:0:0:{}::2", self.subnet)
    }

    /// raddle's address towards it, by family.
    fn gateway(&self, family: &str) -> String {
        match family {
            "-4" => format!("10.99.{}.1", self.subnet),
            _ => format!("fd99:0:0:{}::1", self.subnet),
        }
    }

    /// Appends the section of its interface to a configuration.
    pub(crate) fn configure(&self, config: &mut String) {
        // Writing to a string cannot fail.
        let _ = write!(
            config,
            "\n[interface.{}]\ndriver = \"tap\"\ndevice = \"{DEVICE}\"\nnamespace = \"{}\"\n\
             addresses = [\"{}/24\", \"{}/64\"]\nhost-addresses = [\"{}/24\", \"{}/64\"]\nneighbor.dad = false\n",
            self.interface,
            self.namespace,
            self.gateway("-4"),
            self.gateway("-6"),
            self.ip4(),
            self.ip6(),
        );
    }

    /// Waits until its tap carries, and sends all that is not its own by it.
    ///
    /// # Errors
    /// raddle has made no tap, or iproute2 refuses.
    pub(crate) fn connect(&self) -> Result<()> {
        let deadline = Instant::now() + CARRIER;
        while !ip(&["-n", &self.namespace, "link", "show", DEVICE])
            .is_ok_and(|link| link.contains("LOWER_UP"))
        {
            ensure!(Instant::now() < deadline, "the tap in {} does not carry", self.namespace);
            std::thread::sleep(Duration::from_millis(20));
        }
        for family in ["-4", "-6"] {
            let gateway = self.gateway(family);
            ip(&["-n", &self.namespace, family, "route", "replace", "default", "via", &gateway])?;
        }
        Ok(())
    }

    /// A program, to be run on this host.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace]).arg(program);
        command
    }
}

impl Drop for TapHost {
    fn drop(&mut self) {
        if let Err(error) = ip(&["netns", "delete", &self.namespace]) {
            eprintln!("{error:#}");
        }
    }
}

/// Whether this process may make namespaces.
///
/// # Errors
/// It may not.
pub(crate) fn demand_root() -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "this needs root, to make network namespaces and taps: sudo -E env \"PATH=$PATH\" cargo raddle run"
    );
    ensure!(Path::new("/proc/self/ns/net").exists(), "this kernel has no network namespaces");
    Ok(())
}

fn ip(words: &[&str]) -> Result<String> {
    let output = Command::new("ip").args(words).output().context("cannot start `ip`: install iproute2")?;
    if !output.status.success() {
        bail!("`ip {}`: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
