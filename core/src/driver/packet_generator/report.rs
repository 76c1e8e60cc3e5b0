//! What commands tell of generators, as data.

use serde::Serialize;

use super::generator::Generator;
use super::stream::{Stream, StreamState};

/// A stream in `show packet-generator`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct StreamReport {
    /// The interface.
    pub interface: String,
    /// The stream.
    pub stream: String,
    /// What it does.
    pub state: StreamState,
    /// Packets sent in the present run.
    pub sent: u64,
    /// Bytes sent in the present run.
    pub bytes: u64,
    /// Packets a second, over the present run; `None` before there are two moments to compare.
    pub rate: Option<u64>,
    /// Packets that are still to be sent; `None`: without end.
    pub remaining: Option<u64>,
    /// What it sends.
    pub packet: String,
}

impl StreamReport {
    /// How a stream of a generator stands.
    pub fn of(generator: &Generator, stream: &Stream) -> Self {
        let (plan, progress) = (stream.plan(), stream.progress());
        let elapsed = progress.first_ns.map_or(0, |first| progress.last_ns.saturating_sub(first));
        Self {
            interface: generator.name().to_owned(),
            stream: plan.name.clone(),
            state: stream.state(),
            sent: progress.packets,
            bytes: progress.bytes,
            rate: per_second(progress.packets.saturating_sub(1), elapsed),
            remaining: plan.count.map(|count| count.saturating_sub(progress.packets)),
            packet: plan.text.clone(),
        }
    }
}

/// Packets that came to an interface during a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Received {
    /// The interface.
    pub interface: String,
    /// Packets that the router sent to it.
    pub packets: u64,
}

/// The outcome of `packet-generator run`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// The interface whose streams ran.
    pub interface: String,
    /// Whether all streams sent all their packets in time.
    pub complete: bool,
    /// Packets sent.
    pub sent: u64,
    /// Bytes sent.
    pub bytes: u64,
    /// From the first packet to the last, in ns.
    pub time_ns: u64,
    /// Packets a second.
    pub rate: Option<u64>,
    /// What the router sent to each packet generator meanwhile.
    pub received: Vec<Received>,
    /// Packets sent that came to none of them.
    pub lost: u64,
}

impl raddle_plugin_api::command::Output for Report {
    fn text(&self) -> Option<String> {
        use std::fmt::Write as _;
        let mut text = format!(
            "{}: {} packets ({} bytes) sent in {:.6} s",
            self.interface,
            self.sent,
            self.bytes,
            self.time_ns as f64 / 1e9
        );
        // Writing to a string does not fail.
        if let Some(rate) = self.rate {
            let _ = write!(text, ", {rate} packets/s");
        }
        if !self.complete {
            text.push_str("; stopped when the time was over");
        }
        for received in &self.received {
            let _ = write!(text, "\n{}: {} packets received", received.interface, received.packets);
        }
        let _ = write!(text, "\n{} packets lost\n", self.lost);
        Some(text)
    }
}

/// Events a second.
pub(super) fn per_second(count: u64, elapsed_ns: u64) -> Option<u64> {
    let rate = (u128::from(count) * 1_000_000_000).checked_div(u128::from(elapsed_ns))?;
    u64::try_from(rate).ok()
}
