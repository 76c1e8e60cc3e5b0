//! A token bucket, as its "theoretical arrival time": one number, no timer.
#![forbid(unsafe_code)]

/// Events a second on average, and at once after a rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    interval_ns: u64,
    tolerance_ns: u64,
}

impl Rate {
    /// Both numbers are at least 1; 0 counts as that.
    pub const fn new(per_second: u32, burst: u32) -> Self {
        Self::from_interval(1_000_000_000 / if per_second == 0 { 1 } else { per_second as u64 }, burst)
    }

    /// One event each `interval_ns`, which is at least 1, and `burst` at once.
    pub const fn from_interval(interval_ns: u64, burst: u32) -> Self {
        let interval_ns = if interval_ns == 0 { 1 } else { interval_ns };
        let burst = if burst == 0 { 1 } else { burst as u64 };
        Self { interval_ns, tolerance_ns: interval_ns.saturating_mul(burst - 1) }
    }

    /// Time between two events, in ns.
    pub const fn interval_ns(self) -> u64 {
        self.interval_ns
    }

    /// Events at once.
    pub const fn burst(self) -> u32 {
        (self.tolerance_ns / self.interval_ns) as u32 + 1
    }
}

/// Lets through `per_second` events a second on average, and `burst` at once after a rest. For one thread.
#[derive(Clone, Copy, Debug)]
pub struct TokenBucket {
    rate: Rate,
    full_again_ns: u64,
}

impl TokenBucket {
    /// A full bucket. Both numbers are at least 1.
    pub const fn new(per_second: u32, burst: u32) -> Self {
        Self::with_rate(Rate::new(per_second, burst))
    }

    /// A full bucket of this rate.
    pub const fn with_rate(rate: Rate) -> Self {
        Self { rate, full_again_ns: 0 }
    }

    /// Has another rate from now on. What was taken stays taken.
    #[inline]
    pub fn set_rate(&mut self, rate: Rate) {
        self.rate = rate;
    }

    /// Takes a token; `false` if there is none. `now_ns` is of the monotonic clock.
    #[inline]
    pub fn take(&mut self, now_ns: u64) -> bool {
        let due_ns = self.full_again_ns.max(now_ns);
        if due_ns - now_ns > self.rate.tolerance_ns {
            return false;
        }
        self.full_again_ns = due_ns.saturating_add(self.rate.interval_ns);
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn gives_a_burst_then_one_per_interval() {
        let mut bucket = TokenBucket::new(10, 3);
        let taken = |bucket: &mut TokenBucket, now| (0..9).filter(|_| bucket.take(now)).count();
        assert_eq!(taken(&mut bucket, 5), 3);
        assert_eq!(taken(&mut bucket, 99_999_999), 0);
        assert_eq!(taken(&mut bucket, 100_000_005), 1);
        assert_eq!(taken(&mut bucket, 10_000_000_000), 3, "a rest fills it to the burst, not beyond");
    }

    proptest! {
        #[test]
        fn never_gives_more_than_burst_and_rate(
            rate in 1u32..2000, burst in 1u32..50, steps in proptest::collection::vec(0u64..5_000_000, 1..300),
        ) {
            let mut bucket = TokenBucket::new(rate, burst);
            let (mut now, mut taken) = (1, 0u64);
            for step in steps {
                now += step;
                taken += u64::from(bucket.take(now));
                prop_assert!(taken <= u64::from(burst) + now / (1_000_000_000 / u64::from(rate)));
            }
        }
    }
}
