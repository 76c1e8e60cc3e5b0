//! The control socket's client.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::language::Completion;
use super::protocol::{CompleteRequest, Failure, Format, Request, Response};

/// Bytes that an answer may have; more means that something else than raddle answers.
const MAX_RESPONSE_BYTES: u64 = 1 << 30;

/// A connection to a running instance.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    stream: BufReader<UnixStream>,
    last_id: u64,
}

/// Why nothing is known of what became of a request.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection could be made.
    #[error("cannot reach raddle at {}: {}", .path.display(), reason(.source))]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The connection broke.
    #[error("the connection to raddle at {} broke: {source}", .path.display())]
    Broken {
        /// The socket.
        path: PathBuf,
        /// How.
        source: io::Error,
    },
    /// The instance closed the connection without an answer.
    #[error("raddle at {} closed the connection", .path.display())]
    Closed {
        /// The socket.
        path: PathBuf,
    },
    /// The answer is none.
    #[error("what answers at {} does not speak raddle's protocol: {reason}", .path.display())]
    Protocol {
        /// The socket.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such socket; is the daemon running? (`raddle run` starts it)".into(),
        io::ErrorKind::ConnectionRefused => "nothing listens there any more; the daemon has died".into(),
        io::ErrorKind::PermissionDenied => {
            "permission denied; use the user or the group of the daemon".into()
        }
        _ => error.to_string(),
    }
}

/// What a command returned.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Answer {
    /// The data, if it was asked for.
    pub data: Option<Value>,
    /// The text, if it was asked for.
    pub text: Option<String>,
}

impl Answer {
    /// Adds the part that follows: lists grow, texts go on in the next line.
    fn append(&mut self, part: Self) {
        if let (Some(Value::Array(list)), Some(Value::Array(more))) = (&mut self.data, part.data) {
            list.extend(more);
        }
        if let (Some(text), Some(more)) = (&mut self.text, part.text) {
            text.push('\n');
            text.push_str(&more);
        }
    }
}

impl Client {
    /// Connects to the instance that listens on `path`.
    ///
    /// # Errors
    /// It cannot be reached.
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        match UnixStream::connect(path) {
            Ok(stream) => Ok(Client { path: path.into(), stream: BufReader::new(stream), last_id: 0 }),
            Err(source) => Err(ClientError::Unreachable { path: path.into(), source }),
        }
    }

    /// Has a command carried out.
    ///
    /// # Errors
    /// The outer error: the answer is not known. The inner one: the command failed.
    pub fn execute(&mut self, command: &str, format: Format) -> Result<Result<Answer, Failure>, ClientError> {
        let mut whole: Option<Answer> = None;
        let outcome = self.execute_each(command, format, &mut |part, _| {
            match &mut whole {
                Some(whole) => whole.append(part),
                None => whole = Some(part),
            }
            true
        })?;
        Ok(outcome.map(|()| whole.unwrap_or_default()))
    }

    /// Has a command carried out whose answer may come in parts: `take` gets each, and whether more follow, and says
    /// whether it wants them. A connection on which not all were wanted is of no more use.
    ///
    /// # Errors
    /// As [`Self::execute`].
    pub fn execute_each(
        &mut self,
        command: &str,
        format: Format,
        take: &mut dyn FnMut(Answer, bool) -> bool,
    ) -> Result<Result<(), Failure>, ClientError> {
        let request = Request { command: Some(command.to_owned()), format, ..Request::default() };
        let mut response = self.call(request)?;
        loop {
            let Response { ok, more, data, text, error, .. } = response;
            if let Some(failure) = error.filter(|_| !ok) {
                return Ok(Err(failure));
            }
            if !take(Answer { data, text }, more) || !more {
                return Ok(Ok(()));
            }
            response = self.read(self.last_id, Ok(()))?;
        }
    }

    /// Asks what may stand at byte `cursor` of `line`.
    ///
    /// # Errors
    /// The answer is not known.
    pub fn complete(&mut self, line: &str, cursor: usize) -> Result<Completion, ClientError> {
        let request = Request {
            complete: Some(CompleteRequest { line: line.to_owned(), cursor }),
            ..Request::default()
        };
        let data = self.call(request)?.data.unwrap_or_default();
        serde_json::from_value(data)
            .map_err(|error| ClientError::Protocol { path: self.path.clone(), reason: error.to_string() })
    }

    fn call(&mut self, mut request: Request) -> Result<Response, ClientError> {
        self.last_id += 1;
        request.id = self.last_id;
        let protocol = |reason: String| ClientError::Protocol { path: self.path.clone(), reason };
        let line = serde_json::to_string(&request).map_err(|error| protocol(error.to_string()))?;
        // A server that refuses the connection answers and closes: read its answer even if the request cannot be sent.
        let sent = self.stream.get_mut().write_all(format!("{line}\n").as_bytes());
        self.read(request.id, sent)
    }

    /// Reads a response to the request of this id, to send which this was the outcome.
    fn read(&mut self, id: u64, sent: io::Result<()>) -> Result<Response, ClientError> {
        let protocol = |reason: String| ClientError::Protocol { path: self.path.clone(), reason };
        let mut answer = Vec::new();
        let read = self.stream.by_ref().take(MAX_RESPONSE_BYTES).read_until(b'\n', &mut answer);
        if answer.last() != Some(&b'\n') {
            return Err(match sent.and(read) {
                Ok(_) => ClientError::Closed { path: self.path.clone() },
                Err(source) => ClientError::Broken { path: self.path.clone(), source },
            });
        }
        let response: Response =
            serde_json::from_slice(&answer).map_err(|error| protocol(error.to_string()))?;
        match response.id {
            Some(other) if other != id => Err(protocol(format!("answer {other} to request {id}"))),
            _ => Ok(response),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    /// A server that reads one request and says `answer`.
    fn asked(answer: &'static str) -> ClientError {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let server = std::thread::spawn(move || {
            let mut stream = BufReader::new(listener.accept().unwrap().0);
            stream.read_line(&mut String::new()).unwrap();
            stream.get_mut().write_all(answer.as_bytes()).unwrap();
        });
        let error = Client::connect(&path).unwrap().execute("x", Format::Both).unwrap_err();
        server.join().unwrap();
        error
    }

    #[test]
    fn an_unreachable_daemon_is_told_in_one_sentence() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("raddle.sock");
        let error = Client::connect(&path).unwrap_err().to_string();
        assert!(
            error.ends_with("no such socket; is the daemon running? (`raddle run` starts it)"),
            "{error}"
        );
        drop(UnixListener::bind(&path).unwrap());
        let error = Client::connect(&path).unwrap_err().to_string();
        assert!(error.ends_with("nothing listens there any more; the daemon has died"), "{error}");
    }

    #[test]
    fn strange_answers_are_errors() {
        assert!(matches!(asked(""), ClientError::Closed { .. }));
        assert!(matches!(asked("{\"id\":1,\"ok\":true}"), ClientError::Closed { .. }));
        assert!(matches!(asked("HTTP/1.1 400\n"), ClientError::Protocol { .. }));
        assert!(matches!(asked("{\"id\":7,\"ok\":true}\n"), ClientError::Protocol { .. }));
    }
}
