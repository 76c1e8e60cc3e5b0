//! The thread that serves metrics. It polls its listeners and a bounded number of connections, and asks the main thread
//! for a snapshot when somebody scrapes; no worker hears of it.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::connection::{Connection, Waits};
use super::render;
use crate::control::socket::{SocketError, SocketFile};
use crate::host::Snapshot;

/// Connections at a time; others wait to be accepted.
const MOST_CONNECTIONS: usize = 16;
/// How long a snapshot is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why there are no metrics.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The address cannot be listened on.
    #[error("metrics: cannot listen on {address}: {}", listen_reason(.source))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The Unix socket cannot be made.
    #[error("metrics: {0}")]
    Socket(#[from] SocketError),
    /// No thread or descriptor is to be had.
    #[error("metrics: cannot start their thread: {0}")]
    Thread(#[from] std::io::Error),
}

fn listen_reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            "another process listens there; set another port by `listen` in [metrics]".into()
        }
        std::io::ErrorKind::AddrNotAvailable => "this machine has no such address".into(),
        std::io::ErrorKind::PermissionDenied => "permission denied; ports below 1024 are for root".into(),
        _ => error.to_string(),
    }
}

/// Takes a snapshot, on whatever thread.
pub type Answer = Box<dyn FnOnce(Snapshot) + Send>;

/// Where snapshots come from. `ask` does not block; an answer that is dropped never comes.
pub trait Source: Send + 'static {
    /// Has a snapshot taken and given to `answer`.
    fn ask(&self, answer: Answer);
}

impl<F: Fn(Answer) + Send + 'static> Source for F {
    fn ask(&self, answer: Answer) {
        self(answer);
    }
}

/// What other threads tell the server's.
struct Inbox {
    /// Written to, the thread wakes.
    bell: OwnedFd,
    stop: AtomicBool,
    snapshot: Mutex<Option<Snapshot>>,
}

impl Inbox {
    fn ring(&self) {
        // Full, it rings already.
        let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
    }
}

/// A running server; dropped, it ends.
pub struct MetricsServer {
    inbox: Arc<Inbox>,
    thread: Option<JoinHandle<()>>,
    address: Option<SocketAddr>,
    /// Removed with the server.
    _socket: Option<SocketFile>,
}

impl MetricsServer {
    /// Listens on an address, on a Unix socket, or on both.
    ///
    /// # Errors
    /// One of them cannot be listened on; then nothing is.
    pub fn start(
        listen: Option<SocketAddr>,
        socket: Option<&Path>,
        source: impl Source,
    ) -> Result<Self, MetricsError> {
        let tcp = match listen {
            Some(address) => {
                let bound = TcpListener::bind(address).and_then(|tcp| {
                    tcp.set_nonblocking(true)?;
                    Ok(tcp)
                });
                Some(bound.map_err(|source| MetricsError::Listen { address, source })?)
            }
            None => None,
        };
        let address = tcp.as_ref().map(TcpListener::local_addr).transpose()?;
        let (file, unix) = match socket {
            Some(path) => SocketFile::create(path).map(|(file, unix)| (Some(file), Some(unix)))?,
            None => (None, None),
        };
        let bell =
            eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(std::io::Error::from)?;
        let inbox = Arc::new(Inbox { bell, stop: AtomicBool::new(false), snapshot: Mutex::default() });
        let mut service =
            Service { inbox: Arc::clone(&inbox), tcp, unix, connections: Vec::new(), asked: None, source };
        let thread = std::thread::Builder::new().name("metrics".into()).spawn(move || service.run())?;
        Ok(Self { inbox, thread: Some(thread), address, _socket: file })
    }

    /// The address on which it listens: with the port that the system gave it, if it was asked for port 0.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }
}

impl Drop for MetricsServer {
    fn drop(&mut self) {
        self.inbox.stop.store(true, Ordering::Release);
        self.inbox.ring();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the metrics panicked");
        }
    }
}

/// What the thread has.
struct Service<S> {
    inbox: Arc<Inbox>,
    tcp: Option<TcpListener>,
    unix: Option<UnixListener>,
    connections: Vec<Connection>,
    /// When a snapshot was asked for that has not come.
    asked: Option<Instant>,
    source: S,
}

impl<S: Source> Service<S> {
    fn run(&mut self) {
        while !self.inbox.stop.load(Ordering::Acquire) {
            if let Err(error) = self.wait() {
                tracing::error!(%error, "metrics are no longer served");
                return;
            }
            // The bell is silent again; how often it was rung is of no interest.
            let _ = rustix::io::read(&self.inbox.bell, &mut [0; 8]);
            self.accept();
            self.connections.retain_mut(Connection::advance);
            self.ask();
            self.answer();
            let now = Instant::now();
            self.connections.retain(|connection| connection.deadline() > now);
        }
    }

    fn wait(&self) -> std::io::Result<()> {
        let mut wanted: Vec<(BorrowedFd<'_>, PollFlags)> = vec![(self.inbox.bell.as_fd(), PollFlags::IN)];
        if self.connections.len() < MOST_CONNECTIONS {
            let listeners = self.tcp.iter().map(AsFd::as_fd).chain(self.unix.iter().map(AsFd::as_fd));
            wanted.extend(listeners.map(|listener| (listener, PollFlags::IN)));
        }
        for connection in &self.connections {
            match connection.waits() {
                Waits::Readable => wanted.push((connection.stream(), PollFlags::IN)),
                Waits::Writable => wanted.push((connection.stream(), PollFlags::OUT)),
                Waits::Metrics => {}
            }
        }
        let deadlines = self.connections.iter().map(Connection::deadline);
        let next = deadlines.chain(self.asked.map(|asked| asked + PATIENCE)).min();
        let wait = next.map(|next| next.saturating_duration_since(Instant::now()));
        let wait = wait.and_then(|wait| Timespec::try_from(wait).ok());
        let mut polled: Vec<PollFd<'_>> =
            wanted.iter().map(|(fd, events)| PollFd::from_borrowed_fd(*fd, *events)).collect();
        match poll(&mut polled, wait.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn accept(&mut self) {
        while self.connections.len() < MOST_CONNECTIONS {
            let tcp = self
                .tcp
                .as_ref()
                .and_then(|tcp| tcp.accept().ok())
                .map(|(stream, _)| stream.set_nonblocking(true).map(|()| OwnedFd::from(stream)));
            let accepted = tcp.or_else(|| {
                let (stream, _) = self.unix.as_ref()?.accept().ok()?;
                Some(stream.set_nonblocking(true).map(|()| OwnedFd::from(stream)))
            });
            match accepted {
                Some(Ok(stream)) => self.connections.push(Connection::new(stream)),
                // A stream that is broken already.
                Some(Err(_)) => {}
                None => break,
            }
        }
    }

    /// Asks for a snapshot if some connection waits for one. All that wait share it.
    fn ask(&mut self) {
        let wanted = self.connections.iter().any(|connection| connection.waits() == Waits::Metrics);
        if !wanted || self.asked.is_some() {
            return;
        }
        self.asked = Some(Instant::now());
        let inbox = Arc::clone(&self.inbox);
        self.source.ask(Box::new(move |snapshot| {
            *inbox.snapshot.lock().unwrap_or_else(PoisonError::into_inner) = Some(snapshot);
            inbox.ring();
        }));
    }

    fn answer(&mut self) {
        let Some(asked) = self.asked else { return };
        let snapshot = self.inbox.snapshot.lock().unwrap_or_else(PoisonError::into_inner).take();
        let text = match snapshot {
            Some(snapshot) => Some(render(&snapshot)),
            None if asked.elapsed() < PATIENCE => return,
            None => None,
        };
        self.asked = None;
        self.connections.retain_mut(|connection| connection.answer(text.as_deref()));
    }
}

/// Where the metrics are served, for a log line.
pub(super) fn place(address: Option<SocketAddr>, socket: Option<&PathBuf>) -> String {
    let address = address.map(|address| format!("http://{address}/metrics"));
    let socket = socket.map(|socket| socket.display().to_string());
    address.into_iter().chain(socket).collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::*;

    fn at_once(answer: Answer) {
        answer(Snapshot::default());
    }

    fn loopback() -> Option<SocketAddr> {
        Some(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    fn scrape(mut stream: impl Read + Write) -> String {
        stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }

    #[test]
    fn serves_by_tcp_and_by_unix_socket_and_leaves_nothing_behind() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("metrics.sock");
        let server = MetricsServer::start(loopback(), Some(&path), at_once).expect("a server");
        let address = server.address().expect("an address");
        for _ in 0..3 {
            let answer = scrape(TcpStream::connect(address).expect("a connection"));
            assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("# EOF\n"), "{answer}");
        }
        let answer = scrape(std::os::unix::net::UnixStream::connect(&path).expect("a connection"));
        assert!(answer.ends_with("# EOF\n"), "{answer}");
        drop(server);
        assert!(!path.exists() && TcpStream::connect(address).is_err());
    }

    #[test]
    fn an_address_in_use_is_told() {
        let server = MetricsServer::start(loopback(), None, at_once).expect("a server");
        let error =
            MetricsServer::start(server.address(), None, at_once).err().expect("an error").to_string();
        assert!(error.contains("another process listens there"), "{error}");
    }

    #[test]
    fn silent_peers_do_not_keep_others_out() {
        let server = MetricsServer::start(loopback(), None, at_once).expect("a server");
        let address = server.address().expect("an address");
        let silent: Vec<_> =
            (1..MOST_CONNECTIONS).map(|_| TcpStream::connect(address).expect("a connection")).collect();
        let answer = scrape(TcpStream::connect(address).expect("a connection"));
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        drop(silent);
    }
}
