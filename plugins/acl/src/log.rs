//! Log lines of rules that are marked: so many a second, and a number of those left out.

use std::sync::atomic::{AtomicU32, Ordering};

use raddle_plugin_api::InterfaceIndex;
use raddle_plugin_api::prelude::*;
use raddle_plugin_api::task::Remote;

use crate::direction::Direction;
use crate::trace::FlowText;

const SECOND_NS: u64 = 1_000_000_000;

/// Where log lines go: by way of the main thread, to the host's log.
pub struct Logger {
    remote: Remote,
    /// Lines a second of each node of each thread.
    rate: AtomicU32,
}

/// A packet that is logged.
pub struct LogLine {
    /// `permit`, `deny` or `reflect`.
    pub action: &'static str,
    /// The list.
    pub list: String,
    /// The rule's number, from 1.
    pub rule: u32,
    /// The interface.
    pub interface: InterfaceIndex,
    /// Which way it goes there.
    pub direction: Direction,
    /// The packet.
    pub flow: FlowText,
    /// Its length, from the IP header on.
    pub bytes: u64,
}

impl Logger {
    /// Lets `rate` lines a second through for each node of each thread.
    pub fn new(remote: Remote, rate: u32) -> Self {
        Self { remote, rate: AtomicU32::new(rate) }
    }

    /// Lets another number of lines through from now on.
    pub fn set_rate(&self, rate: u32) {
        self.rate.store(rate, Ordering::Relaxed);
    }

    /// Writes a line, if the limit lets it through.
    pub fn write(&self, limit: &mut LogLimit, now_ns: u64, line: impl FnOnce() -> LogLine) {
        let Some(left_out) = limit.take(self.rate.load(Ordering::Relaxed), now_ns) else { return };
        let line = line();
        self.remote.run(move |control| {
            let interfaces = control.interfaces().unwrap_or_default();
            let name = interfaces.into_iter().find(|interface| interface.index == line.interface);
            let name = name.map_or_else(|| line.interface.0.to_string(), |interface| interface.name);
            let LogLine { action, list, rule, direction, flow, bytes, .. } = line;
            let FlowText { protocol, source, source_port, destination, destination_port } = flow;
            let mut text = format!(
                "acl action={action} list={list} rule={rule} interface={name} direction={} protocol={protocol} \
                 source={source} source-port={source_port} destination={destination} \
                 destination-port={destination_port} bytes={bytes}",
                direction.word()
            );
            if left_out > 0 {
                text += &format!(" left-out={left_out}");
            }
            control.log(LogLevel::INFO, text);
        });
    }
}

/// What a node of a thread has logged of late.
#[derive(Debug, Default)]
pub struct LogLimit {
    second: u64,
    lines: u32,
    left_out: u64,
}

impl LogLimit {
    /// Whether one more line is let through: how many were not since the last one.
    fn take(&mut self, rate: u32, now_ns: u64) -> Option<u64> {
        let second = now_ns / SECOND_NS;
        if second != self.second {
            (self.second, self.lines) = (second, 0);
        }
        if self.lines >= rate {
            self.left_out += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_lines_a_second_and_the_rest_is_counted() {
        let mut limit = LogLimit::default();
        let taken: Vec<_> = (0..5).map(|_| limit.take(2, 100)).collect();
        assert_eq!(taken, [Some(0), Some(0), None, None, None]);
        assert_eq!(limit.take(2, SECOND_NS), Some(3));
        assert_eq!(limit.take(0, 5 * SECOND_NS), None);
    }
}
