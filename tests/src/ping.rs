//! `ping` with its verdict parsed.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use crate::Namespace;
use crate::command::finish;

/// What `ping` saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PingReport {
    /// Requests sent.
    pub sent: u32,
    /// Replies received.
    pub received: u32,
    /// ICMP errors received.
    pub errors: u32,
    /// Everything it printed.
    pub text: String,
}

impl PingReport {
    /// Whether every request was answered and no error came.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.sent > 0 && self.received == self.sent && self.errors == 0
    }
}

/// Sends `count` requests to `address`, 50 ms apart, and waits up to two seconds for the last reply.
///
/// # Errors
/// When `ping` itself cannot run; an unanswered ping is a report.
pub fn ping(namespace: &Namespace, address: impl Into<IpAddr>, count: u32) -> Result<PingReport> {
    ping_with(namespace, address, &["-c", &count.to_string(), "-i", "0.05", "-W", "2"])
}

/// As [`ping`] with options of one's own.
///
/// # Errors
/// As [`ping`].
pub fn ping_with(namespace: &Namespace, address: impl Into<IpAddr>, options: &[&str]) -> Result<PingReport> {
    let address = address.into().to_string();
    let mut command = namespace.command("ping");
    command.arg("-n").args(options).arg(&address).env("LC_ALL", "C");
    let finished = finish(&mut command, Duration::from_secs(120))?;
    parse(&finished.stdout).with_context(|| format!("ping {address}: {}{}", finished.stderr, finished.stdout))
}

/// Reads iputils' last lines: `4 packets transmitted, 3 received, +1 errors, 25% packet loss, time 3004ms`.
fn parse(text: &str) -> Result<PingReport> {
    let line = text.lines().find(|line| line.contains("packets transmitted"));
    let line = line.ok_or_else(|| anyhow!("ping printed no summary"))?;
    let number = |unit: &str| {
        let part = line.split(',').find(|part| part.trim().ends_with(unit))?;
        part.split_whitespace().next()?.trim_start_matches('+').parse().ok()
    };
    Ok(PingReport {
        sent: number("packets transmitted").ok_or_else(|| anyhow!("no count of requests in {line:?}"))?,
        received: number("received").ok_or_else(|| anyhow!("no count of replies in {line:?}"))?,
        errors: number("errors").unwrap_or(0),
        text: text.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_summary_with_and_without_errors() {
        for (line, sent, received, errors) in [
            ("3 packets transmitted, 3 received, 0% packet loss, time 100ms", 3, 3, 0),
            ("4 packets transmitted, 0 received, +4 errors, 100% packet loss, time 3004ms", 4, 0, 4),
            ("1 packets transmitted, 0 received, 100% packet loss, time 0ms", 1, 0, 0),
        ] {
            let report = parse(&format!("PING x\n\n--- x ping statistics ---\n{line}\n")).unwrap();
            assert_eq!((report.sent, report.received, report.errors), (sent, received, errors), "{line}");
            assert_eq!(report.is_complete(), errors == 0 && sent == received, "{line}");
        }
    }

    #[test]
    fn says_that_there_is_no_summary() {
        assert!(parse("ping: connect: Network is unreachable\n").is_err());
    }
}
