//! The configuration file of a daemon under test.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use crate::{HostSpec, Topology};

/// A configuration in the making. The control socket is not part of it: [`crate::Daemon`] adds its own.
#[derive(Debug, Clone, Default)]
pub struct DaemonConfig {
    workers: Option<u32>,
    plugins: Option<PathBuf>,
    body: String,
}

impl DaemonConfig {
    /// An empty configuration: no workers, no plugins.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One af-packet interface with the gateway addresses for each host of `topology`.
    #[must_use]
    pub fn routed(topology: &Topology) -> Self {
        topology.hosts().iter().fold(Self::new(), |config, host| config.interface(&host.spec, ""))
    }

    /// Adds the af-packet interface that serves this host; `extra` are further lines of its section.
    #[must_use]
    pub fn interface(mut self, host: &HostSpec, extra: &str) -> Self {
        let HostSpec { interface, gateway4, gateway6, mtu, .. } = host;
        let (length4, length6) = (HostSpec::PREFIX4, HostSpec::PREFIX6);
        let mtu = mtu.map(|mtu| format!("mtu = {mtu}\n")).unwrap_or_default();
        self.append(&format!(
            "[interface.{interface}]\n\
             driver = \"af-packet\"\n\
             device = \"{interface}\"\n\
             addresses = [\"{gateway4}/{length4}\", \"{gateway6}/{length6}\"]\n\
             up = true\n\
             {mtu}{extra}"
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
        match &self.plugins {
            Some(plugins) => {
                let _ = write!(text, "\n[plugins]\npath = \"{}\"\n", plugins.display());
            }
            // Else it would load those that are built beside it; the socket's directory has none.
            None if !self.body.contains("[plugins]") => {
                let directory = socket.parent().unwrap_or(socket);
                let _ = write!(text, "\n[plugins]\npath = \"{}\"\n", directory.display());
            }
            None => {}
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
             \n[plugins]\npath = \"/p\"\n\
             \n[interface.east]\ndriver = \"af-packet\"\ndevice = \"east\"\n\
             addresses = [\"10.0.1.1/24\", \"2001:db8:1::1/64\"]\nup = true\nmtu = 9000\nqueues = 2\n\
             \n[flow-count]\nsize = 3\n"
        );
    }

    #[test]
    fn renders_an_empty_configuration_with_its_socket_and_without_plugins() {
        let empty = DaemonConfig::new();
        let text = "[control]\nsocket = \"/d/s\"\n\n[plugins]\npath = \"/d\"\n";
        assert_eq!(empty.render(Path::new("/d/s")), text);
        let own = empty.with("[plugins]\nrequire = [\"a\"]").render(Path::new("/s"));
        assert_eq!(own, "[control]\nsocket = \"/s\"\n\n[plugins]\nrequire = [\"a\"]\n");
    }
}
