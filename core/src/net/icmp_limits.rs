//! How many ICMP errors, redirects and TCP resets raddle sends on account of one interface's packets (RFC 1812 §4.3.2.8,
//! RFC 4443 §2.4 f).
//!
//! The operator's numbers are for an interface as a whole. Threads share nothing on a packet's way, so each has its share of
//! them: with several workers no more is sent than was said, and less where only some of them get the interface's packets.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use raddle_plugin_api::abi::MAX_INTERFACES;
use raddle_plugin_api::{Failure, InterfaceIndex, bail};
use serde::{Deserialize, Serialize};

use super::rate_limit::{Rate, TokenBucket};

/// The highest rate that can be asked for, in messages a second.
pub const MAX_RATE: u32 = 1_000_000;

/// What is limited, each by buckets of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpClass {
    /// ICMP errors, redirects apart.
    Error,
    /// Redirects.
    Redirect,
    /// TCP resets.
    Reset,
}

/// Messages a second, and at once after a rest, on account of one interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct IcmpRates {
    /// ICMP errors a second.
    pub rate: u32,
    /// ICMP errors at once.
    pub burst: u32,
    /// Redirects a second, and at once.
    pub redirect_rate: u32,
    /// TCP resets a second, and at once.
    pub reset_rate: u32,
}

impl Default for IcmpRates {
    fn default() -> Self {
        Self { rate: 1000, burst: 100, redirect_rate: 10, reset_rate: 1000 }
    }
}

/// The limits as threads read them. A resource of the core.
#[derive(Debug)]
pub struct IcmpLimits {
    /// By class: time between two tokens in ns, and how many there are at most.
    shares: [(AtomicU64, AtomicU32); 3],
    rates: [AtomicU32; 4],
    threads: AtomicU32,
}

impl Default for IcmpLimits {
    fn default() -> Self {
        let limits =
            Self { shares: Default::default(), rates: Default::default(), threads: AtomicU32::new(1) };
        // The defaults are within the bounds.
        let _ = limits.set(IcmpRates::default());
        limits
    }
}

impl IcmpLimits {
    /// The limits for each interface.
    pub fn rates(&self) -> IcmpRates {
        let [rate, burst, redirect_rate, reset_rate] =
            self.rates.each_ref().map(|number| number.load(Ordering::Relaxed));
        IcmpRates { rate, burst, redirect_rate, reset_rate }
    }

    /// Sets the limits for each interface, from now on.
    ///
    /// # Errors
    /// A number is 0 or above [`MAX_RATE`].
    pub fn set(&self, rates: IcmpRates) -> Result<(), Failure> {
        let IcmpRates { rate, burst, redirect_rate, reset_rate } = rates;
        let numbers = [rate, burst, redirect_rate, reset_rate];
        if let Some(number) = numbers.into_iter().find(|number| !(1..=MAX_RATE).contains(number)) {
            bail!("{number} messages a second or at once: expected a number from 1 to {MAX_RATE}");
        }
        for (cell, number) in self.rates.iter().zip(numbers) {
            cell.store(number, Ordering::Relaxed);
        }
        self.divide();
        Ok(())
    }

    /// The limits are divided among so many threads.
    pub fn set_threads(&self, threads: u32) {
        self.threads.store(threads.max(1), Ordering::Relaxed);
        self.divide();
    }

    fn divide(&self) {
        let (rates, threads) = (self.rates(), self.threads.load(Ordering::Relaxed));
        let classes = [
            (rates.rate, rates.burst),
            (rates.redirect_rate, rates.redirect_rate),
            (rates.reset_rate, rates.reset_rate),
        ];
        for ((interval_ns, at_once), (rate, burst)) in self.shares.iter().zip(classes) {
            let share = Rate::new(rate.div_ceil(threads), burst.div_ceil(threads));
            interval_ns.store(share.interval_ns(), Ordering::Relaxed);
            at_once.store(share.burst(), Ordering::Relaxed);
        }
    }

    fn share(&self, class: IcmpClass) -> Rate {
        let (interval_ns, burst) = &self.shares[class as usize];
        Rate::from_interval(interval_ns.load(Ordering::Relaxed), burst.load(Ordering::Relaxed))
    }
}

/// One thread's buckets of one class, one for each interface.
pub struct PortBuckets {
    limits: Arc<IcmpLimits>,
    class: IcmpClass,
    buckets: Box<[TokenBucket]>,
}

impl PortBuckets {
    /// Full buckets.
    pub fn new(limits: Arc<IcmpLimits>, class: IcmpClass) -> Self {
        let bucket = TokenBucket::with_rate(limits.share(class));
        Self { limits, class, buckets: vec![bucket; MAX_INTERFACES + 1].into() }
    }

    /// Takes a token of the interface on whose account a message is to be sent; `false` if there is none. What was made
    /// here has a bucket of its own.
    #[inline]
    pub fn take(&mut self, interface: InterfaceIndex, now_ns: u64) -> bool {
        let bucket = &mut self.buckets[(interface.0 as usize).min(MAX_INTERFACES)];
        bucket.set_rate(self.limits.share(self.class));
        bucket.take(now_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAN: InterfaceIndex = InterfaceIndex(1);
    const WAN: InterfaceIndex = InterfaceIndex(2);

    fn taken(buckets: &mut PortBuckets, interface: InterfaceIndex, now_ns: u64) -> usize {
        (0..10_000).filter(|_| buckets.take(interface, now_ns)).count()
    }

    #[test]
    fn each_interface_and_class_has_its_own_tokens() {
        let limits = Arc::new(IcmpLimits::default());
        let mut errors = PortBuckets::new(Arc::clone(&limits), IcmpClass::Error);
        let mut redirects = PortBuckets::new(limits, IcmpClass::Redirect);
        assert_eq!(taken(&mut errors, LAN, 1), 100);
        assert_eq!(taken(&mut errors, WAN, 1), 100);
        assert_eq!(taken(&mut errors, InterfaceIndex::NONE, 1), 100);
        assert_eq!(taken(&mut redirects, LAN, 1), 10);
    }

    #[test]
    fn threads_share_what_an_interface_may() {
        let limits = Arc::new(IcmpLimits::default());
        limits.set_threads(4);
        limits.set(IcmpRates { rate: 10, burst: 6, ..IcmpRates::default() }).unwrap();
        let mut buckets = PortBuckets::new(Arc::clone(&limits), IcmpClass::Error);
        assert_eq!(taken(&mut buckets, LAN, 1), 2, "a quarter of 6, rounded up");
        assert_eq!(taken(&mut buckets, LAN, 333_333_334), 1, "a quarter of 10 a second, rounded up");
    }

    #[test]
    fn new_limits_count_at_once() {
        let limits = Arc::new(IcmpLimits::default());
        let mut buckets = PortBuckets::new(Arc::clone(&limits), IcmpClass::Error);
        assert_eq!(taken(&mut buckets, LAN, 1), 100);
        limits.set(IcmpRates { burst: 150, ..IcmpRates::default() }).unwrap();
        assert_eq!(taken(&mut buckets, LAN, 1), 50);
    }

    #[test]
    fn refuses_limits_that_make_no_sense() {
        let limits = IcmpLimits::default();
        for rates in [
            IcmpRates { rate: 0, ..IcmpRates::default() },
            IcmpRates { burst: 0, ..IcmpRates::default() },
            IcmpRates { redirect_rate: MAX_RATE + 1, ..IcmpRates::default() },
        ] {
            let error = limits.set(rates).unwrap_err().to_string();
            assert!(error.contains("from 1 to 1000000"), "{error}");
        }
        assert_eq!(limits.rates(), IcmpRates::default());
    }
}
