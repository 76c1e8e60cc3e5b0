//! Time: a monotonic clock in ns, and the processor's own counter for what nodes cost.

use std::time::Duration;

/// The monotonic clock, in ns.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock;

impl Clock {
    /// Monotonic time now, in ns.
    #[inline]
    pub fn now_ns(self) -> u64 {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
    }

    /// The processor's time stamp counter; elsewhere the monotonic clock in ns.
    #[inline(always)]
    pub fn ticks() -> u64 {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the instruction reads a counter; every x86-64 has it.
        unsafe {
            core::arch::x86_64::_rdtsc()
        }
        #[cfg(not(target_arch = "x86_64"))]
        Clock.now_ns()
    }

    /// Ticks per second, measured once against the monotonic clock over a few milliseconds.
    pub fn ticks_per_second() -> f64 {
        static RATE: std::sync::OnceLock<f64> = std::sync::OnceLock::new();
        *RATE.get_or_init(|| {
            let (start, ticks) = (Clock.now_ns(), Self::ticks());
            std::thread::sleep(Duration::from_millis(10));
            let (end, end_ticks) = (Clock.now_ns(), Self::ticks());
            (end_ticks - ticks) as f64 * 1e9 / (end - start) as f64
        })
    }
}
