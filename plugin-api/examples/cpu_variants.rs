//! What the variants of a node for several processors gain: the same node, which adds up all bytes of its packets, run by
//! each of them in turn, beside one that looks at nothing.
//!
//!     cargo run --release --package raddle-plugin-api --example cpu_variants

use std::process::Command;
use std::time::Instant;

use raddle_plugin_api::cpu::Level;
use raddle_plugin_api::prelude::*;
use raddle_plugin_api::testing::{Harness, packets};

/// Bytes of a packet's payload.
const PAYLOAD: usize = 1400;
/// Packets of a run, and runs of which the best counts.
const PACKETS: usize = 256;
const RUNS: usize = 400;

error! { enum SumError { Odd => "odd": "the packet's sum is that of none" } }

struct Sums {
    sum: u64,
}

impl Node for Sums {
    const NAME: &'static str = "sums";
    type Next = NoNext;
    type Error = SumError;

    fn new(_: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self { sum: 0 })
    }

    #[inline(always)]
    fn process(&mut self, vector: Vector<'_, Self>) {
        vector.each(|_, packet| {
            let sum: u64 = packet.bytes().iter().map(|&byte| u64::from(byte)).sum();
            self.sum = self.sum.wrapping_add(sum);
            Verdict::Drop(SumError::Odd)
        });
    }
}

struct Nothing;

impl Node for Nothing {
    const NAME: &'static str = "nothing";
    type Next = NoNext;
    type Error = SumError;

    fn new(_: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self)
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        vector.each(|_, _| Verdict::Drop(SumError::Odd));
    }
}

node!(Sums, cpu_variants);
node!(Nothing);

/// The best time of a run, in ns a packet.
fn measure(node: &str) -> f64 {
    let packet = packets::udp("192.0.2.2:1", "198.51.100.2:2").payload_length(PAYLOAD);
    let mut host = Harness::builder().build();
    host.nodes(&[node]);
    let packets = vec![packet.to_vec(); PACKETS];
    let mut best = f64::MAX;
    for _ in 0..RUNS {
        let packets = packets.clone();
        let begin = Instant::now();
        host.run_named(node, packets);
        best = best.min(begin.elapsed().as_nanos() as f64 / PACKETS as f64);
    }
    best
}

fn main() {
    if std::env::args().nth(1).is_some() {
        let (sums, nothing) = (measure("sums"), measure("nothing"));
        println!("{:>4?} {:>8.1} ns for {PAYLOAD} bytes", Level::here(), sums - nothing);
        return;
    }
    let this = std::env::current_exe().expect("a running program has a path");
    for round in 1..=2 {
        println!("round {round}");
        for level in ["v1", "v3", "v4"] {
            let status = Command::new(&this).arg("measure").env("RADDLE_CPU", level).status();
            assert!(status.is_ok_and(|status| status.success()), "{level} failed");
        }
    }
}
