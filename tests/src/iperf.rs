//! Bulk TCP by iperf3.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use crate::command::finish;
use crate::{Namespace, Process};

const PORT: u16 = 5201;

/// An iperf3 server; stopped when dropped.
#[derive(Debug)]
pub struct IperfServer {
    _process: Process,
}

impl IperfServer {
    /// Starts it in `namespace` and waits until it listens.
    ///
    /// # Errors
    /// When iperf3 is missing.
    pub fn start(namespace: &Namespace) -> Result<Self> {
        let mut process = Process::start(namespace.command("iperf3").args(["--server"]))?;
        process.wait_until_listening(PORT)?;
        Ok(Self { _process: process })
    }
}

/// Which way the bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Client to server.
    Upload,
    /// Server to client.
    Download,
}

/// What was transferred.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Transfer {
    /// Bytes that arrived.
    pub len_bytes: u64,
    /// Rate at the receiver.
    pub gbit_per_second: f64,
    /// Segments the sender sent again.
    pub retransmits: u64,
}

/// Transfers for `seconds` over one TCP connection from `namespace` to or from the server at `address`.
///
/// # Errors
/// When iperf3 cannot connect or the connection breaks.
pub fn iperf(
    namespace: &Namespace,
    address: impl Into<IpAddr>,
    direction: Direction,
    seconds: u32,
) -> Result<Transfer> {
    let mut command = namespace.command("iperf3");
    command.args(["--json", "--connect-timeout", "20000", "--time", &seconds.to_string(), "--client"]);
    command.arg(address.into().to_string());
    if direction == Direction::Download {
        command.arg("--reverse");
    }
    let finished = finish(&mut command, Duration::from_secs(60 + u64::from(seconds)))?;
    parse(&finished.stdout)
        .with_context(|| format!("iperf3 ended with {:?}: {}", finished.code, finished.stderr))
}

fn parse(text: &str) -> Result<Transfer> {
    let report: Value = serde_json::from_str(text).context("iperf3 printed no JSON")?;
    if let Some(error) = report["error"].as_str() {
        bail!("{error}");
    }
    let end = &report["end"];
    let missing = || anyhow!("iperf3's report has no sums: {end}");
    Ok(Transfer {
        len_bytes: end["sum_received"]["bytes"].as_u64().ok_or_else(missing)?,
        gbit_per_second: end["sum_received"]["bits_per_second"].as_f64().ok_or_else(missing)? / 1e9,
        retransmits: end["sum_sent"]["retransmits"].as_u64().unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_sums_and_errors() {
        let text = r#"{"end": {"sum_sent": {"retransmits": 7}, "sum_received": {"bytes": 5, "bits_per_second": 2e9}}}"#;
        let expected = Transfer { len_bytes: 5, gbit_per_second: 2.0, retransmits: 7 };
        assert_eq!(parse(text).unwrap(), expected);
        let error = parse(r#"{"error": "unable to connect"}"#).unwrap_err();
        assert_eq!(error.to_string(), "unable to connect");
        assert!(parse("{}").is_err());
        assert!(parse("").is_err());
    }
}
