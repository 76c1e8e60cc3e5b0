//! `ping-input`: echo replies, and ICMP errors about echo requests, to the pings that wait for them.

use std::fmt;
use std::sync::Arc;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::punt::PuntReason;
use serde::Serialize;

use super::Pings;
use super::request::Answer;
use crate::net::punt::PuntOffer;
use crate::net::rate_limit::TokenBucket;

next! {
    /// Where messages go that no ping of raddle's waits for.
    pub enum PingInputNext { Punt => "punt" }
}

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
    punt: PuntOffer,
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
    type Next = PingInputNext;
    type Error = PingInputError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self { pings: init.resource()?, limit: ANSWERS, punt: PuntOffer::new(init)? })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        vector.each(|env, packet| {
            let answer = Answer::parse(packet.bytes());
            let Some(answer) = answer.filter(|answer| self.pings.is_running(answer.identifier)) else {
                if self.punt.is_wanted(env, packet) {
                    self.punt.mark(packet, PuntReason::ICMP);
                    return Verdict::Next(PingInputNext::Punt);
                }
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

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use raddle_plugin_api::testing::Harness;

    use super::super::request::echo_request;
    use super::super::sessions::Event;
    use super::*;

    #[test]
    fn answers_reach_the_ping_that_waits_and_no_other() {
        let mut host = Harness::builder().interface("lan", |lan| lan).build();
        host.load_only(&["ping"]).unwrap();
        let start = |host: &mut Harness| host.control(|control| control.resource::<Pings>().unwrap().start());
        let (ours, other) = (start(&mut host).unwrap(), start(&mut host).unwrap());
        assert_ne!(ours.identifier, other.identifier);
        let addresses = ["192.0.2.7", "192.0.2.1"].map(|text| text.parse().unwrap());
        let mut reply = echo_request(addresses[0], addresses[1], ours.identifier, 3, 8).unwrap();
        reply[20] = 0;
        host.run::<PingInput>([reply.clone()]).assert_nothing();
        host.quiesce();
        let mut context = Context::from_waker(Waker::noop());
        let event = pin!(ours.session.next()).poll(&mut context);
        assert!(matches!(event, Poll::Ready(Event::Answered { answer, .. }) if answer.sequence == 3));
        assert!(pin!(other.session.next()).poll(&mut context).is_pending());
        drop(ours);
        host.run::<PingInput>([reply]).assert_all_dropped(PingInputError::NotExpected);
        host.assert_no_leaks();
    }

    #[test]
    fn no_more_pings_than_there_is_room_for_and_each_makes_room_when_it_ends() {
        let mut host = Harness::builder().interface("lan", |lan| lan).build();
        host.load_only(&["ping"]).unwrap();
        host.control(|control| {
            let pings = control.resource::<Pings>().unwrap();
            let mut running: Vec<_> = std::iter::from_fn(|| pings.start()).take(100).collect();
            assert_eq!(running.len(), 16);
            running.pop();
            assert!(pings.start().is_some());
        });
    }
}
