//! `ping-input`: echo replies, and ICMP errors about echo requests, to the pings that wait for them.

use std::fmt;
use std::sync::Arc;

use raddle_plugin_api::prelude::*;
use serde::Serialize;

use super::Pings;
use super::request::Answer;
use crate::net::rate_limit::TokenBucket;

error! {
    /// Why messages are dropped.
    pub enum PingInputError {
        NotExpected => "not-expected": "neither a reply to, nor an error about, an echo request of ours",
        RateLimited => "rate-limited": "more answers than the main thread is told",
    }
}

/// Answers a second that each worker tells the main thread of, and at once.
const ANSWERS: TokenBucket = TokenBucket::new(10_000, 1000);

/// The node.
pub struct PingInput {
    pings: Arc<Pings>,
    limit: TokenBucket,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Record {
    from: String,
    identifier: u16,
    sequence: u16,
    error: Option<&'static str>,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, identifier, sequence, error } = self;
        let what = error.unwrap_or("echo reply");
        write!(f, "{from}: {what} for id {identifier}, seq {sequence}")
    }
}

impl Node for PingInput {
    const NAME: &'static str = "ping-input";
    type Next = NoNext;
    type Error = PingInputError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self { pings: init.resource()?, limit: ANSWERS })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        vector.each(|env, packet| {
            let answer = Answer::parse(packet.bytes());
            let Some(answer) = answer.filter(|answer| self.pings.is_running(answer.identifier)) else {
                return Verdict::Drop(PingInputError::NotExpected);
            };
            env.trace(packet, || Record {
                from: answer.from.to_string(),
                identifier: answer.identifier,
                sequence: answer.sequence,
                error: answer.error_text(),
            });
            if !self.limit.take(env.now_ns()) {
                return Verdict::Drop(PingInputError::RateLimited);
            }
            self.pings.report(answer, env.now_ns());
            // It has served its purpose, and is not counted as a drop.
            drop(packet.take());
            Verdict::Drop(PingInputError::NotExpected)
        });
    }
}

node!(PingInput);
