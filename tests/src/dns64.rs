//! A DNS64 resolver (RFC 6147), unbound with a zone of its own, and a client that asks it.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use tempfile::TempDir;

use crate::command::run;
use crate::web::{Fetched, PORT, parse};
use crate::{Namespace, Process};

/// Where Debian has it.
pub const UNBOUND: &str = "/usr/sbin/unbound";
/// The zone that it knows.
pub const ZONE: &str = "example.net";

/// A resolver; stopped when dropped.
#[derive(Debug)]
pub struct Dns64 {
    _process: Process,
    directory: TempDir,
    address: Ipv6Addr,
}

impl Dns64 {
    /// Starts it in `namespace` at `address`, by the ready configuration `ready`, with another prefix. Names of [`ZONE`] have IPv4
    /// addresses alone.
    ///
    /// # Errors
    /// When unbound cannot run, or the configuration is not as it was.
    pub fn start(
        namespace: &Namespace,
        address: Ipv6Addr,
        prefix: &str,
        names: &[(&str, Ipv4Addr)],
        ready: &Path,
    ) -> Result<Self> {
        let directory = crate::scratch::directory()?;
        let mut zone = format!(
            "$ORIGIN {ZONE}.\n@ 300 IN SOA ns hostmaster 1 3600 600 86400 300\n@ 300 IN NS ns\nns 300 IN AAAA {address}\n"
        );
        for (name, address) in names {
            zone += &format!("{name} 300 IN A {address}\n");
        }
        let (zone_file, config_file) = (directory.path().join("zone"), directory.path().join("unbound.conf"));
        fs::write(&zone_file, zone)?;
        let ready = fs::read_to_string(ready)?;
        let config = ready
            .replace("interface: ::0", &format!("interface: {address}"))
            .replace("2001:db8:1::/64", "::0/0")
            .replace("64:ff9b::/96", prefix);
        ensure!(config.contains(prefix), "the ready configuration has no prefix:\n{ready}");
        // Nobody else's names are asked for here.
        let path = directory.path().display();
        let config = format!(
            "{config}\n    do-daemonize: no\n    use-syslog: no\n    chroot: \"\"\n    username: \"\"\n    directory: \"{path}\"\n    \
             pidfile: \"{path}/pid\"\nremote-control:\n    control-enable: no\nauth-zone:\n    name: \"{ZONE}.\"\n    \
             zonefile: \"{}\"\n    for-downstream: no\n    for-upstream: yes\n    fallback-enabled: no\n",
            zone_file.display()
        );
        fs::write(&config_file, config)?;
        let mut command = namespace.command(UNBOUND);
        let mut process = Process::start(command.args(["-d", "-c"]).arg(&config_file))?;
        process.wait_until_listening(53)?;
        Ok(Self { _process: process, directory, address })
    }

    /// Fetches `http://NAME.ZONE:PORT/path` from `namespace` into the file `to`: the name is asked of this resolver, as any program
    /// there would.
    ///
    /// # Errors
    /// When no whole answer comes within a minute.
    pub fn fetch(&self, namespace: &Namespace, name: &str, path: &str, to: &Path) -> Result<Fetched> {
        let url = format!("http://{name}.{ZONE}:{PORT}/{path}");
        let mut command = self.client(namespace)?;
        command
            .args(["curl", "--silent", "--show-error", "--noproxy", "*", "--connect-timeout", "20"])
            .args(["--max-time", &Duration::from_secs(55).as_secs().to_string()])
            .args(["--write-out", "%{http_code} %{size_download} %{time_total}", "--output"])
            .arg(to)
            .arg(url);
        parse(&run(&mut command)?)
    }

    /// The addresses that a program in `namespace` finds for a name.
    ///
    /// # Errors
    /// When there are none.
    pub fn addresses(&self, namespace: &Namespace, name: &str) -> Result<String> {
        run(self.client(namespace)?.args(["getent", "ahosts", &format!("{name}.{ZONE}")]))
    }

    /// What runs a program for which this is the resolver, and nothing of that is left when it ends.
    fn client(&self, namespace: &Namespace) -> Result<std::process::Command> {
        let file: PathBuf = self.directory.path().join("resolv.conf");
        fs::write(&file, format!("nameserver {}\n", self.address))?;
        let mut command = namespace.command("unshare");
        let script = "mount --bind \"$1\" /etc/resolv.conf && shift && exec \"$@\"";
        command.args(["--mount", "sh", "-c", script, "sh"]).arg(file);
        Ok(command)
    }
}
