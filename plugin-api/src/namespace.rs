//! Network namespaces of the host: doing something in another one.
//!
//! ```no_run
//! use std::net::UdpSocket;
//! use raddle_plugin_api::namespace::Namespace;
//!
//! // The socket stays in the namespace `blue`, wherever it is used.
//! let socket = Namespace::named(Some("blue"))?.run(|| UdpSocket::bind("0.0.0.0:53"))??;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{fstat, fstatfs};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Where `ip netns` keeps its namespaces.
const DIRECTORY: &str = "/run/netns";

/// The file system of namespaces (`NSFS_MAGIC`).
const NAMESPACES: u64 = 0x6e73_6673;

/// Why a network namespace cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// There is none of this name.
    #[error("there is no network namespace {name:?} in {DIRECTORY}{near}")]
    Missing {
        /// The name that was given.
        name: String,
        /// Those that there are, as ", there is …"; empty if there are none.
        near: String,
    },
    /// It cannot be opened.
    #[error("cannot open the network namespace {name:?}: {source}")]
    Open {
        /// The name that was given.
        name: String,
        /// What the host said.
        source: io::Error,
    },
    /// It cannot be entered.
    #[error("cannot enter the network namespace (CAP_SYS_ADMIN is needed): {0}")]
    Enter(io::Error),
    /// No thread could be made to enter it.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// A network namespace.
#[derive(Debug)]
pub enum Namespace {
    /// That of this process.
    Own,
    /// Another one.
    Other(OwnedFd),
}

/// Which namespace it is, whatever its name: that of another one differs as long as somebody uses this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NamespaceId {
    device: u64,
    inode: u64,
}

impl NamespaceId {
    /// The namespace that has this name now; `None`: there is none, or it has none.
    pub fn of_name(name: Option<&str>) -> Option<Self> {
        Namespace::named(name).ok()?.id()
    }

    /// The namespace that an open file is; `None`: it is none.
    pub fn of_file(file: impl AsFd) -> Option<Self> {
        // Until `ip netns add` is done the name is that of a plain file.
        let is_one = fstatfs(&file).is_ok_and(|system| system.f_type as u64 == NAMESPACES);
        let stat = fstat(&file).ok().filter(|_| is_one)?;
        Some(Self { device: stat.st_dev, inode: stat.st_ino })
    }
}

impl Namespace {
    /// The namespace that `ip netns add` made under this name; `None` is that of this process.
    ///
    /// # Errors
    /// There is none of that name, or it cannot be opened.
    pub fn named(name: Option<&str>) -> Result<Self, NamespaceError> {
        let Some(name) = name else { return Ok(Self::Own) };
        let missing = || NamespaceError::Missing { name: name.to_owned(), near: near() };
        if name.is_empty() || name.contains('/') || name == "." || name == ".." {
            return Err(missing());
        }
        match File::open(format!("{DIRECTORY}/{name}")) {
            Ok(file) => Ok(Self::Other(file.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(missing()),
            Err(source) => Err(NamespaceError::Open { name: name.to_owned(), source }),
        }
    }

    /// Which one it is; `None` for this process's own, which stays the same.
    pub fn id(&self) -> Option<NamespaceId> {
        match self {
            Self::Own => None,
            Self::Other(fd) => NamespaceId::of_file(fd),
        }
    }

    /// Runs `body` in this namespace: sockets and devices that it opens belong there for good. For another namespace
    /// than this process's it runs on a thread of its own, which is gone when this returns.
    ///
    /// # Errors
    /// The namespace cannot be entered.
    pub fn run<R: Send>(&self, body: impl FnOnce() -> R + Send) -> Result<R, NamespaceError> {
        match self {
            Self::Own => Ok(body()),
            Self::Other(fd) => run_in(fd.as_fd(), body),
        }
    }
}

fn run_in<R: Send>(fd: BorrowedFd<'_>, body: impl FnOnce() -> R + Send) -> Result<R, NamespaceError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("namespace".to_owned()).spawn_scoped(scope, || {
            move_into_link_name_space(fd, Some(LinkNameSpaceType::Network))
                .map_err(|error| NamespaceError::Enter(error.into()))?;
            Ok(body())
        });
        match thread.map_err(NamespaceError::Thread)?.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn near() -> String {
    let Ok(entries) = std::fs::read_dir(DIRECTORY) else { return String::new() };
    let mut names: Vec<_> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    if names.is_empty() {
        return String::new();
    }
    names.sort();
    names.truncate(8);
    format!(", there is {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_out_of_the_directory_are_no_namespaces() {
        for name in ["", ".", "..", "../net", "a/b", "no-such-namespace"] {
            let error = Namespace::named(Some(name)).unwrap_err().to_string();
            assert!(error.starts_with(&format!("there is no network namespace {name:?}")), "{error}");
        }
    }

    #[test]
    fn a_namespace_is_told_from_others_and_from_what_is_none() {
        let here = NamespaceId::of_file(File::open("/proc/self/ns/net").unwrap());
        assert!(
            here.is_some() && here == NamespaceId::of_file(File::open("/proc/thread-self/ns/net").unwrap())
        );
        assert_ne!(here, NamespaceId::of_file(File::open("/proc/self/ns/user").unwrap()));
        assert_eq!(NamespaceId::of_file(File::open("/proc/self/status").unwrap()), None);
        assert_eq!(NamespaceId::of_name(Some("no-such-namespace")), None);
        assert_eq!(Namespace::Own.id(), None);
    }

    #[test]
    fn own_namespace_runs_on_the_calling_thread() {
        let here = std::thread::current().id();
        let there = Namespace::named(None).unwrap().run(|| std::thread::current().id()).unwrap();
        assert_eq!(here, there);
    }
}
