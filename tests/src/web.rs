//! A web server and a client: Python's `http.server` and `curl`.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};

use crate::command::run;
use crate::{Namespace, Process};

/// The port it listens on, for IPv4 and IPv6.
pub const PORT: u16 = 8080;

/// A server of the files in a directory; stopped when dropped.
#[derive(Debug)]
pub struct WebServer {
    _process: Process,
}

impl WebServer {
    /// Serves `directory` in `namespace` on [`PORT`] and waits until it listens.
    ///
    /// # Errors
    /// When Python cannot run or the port is taken.
    pub fn start(namespace: &Namespace, directory: &Path) -> Result<Self> {
        let mut command = namespace.command(crate::judge::PYTHON);
        command.args(["-I", "-m", "http.server", "--protocol", "HTTP/1.1", "--bind", "::", "--directory"]);
        let mut process = Process::start(command.arg(directory).arg(PORT.to_string()))?;
        process.wait_until_listening(PORT)?;
        Ok(Self { _process: process })
    }
}

/// What `curl` fetched.
#[derive(Debug, Clone, PartialEq)]
pub struct Fetched {
    /// The HTTP status.
    pub status: u16,
    /// Length of the body.
    pub len_bytes: u64,
    /// From the start to the last byte.
    pub seconds: f64,
}

/// Fetches `http://address:PORT/path` from `namespace` into the file `to`.
///
/// # Errors
/// When no whole answer comes within a minute.
pub fn fetch(namespace: &Namespace, address: impl Into<IpAddr>, path: &str, to: &Path) -> Result<Fetched> {
    let url = format!("http://{}/{path}", SocketAddr::new(address.into(), PORT));
    let mut command = namespace.command("curl");
    command
        .args(["--silent", "--show-error", "--globoff", "--noproxy", "*"])
        .args(["--connect-timeout", "20", "--max-time", &Duration::from_secs(55).as_secs().to_string()])
        .args(["--write-out", "%{http_code} %{size_download} %{time_total}", "--output"])
        .arg(to)
        .arg(url);
    parse(&run(&mut command)?)
}

pub(crate) fn parse(text: &str) -> Result<Fetched> {
    let words: Vec<_> = text.split_whitespace().collect();
    ensure!(words.len() == 3, "curl wrote {text:?}");
    let bad = || anyhow!("curl wrote {text:?}");
    Ok(Fetched {
        status: words[0].parse().with_context(bad)?,
        len_bytes: words[1].parse().with_context(bad)?,
        seconds: words[2].parse().with_context(bad)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_curl_writes() {
        assert_eq!(parse("200 1024 0.25").unwrap(), Fetched { status: 200, len_bytes: 1024, seconds: 0.25 });
        assert!(parse("").is_err());
        assert!(parse("200 x 0.25").is_err());
    }
}
