//! What a ping found out.

use std::fmt::Write as _;
use std::net::IpAddr;

use raddle_plugin_api::prelude::*;
use serde::Serialize;

use super::sessions::Event;

/// The result of a ping.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Report {
    source: IpAddr,
    destination: IpAddr,
    /// Bytes of echo data.
    size: u32,
    probes: Vec<Probe>,
    transmitted: usize,
    received: usize,
    errors: usize,
    loss_percent: f64,
    min_ms: Option<f64>,
    average_ms: Option<f64>,
    max_ms: Option<f64>,
}

/// What became of one request.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Probe {
    sequence: u16,
    #[serde(skip)]
    sent_ns: Option<u64>,
    #[serde(flatten)]
    outcome: Option<Outcome>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Outcome {
    from: IpAddr,
    /// Bytes of the ICMP message.
    bytes: usize,
    ttl: u8,
    time_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
}

impl Report {
    pub(super) fn new(source: IpAddr, destination: IpAddr, size: u32) -> Self {
        Self {
            source,
            destination,
            size,
            probes: Vec::new(),
            transmitted: 0,
            received: 0,
            errors: 0,
            loss_percent: 0.0,
            min_ms: None,
            average_ms: None,
            max_ms: None,
        }
    }

    /// A request is on its way.
    pub(super) fn expect(&mut self, sequence: u16) {
        self.probes.push(Probe { sequence, sent_ns: None, outcome: None });
    }

    /// Takes in what happened; what was not asked for, or was answered before, changes nothing.
    pub(super) fn take(&mut self, event: Event) {
        let sequence = match event {
            Event::Sent { sequence, .. } => sequence,
            Event::Answered { answer, .. } => answer.sequence,
        };
        let Some(probe) = self.probes.iter_mut().find(|probe| probe.sequence == sequence) else { return };
        match event {
            Event::Sent { at_ns, .. } => probe.sent_ns = Some(at_ns),
            Event::Answered { answer, at_ns } => {
                let Some(sent_ns) = probe.sent_ns else { return };
                let time_ms = at_ns.saturating_sub(sent_ns) as f64 / 1e6;
                let error = answer.error_text();
                probe.outcome.get_or_insert(Outcome {
                    from: answer.from,
                    bytes: answer.length,
                    ttl: answer.ttl,
                    time_ms,
                    error,
                });
            }
        }
    }

    /// Whether every request so far has its answer.
    pub(super) fn is_complete(&self) -> bool {
        self.probes.iter().all(|probe| probe.outcome.is_some())
    }

    /// Sums up.
    pub(super) fn finish(mut self) -> Self {
        let outcomes = || self.probes.iter().filter_map(|probe| probe.outcome.as_ref());
        let times: Vec<f64> =
            outcomes().filter(|outcome| outcome.error.is_none()).map(|outcome| outcome.time_ms).collect();
        self.transmitted = self.probes.len();
        self.errors = outcomes().filter(|outcome| outcome.error.is_some()).count();
        self.received = times.len();
        let lost = self.transmitted - self.received;
        self.loss_percent = 100.0 * lost as f64 / self.transmitted.max(1) as f64;
        self.min_ms = times.iter().copied().reduce(f64::min);
        self.max_ms = times.iter().copied().reduce(f64::max);
        self.average_ms = (!times.is_empty()).then(|| times.iter().sum::<f64>() / times.len() as f64);
        self
    }
}

impl CommandOutput for Report {
    fn text(&self) -> Option<String> {
        let Self { source, destination, size, transmitted, received, errors, loss_percent, .. } = self;
        let mut text = format!("PING {destination} from {source}: {size} data bytes\n");
        for probe in &self.probes {
            let sequence = probe.sequence;
            // Writing to a string does not fail.
            let _ = match &probe.outcome {
                None => writeln!(text, "no answer for icmp_seq={sequence}"),
                Some(Outcome { from, error: Some(error), .. }) => {
                    writeln!(text, "from {from}: icmp_seq={sequence} {error}")
                }
                Some(Outcome { from, bytes, ttl, time_ms, error: None }) => writeln!(
                    text,
                    "{bytes} bytes from {from}: icmp_seq={sequence} ttl={ttl} time={time_ms:.3} ms"
                ),
            };
        }
        let _ = write!(text, "{transmitted} packets transmitted, {received} received, ");
        if *errors > 0 {
            let _ = write!(text, "{errors} errors, ");
        }
        let _ = write!(text, "{loss_percent:.0}% packet loss");
        if let (Some(min), Some(average), Some(max)) = (self.min_ms, self.average_ms, self.max_ms) {
            let _ = write!(text, "\nrtt min/avg/max = {min:.3}/{average:.3}/{max:.3} ms");
        }
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::super::request::Answer;
    use super::*;

    #[test]
    fn sums_up_replies_errors_and_losses() {
        let (source, peer) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let mut report = Report::new(source, peer, 56);
        let answer =
            |sequence, error| Answer { identifier: 1, sequence, from: peer, ttl: 64, length: 64, error };
        for sequence in 1..=4 {
            report.expect(sequence);
            report.take(Event::Sent { sequence, at_ns: 1_000_000_000 * u64::from(sequence) });
        }
        report.take(Event::Answered { answer: answer(1, None), at_ns: 1_001_000_000 });
        report.take(Event::Answered { answer: answer(1, None), at_ns: 1_009_000_000 });
        report.take(Event::Answered { answer: answer(2, None), at_ns: 2_003_000_000 });
        report.take(Event::Answered { answer: answer(3, Some((3, 1))), at_ns: 3_001_000_000 });
        report.take(Event::Answered { answer: answer(9, None), at_ns: 3_001_000_000 });
        assert!(!report.is_complete());
        let text = report.finish().text().unwrap();
        assert_eq!(
            text,
            "PING 192.0.2.2 from 192.0.2.1: 56 data bytes\n\
             64 bytes from 192.0.2.2: icmp_seq=1 ttl=64 time=1.000 ms\n\
             64 bytes from 192.0.2.2: icmp_seq=2 ttl=64 time=3.000 ms\n\
             from 192.0.2.2: icmp_seq=3 host unreachable\n\
             no answer for icmp_seq=4\n\
             4 packets transmitted, 2 received, 1 errors, 50% packet loss\n\
             rtt min/avg/max = 1.000/2.000/3.000 ms"
        );
    }
}
