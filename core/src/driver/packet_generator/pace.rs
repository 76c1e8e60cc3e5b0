//! Pacing by a token bucket whose time is an argument.

use super::rate::Rate;

/// Longest time, in ns, for which credit is saved: what a thread that was away makes up for.
const BURST_NS: f64 = 100e6;
/// Bits of each packet that a rate in bits counts, for the bytes that `cost` is given.
const BITS: f64 = 8.0;

/// A token bucket. Tokens are packets or bits.
#[derive(Clone, Debug)]
pub struct Pace {
    per_ns: f64,
    bits: bool,
    tokens: f64,
    last_ns: u64,
}

impl Pace {
    /// A bucket that lets one packet go at once, at `now_ns`.
    pub fn new(rate: Rate, now_ns: u64) -> Self {
        let (rate, bits) = match rate {
            Rate::Packets(rate) => (rate, false),
            Rate::Bits(rate) => (rate, true),
        };
        Self { per_ns: rate / 1e9, bits, tokens: if bits { 0.0 } else { 1.0 }, last_ns: now_ns }
    }

    /// Puts in what has come since.
    pub fn refill(&mut self, now_ns: u64) {
        let elapsed = now_ns.saturating_sub(self.last_ns) as f64;
        self.last_ns = self.last_ns.max(now_ns);
        let most = (self.per_ns * BURST_NS).max(1.0);
        // Without credit nothing is cut off: a slow stream keeps every fraction.
        self.tokens = (self.tokens + elapsed * self.per_ns).min(most.max(self.tokens));
    }

    /// Whether a packet of `bytes` may go now. In bits it may as soon as the debt of those before it is paid.
    #[inline]
    pub fn allows(&self) -> bool {
        // Sums of fractions end a hair below whole numbers.
        if self.bits { self.tokens >= 0.0 } else { self.tokens >= 1.0 - 1e-6 }
    }

    /// Pays for a packet.
    #[inline]
    pub fn pay(&mut self, bytes: usize) {
        self.tokens -= if self.bits { bytes as f64 * BITS } else { 1.0 };
    }

    /// Time in ns from the last refill until a packet may go.
    pub fn wait_ns(&self) -> u64 {
        let missing = if self.bits { -self.tokens } else { 1.0 - self.tokens };
        if missing <= 0.0 { 0 } else { (missing / self.per_ns).ceil() as u64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(rate: Rate, step_ns: u64, steps: u64, bytes: usize) -> u64 {
        let mut pace = Pace::new(rate, 0);
        let mut sent = 0;
        for step in 0..steps {
            pace.refill(step * step_ns);
            while pace.allows() {
                pace.pay(bytes);
                sent += 1;
            }
        }
        sent
    }

    #[test]
    fn a_second_has_as_many_packets_as_the_rate_says() {
        for (rate, step_ns) in [(1000.0, 1_000_000), (1000.0, 333_333), (10.0, 7_000), (3e6, 50_000)] {
            let steps = 1_000_000_000 / step_ns;
            let got = sent(Rate::Packets(rate), step_ns, steps, 64) as f64;
            assert!((got - rate).abs() <= 1.0 + rate * step_ns as f64 / 1e9, "{rate} {step_ns} {got}");
        }
    }

    #[test]
    fn bits_count_the_bytes_of_packets() {
        // 1,000 bytes are 8,000 bits: 1 Mbit/s is 125 packets a second.
        let got = sent(Rate::Bits(1e6), 100_000, 10_000, 1000);
        assert!((124..=126).contains(&got), "{got}");
    }

    #[test]
    fn the_first_packet_goes_at_once_and_the_next_after_its_time() {
        let mut pace = Pace::new(Rate::Packets(0.1), 5);
        pace.refill(5);
        assert!(pace.allows());
        pace.pay(64);
        assert!(!pace.allows());
        assert_eq!(pace.wait_ns(), 10_000_000_000);
        pace.refill(9_000_000_000);
        assert!(!pace.allows());
        pace.refill(10_000_000_005);
        assert!(pace.allows());
    }

    #[test]
    fn a_thread_that_was_away_makes_up_for_a_tenth_of_a_second_only() {
        let mut pace = Pace::new(Rate::Packets(1000.0), 0);
        pace.refill(3_600_000_000_000);
        let mut burst = 0;
        while pace.allows() {
            pace.pay(64);
            burst += 1;
        }
        assert_eq!(burst, 100);
    }

    #[test]
    fn time_that_goes_backward_gives_nothing() {
        let mut pace = Pace::new(Rate::Packets(1000.0), 1_000_000);
        pace.pay(64);
        pace.refill(0);
        assert!(!pace.allows());
    }
}
