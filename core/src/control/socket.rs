//! The file of the control socket: made for one instance alone, and gone with it.
//!
//! A lock file beside the socket (`PATH.lock`) is held as long as the instance lives; the kernel lets go of it even
//! after a crash, so who holds it owns the path, and a socket found there is stale.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};

/// Bytes that a path of a Unix socket may have (`sun_path` without its closing NUL).
const MAX_PATH_BYTES: usize = 107;

/// Why the control socket cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another instance has it.
    #[error("another raddle{} already listens on {}", pid_text(.pid), .path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
        /// The process that listens, when it answers.
        pid: Option<i32>,
    },
    /// Something else is in the way.
    #[error("{} exists and is not a socket; remove it, or set another path by `socket` in [control]", .path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The path is too long for a Unix socket.
    #[error("the socket path {} has {} bytes; a Unix socket takes at most {MAX_PATH_BYTES}", .path.display(), .path.as_os_str().len())]
    PathTooLong {
        /// The path.
        path: PathBuf,
    },
    /// A system call failed.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// How it failed.
        source: io::Error,
    },
}

fn pid_text(pid: &Option<i32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (pid {pid})"))
}

/// A socket file that belongs to this instance; dropping it removes the file, its lock, and its directory when that was
/// made for it.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    lock_path: PathBuf,
    made_directory: Option<PathBuf>,
    /// Held for its lock.
    _lock: File,
}

impl SocketFile {
    /// Takes `path` and listens there with mode 0660. A directory that is missing is made (mode 0755), a stale socket
    /// replaced.
    ///
    /// # Errors
    /// Another instance has it; something else is in the way; a system call fails.
    pub fn create(path: &Path) -> Result<(Self, UnixListener), SocketError> {
        let pending = with_suffix(path, ".new");
        if pending.as_os_str().len() > MAX_PATH_BYTES {
            return Err(SocketError::PathTooLong { path: path.into() });
        }
        let made_directory = make_directory(path)?;
        let lock_path = with_suffix(path, ".lock");
        let lock = match take_lock(&lock_path)? {
            Some(lock) => lock,
            None => {
                let pid = listener(path).and_then(|listener| listener.pid);
                return Err(SocketError::InUse { path: path.into(), pid });
            }
        };
        let file = SocketFile { path: path.into(), lock_path, made_directory, _lock: lock };
        file.refuse_what_is_in_the_way()?;

        let failed = |action, path: &Path| {
            let path = path.to_owned();
            move |source| SocketError::Io { action, path, source }
        };
        // Bound under another name and renamed, so that no one can connect before the mode is set.
        remove_if_there(&pending).map_err(failed("remove", &pending))?;
        let listener = UnixListener::bind(&pending).map_err(failed("create the socket", &pending))?;
        let made = fs::set_permissions(&pending, Permissions::from_mode(0o660))
            .and_then(|()| fs::rename(&pending, path))
            .and_then(|()| listener.set_nonblocking(true));
        if let Err(source) = made {
            // The first error is the one to tell.
            let _ = remove_if_there(&pending);
            return Err(failed("create the socket", path)(source));
        }
        Ok((file, listener))
    }

    /// The path of the socket.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// With the lock held, a socket that still answers belongs to an instance whose lock file was deleted.
    fn refuse_what_is_in_the_way(&self) -> Result<(), SocketError> {
        match fs::symlink_metadata(&self.path) {
            Ok(metadata) if !metadata.file_type().is_socket() => {
                Err(SocketError::NotASocket { path: self.path.clone() })
            }
            Ok(_) => match listener(&self.path) {
                Some(Listener { pid }) => Err(SocketError::InUse { path: self.path.clone(), pid }),
                None => Ok(()),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(SocketError::Io { action: "look at", path: self.path.clone(), source }),
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // The lock is still held here, so these names are ours. What cannot be removed now is replaced at the next start.
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|metadata| metadata.file_type().is_socket());
        // When creation was refused because another instance answers, its socket stays.
        let own_pid = std::process::id().cast_signed();
        if ours && listener(&self.path).is_none_or(|listener| listener.pid == Some(own_pid)) {
            let _ = fs::remove_file(&self.path);
        }
        let _ = fs::remove_file(&self.lock_path);
        if let Some(directory) = &self.made_directory {
            // Fails when someone else put a file there; then it stays.
            let _ = fs::remove_dir(directory);
        }
    }
}

/// Opens the lock file and locks it; `None` when another process has it locked.
fn take_lock(path: &Path) -> Result<Option<File>, SocketError> {
    let failed = |action| move |source: io::Error| SocketError::Io { action, path: path.into(), source };
    loop {
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            // In a directory that others can write to, do not be led to a file elsewhere.
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(path)
            .map_err(failed("open the lock file"))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(failed("lock")(error.into())),
        }
        // The holder before us may have removed the file after we opened it: then our lock is on nothing.
        let ours = lock.metadata().map_err(failed("look at"))?;
        match fs::symlink_metadata(path) {
            Ok(there) if (there.dev(), there.ino()) == (ours.dev(), ours.ino()) => return Ok(Some(lock)),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("look at")(error)),
        }
    }
}

/// Someone who listens on a socket.
struct Listener {
    /// The process, as the kernel knows it; `None` when so many wait for it that it does not take another connection.
    pid: Option<i32>,
}

/// Finds out who listens on a socket, without ever waiting for them; `None` when no one does.
fn listener(path: &Path) -> Option<Listener> {
    use rustix::net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with, sockopt,
    };

    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).ok()?;
    match connect(&socket, &SocketAddrUnix::new(path).ok()?) {
        Ok(()) => {
            let credentials = sockopt::socket_peercred(&socket).ok();
            Some(Listener { pid: credentials.map(|credentials| credentials.pid.as_raw_nonzero().get()) })
        }
        Err(rustix::io::Errno::AGAIN) => Some(Listener { pid: None }),
        Err(_) => None,
    }
}

/// Makes the directory of the socket when it is missing, and says so.
fn make_directory(path: &Path) -> Result<Option<PathBuf>, SocketError> {
    let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) else {
        return Ok(None);
    };
    match fs::create_dir(directory) {
        Ok(()) => Ok(Some(directory.into())),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
        Err(source) => Err(SocketError::Io { action: "make the directory", path: directory.into(), source }),
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_second_instance_is_refused_and_told_who_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sub/raddle.sock");
        let (first, listener) = SocketFile::create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        let error = SocketFile::create(&path).unwrap_err();
        let pid = std::process::id();
        assert_eq!(
            error.to_string(),
            format!("another raddle (pid {pid}) already listens on {}", path.display())
        );
        assert!(path.exists(), "the refused one removed nothing");
        drop((first, listener));
        assert!(!directory.path().join("sub").exists(), "nothing is left behind");
    }

    #[test]
    fn an_instance_whose_lock_file_was_deleted_is_still_found() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("raddle.sock");
        let _other = UnixListener::bind(&path).unwrap();
        assert!(matches!(SocketFile::create(&path), Err(SocketError::InUse { pid: Some(_), .. })));
    }

    #[test]
    fn a_stale_socket_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("raddle.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let (file, _listener) = SocketFile::create(&path).unwrap();
        UnixStream::connect(file.path()).unwrap();
    }

    #[test]
    fn what_is_no_socket_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("raddle.sock");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(SocketFile::create(&path), Err(SocketError::NotASocket { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        let long = directory.path().join("x".repeat(120));
        assert!(matches!(SocketFile::create(&long), Err(SocketError::PathTooLong { .. })));
        let linked = directory.path().join("linked.sock");
        std::os::unix::fs::symlink(&path, directory.path().join("linked.sock.lock")).unwrap();
        assert!(matches!(
            SocketFile::create(&linked),
            Err(SocketError::Io { action: "open the lock file", .. })
        ));
        let nowhere = directory.path().join("no/such/raddle.sock");
        assert!(matches!(
            SocketFile::create(&nowhere),
            Err(SocketError::Io { action: "make the directory", .. })
        ));
    }
}
