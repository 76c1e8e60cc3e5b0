//! One connection of a scraper: a request's head in, an answer out. HTTP/1.1 (RFC 9112) as far as a scrape needs it;
//! heads are parsed by `httparse`.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;

/// Bytes that the head of a request may have.
const MOST_HEAD_BYTES: usize = 8 << 10;
/// Bytes of a request that are read away behind its head.
const MOST_READ_AWAY: usize = 64 << 10;
/// Header fields that a request may have.
const MOST_FIELDS: usize = 64;
/// Time from the connection's beginning to its end.
const MOST_TIME: Duration = Duration::from_secs(10);

/// Media type of the text (OpenMetrics 1.0, "Overall Structure").
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";

/// Where a connection stands.
enum State {
    /// The head of the request, as far as it has come.
    Reading(Vec<u8>),
    /// The metrics were asked for.
    Asking {
        /// Without the text: a `HEAD` request.
        head_only: bool,
    },
    /// The answer, and how much of it was sent.
    Writing(Vec<u8>, usize),
}

/// A connection.
pub struct Connection {
    stream: OwnedFd,
    state: State,
    deadline: Instant,
}

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// Bytes of the request.
    Readable,
    /// Room for bytes of the answer.
    Writable,
    /// The metrics.
    Metrics,
}

impl Connection {
    /// A connection that was accepted just now; the stream does not block.
    pub fn new(stream: OwnedFd) -> Self {
        Self { stream, state: State::Reading(Vec::new()), deadline: Instant::now() + MOST_TIME }
    }

    /// What it waits for.
    pub fn waits(&self) -> Waits {
        match self.state {
            State::Reading(_) => Waits::Readable,
            State::Asking { .. } => Waits::Metrics,
            State::Writing(..) => Waits::Writable,
        }
    }

    /// The stream, to be polled.
    pub fn stream(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// When it is closed whatever it waits for.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Reads and writes what can be; returns whether the connection goes on.
    pub fn advance(&mut self) -> bool {
        let outcome = match self.state {
            State::Reading(_) => self.read(),
            State::Asking { .. } => Ok(true),
            State::Writing(..) => self.write(),
        };
        // Whoever breaks off a scrape needs no answer.
        outcome.unwrap_or(false)
    }

    /// Answers with the metrics, or says that there are none: nobody made them in time.
    pub fn answer(&mut self, metrics: Option<&str>) -> bool {
        let State::Asking { head_only } = self.state else { return true };
        let response = match metrics {
            Some(text) => response("200 OK", OPEN_METRICS, "", text, head_only),
            None => response("503 Service Unavailable", PLAIN, "", "raddle does not answer\n", head_only),
        };
        self.begin_writing(response)
    }

    fn begin_writing(&mut self, response: Vec<u8>) -> bool {
        self.state = State::Writing(response, 0);
        self.write().unwrap_or(false)
    }

    fn read(&mut self) -> io::Result<bool> {
        let State::Reading(head) = &mut self.state else { return Ok(true) };
        let mut bytes = [0; 2048];
        loop {
            match rustix::io::read(&self.stream, &mut bytes) {
                Ok(0) => return Ok(false),
                Ok(count) => head.extend_from_slice(&bytes[..count]),
                Err(Errno::WOULDBLOCK) => return Ok(true),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            match understood(head) {
                Understood::NotYet if head.len() < MOST_HEAD_BYTES => {}
                Understood::NotYet => {
                    return Ok(self.refuse(
                        "431 Request Header Fields Too Large",
                        "",
                        "the request is too long\n",
                    ));
                }
                Understood::Metrics { head_only } => {
                    self.state = State::Asking { head_only };
                    return Ok(true);
                }
                Understood::Refused(status, field, text) => return Ok(self.refuse(status, field, text)),
            }
        }
    }

    fn refuse(&mut self, status: &str, field: &str, text: &str) -> bool {
        self.begin_writing(response(status, PLAIN, field, text, false))
    }

    fn write(&mut self) -> io::Result<bool> {
        let State::Writing(bytes, sent) = &mut self.state else { return Ok(true) };
        while *sent < bytes.len() {
            // A peer that is gone is an error here, not a signal: the runtime of Rust ignores SIGPIPE.
            match rustix::io::write(&self.stream, &bytes[*sent..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => *sent += count,
                Err(Errno::WOULDBLOCK) => return Ok(true),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // All is sent; the peer sees the end behind it.
        self.read_away();
        Ok(false)
    }

    /// Takes what the peer has sent that nobody reads (the rest of a long request), so that closing the stream does not
    /// reset it before the answer was read. What comes later is not waited for.
    fn read_away(&self) {
        let mut bytes = [0; 2048];
        for _ in 0..MOST_READ_AWAY / bytes.len() {
            if !matches!(rustix::io::read(&self.stream, &mut bytes), Ok(1..)) {
                break;
            }
        }
    }
}

enum Understood {
    NotYet,
    Metrics {
        head_only: bool,
    },
    /// Status, a header field of its own, and words.
    Refused(&'static str, &'static str, &'static str),
}

fn understood(head: &[u8]) -> Understood {
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(head) {
        Ok(httparse::Status::Partial) => return Understood::NotYet,
        Ok(httparse::Status::Complete(_)) => {}
        Err(_) => return Understood::Refused("400 Bad Request", "", "that is no HTTP request\n"),
    }
    let (method, target) = (request.method.unwrap_or_default(), request.path.unwrap_or_default());
    if !matches!(method, "GET" | "HEAD") {
        return Understood::Refused(
            "405 Method Not Allowed",
            "Allow: GET, HEAD\r\n",
            "metrics are read by GET\n",
        );
    }
    // The target may have a query, and through a proxy be a whole address (RFC 9112 §3.2).
    let path = target.split('?').next().unwrap_or_default();
    let path = path.strip_prefix("http://").map_or(path, |rest| rest.find('/').map_or("/", |at| &rest[at..]));
    if path == "/metrics" {
        Understood::Metrics { head_only: method == "HEAD" }
    } else {
        Understood::Refused("404 Not Found", "", "the metrics are at /metrics\n")
    }
}

fn response(status: &str, media_type: &str, field: &str, body: &str, head_only: bool) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {media_type}\r\nContent-Length: {length}\r\n{field}\
         Cache-Control: no-store\r\nConnection: close\r\n\r\n"
    );
    let mut response = head.into_bytes();
    if !head_only {
        response.extend_from_slice(body.as_bytes());
    }
    response
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    /// What a peer that sends `request` in the given pieces gets, with the metrics being `metrics`.
    fn exchange(pieces: &[&[u8]], metrics: Option<&str>) -> String {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        ours.set_nonblocking(true).expect("a socket");
        let mut connection = Connection::new(ours.into());
        let mut goes_on = true;
        for piece in pieces {
            theirs.write_all(piece).expect("room");
            goes_on = goes_on && connection.advance();
        }
        if goes_on && connection.waits() == Waits::Metrics {
            goes_on = connection.answer(metrics);
        }
        if goes_on {
            return "waits".to_owned();
        }
        drop(connection);
        let mut answer = String::new();
        theirs.read_to_string(&mut answer).expect("an answer");
        answer
    }

    #[test]
    fn a_scrape_is_answered_however_it_comes_in_pieces() {
        let request = b"GET /metrics?x=1 HTTP/1.1\r\nHost: a\r\nAccept: text/plain\r\n\r\n";
        for cut in 0..request.len() {
            let answer = exchange(&[&request[..cut], &request[cut..]], Some("# EOF\n"));
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{cut}: {answer}");
            assert!(answer.contains("application/openmetrics-text; version=1.0.0"), "{answer}");
            assert!(answer.ends_with("Connection: close\r\n\r\n# EOF\n"), "{answer}");
        }
    }

    #[test]
    fn what_is_no_scrape_is_told_so() {
        let long = format!("GET /{} HTTP/1.1\r\n", "a".repeat(MOST_HEAD_BYTES));
        for (request, status) in [
            ("POST /metrics HTTP/1.1\r\n\r\n", "405"),
            ("GET / HTTP/1.1\r\n\r\n", "404"),
            ("GET http://h:1/other HTTP/1.1\r\n\r\n", "404"),
            ("\u{1}\u{2}\u{3}\r\n\r\n", "400"),
            ("GET /metrics SPDY/3\r\n\r\n", "400"),
            (long.as_str(), "431"),
        ] {
            let answer = exchange(&[request.as_bytes()], Some("# EOF\n"));
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
        }
    }

    #[test]
    fn head_has_the_length_alone_and_an_engine_that_is_silent_is_told() {
        let head = exchange(&[b"HEAD /metrics HTTP/1.1\r\n\r\n"], Some("# EOF\n"));
        assert!(head.contains("Content-Length: 6\r\n") && head.ends_with("\r\n\r\n"), "{head}");
        let silent = exchange(&[b"GET http://h/metrics HTTP/1.1\r\n\r\n"], None);
        assert!(silent.starts_with("HTTP/1.1 503 "), "{silent}");
        assert_eq!(exchange(&[b"GET /met"], None), "waits");
    }
}
