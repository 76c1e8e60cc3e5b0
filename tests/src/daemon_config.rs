//! The configuration file of a daemon under test.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use crate::topology::{DEVICE, Link};
use crate::{Host, HostSpec, Topology};

/// A configuration in the making. The control socket is not part of it: [`crate::Daemon`] adds its own.
#[derive(Debug, Clone, Default)]
pub struct DaemonConfig {
    workers: Option<u32>,
    plugins: Option<PathBuf>,
    /// Loads the plugin `af-xdp` of those that were built, unless the plugins are said otherwise.
    uses_af_xdp: bool,
    body: String,
}

impl DaemonConfig {
    /// An empty configuration: no workers, no plugins.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One interface with the gateway addresses for each host of `topology`: by the driver of its link.
    #[must_use]
    pub fn routed(topology: &Topology) -> Self {
        topology.hosts().iter().fold(Self::new(), |config, host| match host.spec.link {
            Link::Veth | Link::AfXdp => config.interface(&host.spec, ""),
            Link::Tap => config.tap(host),
        })
    }

    /// Adds the tap that is this host's link.
    #[must_use]
    pub fn tap(mut self, host: &Host) -> Self {
        let HostSpec { interface, gateway4, gateway6, ipv4, ipv6, mtu, .. } = &host.spec;
        let (length4, length6) = (HostSpec::PREFIX4, HostSpec::PREFIX6);
        let mtu = mtu.map(|mtu| format!("mtu = {mtu}\n")).unwrap_or_default();
        self.append(&format!(
            "[interface.{interface}]\n\
             driver = \"tap\"\n\
             device = \"{DEVICE}\"\n\
             namespace = \"{}\"\n\
             host-addresses = [\"{ipv4}/{length4}\", \"{ipv6}/{length6}\"]\n\
             addresses = [\"{gateway4}/{length4}\", \"{gateway6}/{length6}\"]\n\
             {mtu}",
            host.namespace.name()
        ));
        self
    }

    /// Adds the af-packet or af-xdp interface that serves this host; `extra` are further lines of its section.
    ///
    /// Duplicate address detection is off, as it is in the hosts, so that addresses can be used at once; unless `extra` says
    /// something of `neighbor` itself.
    #[must_use]
    pub fn interface(mut self, host: &HostSpec, extra: &str) -> Self {
        let HostSpec { interface, gateway4, gateway6, mtu, link, .. } = host;
        let is_af_xdp = *link == Link::AfXdp;
        self.uses_af_xdp |= is_af_xdp;
        let driver = if is_af_xdp { "af-xdp" } else { "af-packet" };
        let (length4, length6) = (HostSpec::PREFIX4, HostSpec::PREFIX6);
        let mtu = mtu.map(|mtu| format!("mtu = {mtu}\n")).unwrap_or_default();
        let neighbor = if extra.contains("neighbor") { "" } else { "neighbor.dad = false\n" };
        self.append(&format!(
            "[interface.{interface}]\n\
             driver = \"{driver}\"\n\
             device = \"{interface}\"\n\
             addresses = [\"{gateway4}/{length4}\", \"{gateway6}/{length6}\"]\n\
             up = true\n\
             {mtu}{neighbor}{extra}"
        ));
        self
    }

    /// Sets the number of worker threads.
    #[must_use]
    pub fn workers(mut self, workers: u32) -> Self {
        self.workers = Some(workers);
        self
    }

    /// Loads the plugins of this directory at start.
    #[must_use]
    pub fn plugins(mut self, directory: &Path) -> Self {
        self.plugins = Some(directory.to_owned());
        self
    }

    /// Adds lines as they are.
    #[must_use]
    pub fn with(mut self, lines: &str) -> Self {
        self.append(lines);
        self
    }

    /// The file, with the control socket at `socket`.
    #[must_use]
    pub fn render(&self, socket: &Path) -> String {
        let mut text = format!("[control]\nsocket = \"{}\"\n", socket.display());
        if let Some(workers) = self.workers {
            // Writing to a string cannot fail.
            let _ = write!(text, "\n[runtime]\nworkers = {workers}\n");
        }
        // Crash reports stay with the run, not on the machine.
        let state = socket.parent().unwrap_or(socket).display();
        match &self.plugins {
            Some(plugins) => {
                let _ = write!(
                    text,
                    "\n[plugins]\npath = \"{}\"\nstate-directory = \"{state}\"\n",
                    plugins.display()
                );
            }
            None if self.uses_af_xdp && !self.body.contains("[plugins]") => {
                let plugins = crate::daemon::target_dir().join("plugins");
                let _ = write!(
                    text,
                    "\n[plugins]\npath = \"{}\"\nonly = [\"af-xdp\"]\nrequire = [\"af-xdp\"]\nstate-directory = \"{state}\"\n",
                    plugins.display()
                );
            }
            // Else it would load those that are built beside it; the socket's directory has none.
            None if !self.body.contains("[plugins]") => {
                let _ = write!(text, "\n[plugins]\npath = \"{state}\"\nstate-directory = \"{state}\"\n");
            }
            None => {
                let own = if self.body.contains("state-directory") {
                    String::new()
                } else {
                    format!("\nstate-directory = \"{state}\"")
                };
                return text + &self.body.replace("[plugins]", &format!("[plugins]{own}"));
            }
        }
        text + &self.body
    }

    fn append(&mut self, lines: &str) {
        self.body.push('\n');
        self.body.push_str(lines.trim_end());
        self.body.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_the_sections_in_order() {
        let host = HostSpec::new("alice", "east", 1).with_mtu(9000);
        let config = DaemonConfig::new().workers(2).plugins(Path::new("/p")).interface(&host, "queues = 2\n");
        assert_eq!(
            config.with("[flow-count]\nsize = 3").render(Path::new("/s")),
            "[control]\nsocket = \"/s\"\n\
             \n[runtime]\nworkers = 2\n\
             \n[plugins]\npath = \"/p\"\nstate-directory = \"/\"\n\
             \n[interface.east]\ndriver = \"af-packet\"\ndevice = \"east\"\n\
             addresses = [\"10.0.1.1/24\", \"2001:db8:1::1/64\"]\nup = true\nmtu = 9000\nneighbor.dad = false\nqueues = 2\n\
             \n[flow-count]\nsize = 3\n"
        );
    }

    #[test]
    fn renders_an_empty_configuration_with_its_socket_and_without_plugins() {
        let empty = DaemonConfig::new();
        let text = "[control]\nsocket = \"/d/s\"\n\n[plugins]\npath = \"/d\"\nstate-directory = \"/d\"\n";
        assert_eq!(empty.render(Path::new("/d/s")), text);
        let own = empty.with("[plugins]\nrequire = [\"a\"]").render(Path::new("/s"));
        assert_eq!(
            own,
            "[control]\nsocket = \"/s\"\n\n[plugins]\nstate-directory = \"/\"\nrequire = [\"a\"]\n"
        );
    }
}
