//! The control socket's server: a thread that accepts, and one for each connection.
//!
//! None of its threads ever touches a packet. All of them block; a client that sends too much, or does not read what it
//! asked for, loses its connection and nothing else.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};

use super::protocol::{Executor, MAX_REQUEST_BYTES, Response, answer_each};
use super::socket::{SocketError, SocketFile};

/// Connections served at once.
pub const MAX_CONNECTIONS: usize = 64;

/// Time limits of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Within this a client must have read an answer.
    pub write_timeout: Duration,
    /// So long [`Server::stop`] waits for commands that still run.
    pub stop_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { write_timeout: Duration::from_secs(10), stop_timeout: Duration::from_secs(2) }
    }
}

/// A running server. Dropping it stops it.
#[derive(Debug)]
pub struct Server {
    socket: Option<SocketFile>,
    shared: Arc<Shared>,
    /// Closing this end wakes the accepting thread.
    wake: Option<UnixStream>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    limits: Limits,
    connections: Mutex<Connections>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct Connections {
    next_id: u64,
    open: HashMap<u64, UnixStream>,
}

impl Server {
    /// Creates the socket at `path` (mode 0660) and answers its clients by `executor`.
    ///
    /// # Errors
    /// Another instance listens there, or the socket cannot be made.
    pub fn start(path: &Path, executor: Arc<dyn Executor>, limits: Limits) -> Result<Self, SocketError> {
        let (socket, listener) = SocketFile::create(path)?;
        let failed =
            |source| SocketError::Io { action: "start the control threads for", path: path.into(), source };
        let (wake, woken) = UnixStream::pair().map_err(failed)?;
        let shared = Arc::new(Shared { limits, connections: Mutex::default(), ended: Condvar::new() });
        let acceptor = {
            let shared = Arc::clone(&shared);
            let accept = move || accept_loop(&listener, &woken, &shared, &executor);
            thread::Builder::new().name("control".into()).spawn(accept).map_err(failed)?
        };
        Ok(Server { socket: Some(socket), shared, wake: Some(wake), acceptor: Some(acceptor) })
    }

    /// The path of the socket.
    pub fn path(&self) -> Option<&Path> {
        self.socket.as_ref().map(SocketFile::path)
    }

    /// Stops: no new connection, open ones are closed after the command they run, the socket file is removed.
    ///
    /// A command that still runs after the limit is left behind on its thread, so that this returns in any case. An
    /// executor that waits for the thread that calls this should answer all waiting commands first.
    pub fn stop(&mut self) {
        self.wake = None;
        if let Some(acceptor) = self.acceptor.take() {
            // A panic of the accepting thread has been reported by the panic hook; stopping goes on.
            let _ = acceptor.join();
        }
        self.socket = None;
        let connections = self.shared.lock();
        for stream in connections.open.values() {
            // A client that has gone away is what we want.
            let _ = stream.shutdown(std::net::Shutdown::Read);
        }
        let running = |connections: &mut Connections| !connections.open.is_empty();
        let (connections, _) = self
            .shared
            .ended
            .wait_timeout_while(connections, self.shared.limits.stop_timeout, running)
            .unwrap_or_else(PoisonError::into_inner);
        for stream in connections.open.values() {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
        if !connections.open.is_empty() {
            tracing::warn!(
                count = connections.open.len(),
                "commands still run while the control socket closes"
            );
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    /// The table of connections. A panic in a thread that holds it cannot leave it half changed.
    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a connection into the table; `None` when there are too many.
    fn admit(&self, stream: &UnixStream) -> io::Result<Option<u64>> {
        let mut connections = self.lock();
        if connections.open.len() >= MAX_CONNECTIONS {
            return Ok(None);
        }
        let id = connections.next_id;
        connections.next_id += 1;
        connections.open.insert(id, stream.try_clone()?);
        Ok(Some(id))
    }
}

/// Takes its connection out of the table, however the thread ends.
struct Admitted {
    shared: Arc<Shared>,
    id: u64,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.shared.lock().open.remove(&self.id);
        self.shared.ended.notify_all();
    }
}

fn accept_loop(
    listener: &UnixListener,
    woken: &UnixStream,
    shared: &Arc<Shared>,
    executor: &Arc<dyn Executor>,
) {
    loop {
        let mut fds = [
            PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(woken.as_fd(), PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => {
                tracing::error!(%error, "the control socket stops: poll failed");
                return;
            }
        }
        if !fds[1].revents().is_empty() {
            return;
        }
        let result = listener.accept().and_then(|(stream, _)| serve(stream, shared, executor));
        if let Err(error) = result
            && !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::ConnectionAborted)
        {
            tracing::warn!(%error, "a control connection was not accepted");
            // Out of descriptors or threads: the connection stays pending, so do not spin on it.
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Starts the thread of a connection.
fn serve(stream: UnixStream, shared: &Arc<Shared>, executor: &Arc<dyn Executor>) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    let Some(id) = shared.admit(&stream)? else {
        stream.set_write_timeout(Some(Duration::from_millis(100)))?;
        let refusal =
            Response::failure(None, format!("all {MAX_CONNECTIONS} control connections are in use"));
        return writeln!(&stream, "{}", serde_json::json!(refusal));
    };
    let admitted = Admitted { shared: Arc::clone(shared), id };
    let executor = Arc::clone(executor);
    let serve = move || {
        let limits = admitted.shared.limits;
        if let Err(error) = converse(&stream, executor.as_ref(), &limits) {
            tracing::debug!(%error, "a control connection ended");
        }
        // The table's clone keeps the socket open until `admitted` goes, so say good-bye now.
        let _ = stream.shutdown(std::net::Shutdown::Both);
        drop(admitted);
    };
    thread::Builder::new().name("control-client".into()).spawn(serve).map(drop)
}

/// Answers line by line until the client hangs up.
fn converse(stream: &UnixStream, executor: &dyn Executor, limits: &Limits) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        // One more than the bound, to tell a line that is at it from one that is past it; and the newline.
        let limit = MAX_REQUEST_BYTES as u64 + 2;
        reader.by_ref().take(limit).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(());
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        if line.len() > MAX_REQUEST_BYTES {
            return refuse(stream, &line, &format!("a line has at most {MAX_REQUEST_BYTES} bytes"), limits);
        }
        let text = match std::str::from_utf8(&line) {
            Ok("quit" | "exit") => return Ok(()),
            Ok(text) => text,
            Err(_) => return refuse(stream, &line, "a line is UTF-8 text", limits),
        };
        answer_each(text, executor, &mut |part| match part {
            // A plain command may have nothing to say; a JSON answer is never empty.
            "" => Ok(()),
            part => write_within(stream, format!("{part}\n").as_bytes(), limits.write_timeout),
        })?;
    }
}

/// Answers a line that cannot be read, in its own form; the connection ends with it.
fn refuse(stream: &UnixStream, line: &[u8], message: &str, limits: &Limits) -> io::Result<()> {
    let response = Response::failure(None, message);
    let text = match line.first() {
        Some(b'{') => serde_json::json!(response).to_string(),
        _ => format!("error: {message}"),
    };
    write_within(stream, format!("{text}\n").as_bytes(), limits.write_timeout)
}

/// Writes all of `bytes` before the time is over, however little the client reads at once.
fn write_within(mut stream: &UnixStream, mut bytes: &[u8], limit: Duration) -> io::Result<()> {
    let deadline = Instant::now() + limit;
    while !bytes.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read its answer"));
        }
        stream.set_write_timeout(Some(left))?;
        match stream.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The socket that serves by default: `/run/raddle/raddle.sock`, or for other users than root a path of their own.
pub fn default_path() -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/run/raddle/raddle.sock");
    }
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|directory| !directory.is_empty()) {
        Some(directory) => Path::new(&directory).join("raddle.sock"),
        None => std::env::temp_dir().join(format!("raddle-{}.sock", rustix::process::geteuid().as_raw())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::client::Client;
    use super::super::protocol::Format;
    use super::super::protocol::tests::Sample;
    use super::*;

    fn start(limits: Limits) -> (tempfile::TempDir, PathBuf, Server) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("raddle.sock");
        let server = Server::start(&path, Arc::new(Sample::new()), limits).unwrap();
        (directory, path, server)
    }

    fn say(path: &Path, lines: &str) -> String {
        let mut stream = UnixStream::connect(path).unwrap();
        stream.write_all(lines.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn answers_json_by_json_and_text_by_text() {
        let (_directory, path, _server) = start(Limits::default());
        assert_eq!(say(&path, "fail\r\n"), "error: it failed\n");
        assert_eq!(say(&path, "fail"), "error: it failed\n", "a last line without newline");
        assert_eq!(
            say(&path, "{\"id\":1,\"command\":\"fail\"}\nquit\nfail\n"),
            "{\"id\":1,\"ok\":false,\"error\":{\"message\":\"it failed\"}}\n"
        );
    }

    #[test]
    fn a_line_past_the_bound_is_refused() {
        let (_directory, path, _server) = start(Limits::default());
        let mut stream = UnixStream::connect(&path).unwrap();
        // The server may hang up before all is written.
        let _ = stream.write_all(&vec![b'x'; MAX_REQUEST_BYTES + 2]);
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        assert_eq!(answer, "error: a line has at most 65536 bytes\n");
        assert!(say(&path, &format!("show thing {}\n", "y".repeat(60_000))).contains("yyy"));
        assert!(say(&path, &format!("{}\n", "x".repeat(MAX_REQUEST_BYTES))).contains("unknown command"));
    }

    #[test]
    fn connections_past_the_bound_are_told_and_room_comes_back() {
        let (_directory, path, _server) = start(Limits::default());
        let mut clients: Vec<Client> =
            (0..MAX_CONNECTIONS).map(|_| Client::connect(&path).unwrap()).collect();
        for client in &mut clients {
            client.execute("show thing", Format::Json).unwrap().unwrap();
        }
        let mut refused = String::new();
        UnixStream::connect(&path).unwrap().read_to_string(&mut refused).unwrap();
        assert!(refused.contains("all 64 control connections are in use"), "{refused}");
        drop(clients);
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let outcome = Client::connect(&path).unwrap().execute("show thing", Format::Json);
            if matches!(outcome, Ok(Ok(_))) {
                break;
            }
            assert!(Instant::now() < deadline, "{outcome:?}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn a_client_that_does_not_read_loses_its_connection_alone() {
        let limits = Limits { write_timeout: Duration::from_millis(100), ..Limits::default() };
        let (_directory, path, server) = start(limits);
        let mut idle = UnixStream::connect(&path).unwrap();
        idle.write_all(b"big 10000000\n").unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while server.shared.lock().next_id == 0 || !server.shared.lock().open.is_empty() {
            assert!(Instant::now() < deadline);
            thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(say(&path, "fail\n"), "error: it failed\n");
    }

    #[test]
    fn stop_ends_idle_connections_and_removes_the_socket() {
        let (directory, path, mut server) = start(Limits::default());
        let mut idle = UnixStream::connect(&path).unwrap();
        idle.write_all(b"fail\n").unwrap();
        let mut answer = [0; 17];
        idle.read_exact(&mut answer).unwrap();
        let before = Instant::now();
        server.stop();
        assert!(before.elapsed() < Limits::default().stop_timeout, "no thread had to be waited for");
        assert_eq!(idle.read(&mut [0; 1]).unwrap(), 0);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        server.stop();
    }

    #[test]
    fn stop_does_not_wait_for_a_command_that_hangs() {
        let limits = Limits { stop_timeout: Duration::from_millis(50), ..Limits::default() };
        let (_directory, path, mut server) = start(limits);
        let mut busy = UnixStream::connect(&path).unwrap();
        busy.write_all(b"sleep 4s\n").unwrap();
        while server.shared.lock().open.is_empty() {
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(Duration::from_millis(20));
        let before = Instant::now();
        server.stop();
        assert!(before.elapsed() < Duration::from_secs(3));
    }
}
