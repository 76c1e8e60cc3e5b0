//! A network namespace of our own.

use std::fs::{self, File};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, anyhow};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::command::{run, words};
use crate::sweep::{PREFIX, destroy_namespace};

/// A named network namespace with its loopback up; deleted with its processes when dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes `raddle-<pid>-<n>-<role>`; `role` tells people what it is for.
    ///
    /// Duplicate address detection is off, so that IPv6 addresses can be used at once.
    ///
    /// # Errors
    /// Without root, or when iproute2 refuses.
    pub fn create(role: &str) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let namespace = Self { name: format!("{PREFIX}{}-{count}-{role}", std::process::id()) };
        namespace.make()?;
        Ok(namespace)
    }

    /// Makes another one under its name, after [`Self::remove`].
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn make(&self) -> Result<()> {
        run(&mut words(&format!("ip netns add {}", self.name)))?;
        self.ip("link set lo up")?;
        for scope in ["all", "default"] {
            self.set(&format!("ipv6/conf/{scope}/accept_dad"), "0")?;
        }
        Ok(())
    }

    /// Takes its name away, as an operator does who deletes it. It lives on as long as somebody is in it.
    ///
    /// # Errors
    /// As [`run`].
    pub fn remove(&self) -> Result<()> {
        run(&mut words(&format!("ip netns delete {}", self.name))).map(drop)
    }

    /// Its name as iproute2 knows it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `program`, to be run inside.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = words("ip netns exec");
        command.args([&self.name, program]);
        command
    }

    /// Runs a line of words inside and returns its standard output.
    ///
    /// # Errors
    /// As [`run`].
    pub fn run(&self, line: &str) -> Result<String> {
        let inner = words(line);
        run(self.command(&inner.get_program().to_string_lossy()).args(inner.get_args()))
    }

    /// Runs iproute2 on this namespace: `ip("link set lo up")`.
    ///
    /// # Errors
    /// As [`run`].
    pub fn ip(&self, line: &str) -> Result<String> {
        run(&mut words(&format!("ip -n {} {line}", self.name)))
    }

    /// The names of its interfaces but for the loopback, sorted.
    ///
    /// # Errors
    /// As [`run`].
    pub fn interfaces(&self) -> Result<Vec<String>> {
        let links: serde_json::Value = serde_json::from_str(&self.ip("-json link show")?)?;
        let links = links.as_array().ok_or_else(|| anyhow!("`ip -json link` gave no list"))?;
        let names = links.iter().filter_map(|link| link["ifname"].as_str()).filter(|name| *name != "lo");
        let mut names: Vec<_> = names.map(str::to_owned).collect();
        names.sort();
        Ok(names)
    }

    /// Sets a value below `/proc/sys/net`, as `set("ipv4/ip_forward", "1")`.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn set(&self, key: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/net/{key}");
        self.enter(|| fs::write(&path, value).with_context(|| format!("cannot write {value} to {path}")))?
    }

    /// Runs `work` on a thread inside. Sockets made there stay inside and may be handed out.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    ///
    /// # Panics
    /// When `work` panics.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let path = format!("/run/netns/{}", self.name);
        let file = File::open(&path).with_context(|| format!("cannot open {path}"))?;
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                    .with_context(|| format!("cannot enter {path}"))?;
                Ok(work())
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// A UDP socket inside, bound to `address` (`"[::]:0"`).
    ///
    /// # Errors
    /// When the address is taken or not of this namespace.
    pub fn udp(&self, address: &str) -> Result<UdpSocket> {
        self.enter(|| UdpSocket::bind(address).with_context(|| format!("cannot bind {address}")))?
    }

    /// A TCP socket inside that listens on `address`.
    ///
    /// # Errors
    /// As [`Self::udp`].
    pub fn tcp(&self, address: &str) -> Result<TcpListener> {
        self.enter(|| TcpListener::bind(address).with_context(|| format!("cannot bind {address}")))?
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = destroy_namespace(&self.name) {
            eprintln!("{error:#}");
        }
    }
}
