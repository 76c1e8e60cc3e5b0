//! When a receive queue is looked at: in every pass, or when its descriptor says so.
//!
//! An adaptive queue does the one or the other, by the rate of its packets: above the upper threshold it is polled, below
//! the lower one it is polled once more (so that its driver is ready to tell of the next packet) and then slept on. The
//! two are apart so that a rate between them changes nothing. Time is an argument: nothing here asks a clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

/// How a receive queue is looked after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RxMode {
    /// Polled in every pass: its thread never sleeps.
    Polling,
    /// Slept on as soon as it is empty.
    Interrupt,
    /// Polled while packets come fast, slept on while they do not.
    #[default]
    Adaptive,
}

/// What a queue's thread does at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RxState {
    /// It polls the queue in every pass.
    Polling,
    /// It waits for the queue's descriptor.
    Interrupt,
}

/// Packets a second from which on an adaptive queue is polled.
pub const UPPER_RATE: u64 = 20_000;
/// Packets a second below which it is slept on again.
pub const LOWER_RATE: u64 = 5_000;
/// The time over which a rate is taken, in ns.
const WINDOW_NS: u64 = 10_000_000;
/// How long an adaptive queue that is slept on is polled after a packet, in ns: what answers it is often not far.
const LINGER_NS: u64 = 20_000;

/// What other threads may read and set of a queue while it runs.
#[derive(Debug, Default)]
pub struct RxStatus {
    mode: AtomicU8,
    polling: AtomicBool,
    switches: AtomicU64,
}

impl RxStatus {
    /// A queue in this mode.
    pub fn new(mode: RxMode) -> Self {
        let status = Self::default();
        status.set_mode(mode);
        status
    }

    /// Its mode.
    #[inline(always)]
    pub fn mode(&self) -> RxMode {
        match self.mode.load(Ordering::Relaxed) {
            0 => RxMode::Adaptive,
            1 => RxMode::Interrupt,
            _ => RxMode::Polling,
        }
    }

    /// Sets its mode. Its thread is to be woken: it may sleep on other things.
    pub fn set_mode(&self, mode: RxMode) {
        let word = match mode {
            RxMode::Adaptive => 0,
            RxMode::Interrupt => 1,
            RxMode::Polling => 2,
        };
        self.mode.store(word, Ordering::Relaxed);
    }

    /// What its thread does at present.
    pub fn state(&self) -> RxState {
        match self.mode() {
            RxMode::Polling => RxState::Polling,
            RxMode::Adaptive if self.polling.load(Ordering::Relaxed) => RxState::Polling,
            RxMode::Adaptive | RxMode::Interrupt => RxState::Interrupt,
        }
    }

    /// How often an adaptive queue has gone from the one state to the other.
    pub fn switches(&self) -> u64 {
        self.switches.load(Ordering::Relaxed)
    }
}

/// A queue as its own thread sees it.
#[derive(Debug)]
pub struct Attention {
    status: Arc<RxStatus>,
    /// Its descriptor spoke, or its last poll brought packets: it is polled until it is empty.
    is_ready: bool,
    /// An adaptive queue is polled at present.
    polls: bool,
    last_packet_ns: u64,
    window_start_ns: u64,
    window_packets: u64,
}

impl Attention {
    /// A queue that is polled once to begin with.
    pub fn new(status: Arc<RxStatus>) -> Self {
        Self {
            status,
            is_ready: true,
            polls: false,
            last_packet_ns: 0,
            window_start_ns: 0,
            window_packets: 0,
        }
    }

    /// Whether it is to be polled in a pass that begins at `now_ns`.
    #[inline(always)]
    pub fn is_due(&self, now_ns: u64) -> bool {
        match self.status.mode() {
            RxMode::Polling => true,
            RxMode::Adaptive => {
                self.polls || self.is_ready || now_ns.saturating_sub(self.last_packet_ns) <= LINGER_NS
            }
            RxMode::Interrupt => self.is_ready,
        }
    }

    /// Has it polled in the next pass, until it is empty.
    pub fn call(&mut self) {
        self.is_ready = true;
    }

    /// Notes what a poll in a pass that began at `now_ns` brought.
    #[inline(always)]
    pub fn note(&mut self, now_ns: u64, packets: u64) {
        self.is_ready = packets > 0;
        if packets > 0 {
            self.last_packet_ns = now_ns;
            self.window_packets += packets;
        }
        if now_ns.saturating_sub(self.window_start_ns) >= WINDOW_NS {
            self.end_window(now_ns);
        }
    }

    #[inline(never)]
    fn end_window(&mut self, now_ns: u64) {
        // What it slept through counts too: the first packet after a rest is no reason to poll.
        let elapsed_ns = now_ns.saturating_sub(self.window_start_ns).max(1);
        let rate = u128::from(self.window_packets) * 1_000_000_000 / u128::from(elapsed_ns);
        (self.window_start_ns, self.window_packets) = (now_ns, 0);
        let polls = match self.status.mode() {
            RxMode::Adaptive if self.polls => rate >= u128::from(LOWER_RATE),
            RxMode::Adaptive => rate >= u128::from(UPPER_RATE),
            RxMode::Polling | RxMode::Interrupt => false,
        };
        if polls == self.polls {
            return;
        }
        self.polls = polls;
        // Once more, whatever this poll brought.
        self.is_ready = true;
        self.status.polling.store(polls, Ordering::Relaxed);
        super::stats::add(&self.status.switches, 1);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// A queue under packets that come at some rate, by a clock of its own.
    struct Bench {
        queue: Attention,
        status: Arc<RxStatus>,
        now_ns: u64,
        polls: u64,
    }

    const PASS_NS: u64 = 5_000;

    impl Bench {
        fn new(mode: RxMode) -> Self {
            let status = Arc::new(RxStatus::new(mode));
            Self { queue: Attention::new(Arc::clone(&status)), status, now_ns: 7_000_000_000, polls: 0 }
        }

        /// Lets `rate` packets a second come for so many ns: its thread makes a pass every 5 us, and looks at the descriptor
        /// before each.
        fn run(&mut self, rate: u64, for_ns: u64) {
            let (end, mut waiting_e9) = (self.now_ns + for_ns, 0);
            while self.now_ns < end {
                self.now_ns += PASS_NS;
                waiting_e9 += rate * PASS_NS;
                let waiting = waiting_e9 / 1_000_000_000;
                if waiting > 0 {
                    self.queue.call();
                }
                if self.queue.is_due(self.now_ns) {
                    self.polls += 1;
                    self.queue.note(self.now_ns, waiting);
                    waiting_e9 %= 1_000_000_000;
                }
            }
        }

        fn state(&self) -> RxState {
            self.status.state()
        }
    }

    #[test]
    fn adaptive_queue_is_polled_above_the_upper_rate_and_slept_on_below_the_lower_one() {
        let mut bench = Bench::new(RxMode::Adaptive);
        bench.run(1_000, 200_000_000);
        assert_eq!((bench.state(), bench.status.switches()), (RxState::Interrupt, 0));
        bench.run(2 * UPPER_RATE, 50_000_000);
        assert_eq!((bench.state(), bench.status.switches()), (RxState::Polling, 1));
        bench.run(LOWER_RATE / 5, 50_000_000);
        assert_eq!((bench.state(), bench.status.switches()), (RxState::Interrupt, 2));
    }

    #[test]
    fn rate_between_the_thresholds_changes_nothing() {
        let between = (UPPER_RATE + LOWER_RATE) / 2;
        let mut bench = Bench::new(RxMode::Adaptive);
        bench.run(between, 500_000_000);
        assert_eq!(bench.state(), RxState::Interrupt);
        bench.run(4 * UPPER_RATE, 50_000_000);
        bench.run(between, 500_000_000);
        assert_eq!((bench.state(), bench.status.switches()), (RxState::Polling, 1));
    }

    #[test]
    fn first_packets_after_a_rest_are_no_load() {
        let mut bench = Bench::new(RxMode::Adaptive);
        for _ in 0..10 {
            bench.now_ns += 1_000_000_000;
            bench.queue.call();
            bench.queue.note(bench.now_ns, 10);
        }
        assert_eq!((bench.state(), bench.status.switches()), (RxState::Interrupt, 0));
    }

    #[test]
    fn queue_that_is_slept_on_is_polled_once_more_and_lingers_after_a_packet() {
        let mut bench = Bench::new(RxMode::Adaptive);
        bench.run(2 * UPPER_RATE, 50_000_000);
        // Silence: the window ends with a poll, one more follows, and then none but by the descriptor.
        bench.run(0, 50_000_000);
        assert_eq!(bench.state(), RxState::Interrupt);
        let polls = bench.polls;
        bench.run(0, 50_000_000);
        assert_eq!(bench.polls, polls);
        bench.queue.call();
        assert!(bench.queue.is_due(bench.now_ns));
        bench.queue.note(bench.now_ns, 1);
        assert!(bench.queue.is_due(bench.now_ns + PASS_NS));
        bench.queue.note(bench.now_ns + PASS_NS, 0);
        assert!(bench.queue.is_due(bench.now_ns + LINGER_NS), "it lingers");
        assert!(!bench.queue.is_due(bench.now_ns + LINGER_NS + 1));
    }

    #[test]
    fn interrupt_queue_is_polled_until_it_is_empty_and_polling_queue_always() {
        let mut bench = Bench::new(RxMode::Interrupt);
        assert!(bench.queue.is_due(bench.now_ns), "it may have packets already");
        bench.queue.note(bench.now_ns, 256);
        assert!(bench.queue.is_due(bench.now_ns));
        bench.queue.note(bench.now_ns, 0);
        assert!(!bench.queue.is_due(bench.now_ns));
        bench.run(10 * UPPER_RATE, 50_000_000);
        assert_eq!((bench.state(), bench.status.switches()), (RxState::Interrupt, 0));
        bench.status.set_mode(RxMode::Polling);
        bench.queue.note(bench.now_ns, 0);
        assert!(bench.queue.is_due(bench.now_ns));
        assert_eq!(bench.state(), RxState::Polling);
    }
}
