//! Nodes that are compiled for several kinds of processors.
//!
//! A plugin is built for the oldest processor that it may meet, x86-64 of 2003. A node that gains by what newer ones have
//! says so where it is registered, and has its `process` inlined into each variant:
//!
//! ```
//! use raddle_plugin_api::prelude::*;
//!
//! error! { pub enum SumError { Zero => "zero": "all bytes are zero" } }
//!
//! pub struct Sums;
//!
//! impl Node for Sums {
//!     const NAME: &'static str = "sums";
//!     type Next = NoNext;
//!     type Error = SumError;
//!
//!     fn new(_: &NodeInit<'_>) -> Result<Self, Failure> {
//!         Ok(Self)
//!     }
//!
//!     #[inline(always)]
//!     fn process(&mut self, vector: Vector<'_, Self>) {
//!         vector.each(|_, packet| {
//!             let sum: u64 = packet.bytes().iter().map(|&byte| u64::from(byte)).sum();
//!             if sum == 0 { Verdict::Drop(SumError::Zero) } else { Verdict::Continue }
//!         });
//!     }
//! }
//!
//! node!(Sums, cpu_variants);
//! # fn main() {}
//! ```
//!
//! Which variant runs is found out once, at the first frame; the variable `RADDLE_CPU` (`v1`, `v3`, `v4`) sets a lower
//! one, to compare. On other machines than x86-64 there is one variant. It pays for loops over many bytes; a node that
//! looks at a few fields and tables is no faster, and its code is there three times.

use crate::Node;
use crate::abi::{Frame, NodeContext, NodeRegistration};
#[cfg(target_arch = "x86_64")]
use crate::{Vector, guard::guard, registration::run_node};

/// A level of the x86-64 psABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What every x86-64 processor has, or any other machine.
    V1 = 1,
    /// AVX2, BMI1, BMI2, FMA, LZCNT, MOVBE.
    V3 = 3,
    /// AVX-512 F, BW, CD, DQ, VL besides.
    V4 = 4,
}

impl Level {
    /// The level of this processor, or the lower one that `RADDLE_CPU` sets.
    #[inline]
    pub fn here() -> Self {
        use std::sync::atomic::{AtomicU8, Ordering};
        static FOUND: AtomicU8 = AtomicU8::new(0);
        match FOUND.load(Ordering::Relaxed) {
            1 => Self::V1,
            3 => Self::V3,
            4 => Self::V4,
            _ => {
                let level = Self::limited(Self::detect(), std::env::var("RADDLE_CPU").ok().as_deref());
                FOUND.store(level as u8, Ordering::Relaxed);
                level
            }
        }
    }

    /// The lower one of what there is and what is wished for.
    fn limited(there: Self, wish: Option<&str>) -> Self {
        match wish {
            Some("v1") => Self::V1,
            Some("v3") => there.min(Self::V3),
            _ => there,
        }
    }

    #[cold]
    fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            macro_rules! has {
                ($($feature:tt)+) => { $(std::arch::is_x86_feature_detected!($feature))&&+ };
            }
            let v3 = has!("avx2" "bmi1" "bmi2" "fma" "lzcnt" "movbe" "popcnt");
            if v3 && has!("avx512f" "avx512bw" "avx512cd" "avx512dq" "avx512vl") {
                return Self::V4;
            }
            if v3 {
                return Self::V3;
            }
        }
        Self::V1
    }
}

/// The registration of node `N`, with the variant that is the best here.
#[doc(hidden)]
pub const fn node_registration<N: Node>() -> NodeRegistration {
    #[cfg(target_arch = "x86_64")]
    {
        NodeRegistration { run: run_best::<N>, ..crate::registration::node_registration::<N>() }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        crate::registration::node_registration::<N>()
    }
}

#[cfg(target_arch = "x86_64")]
unsafe extern "C" fn run_best<N: Node>(node: *mut NodeContext, frame: *mut Frame) -> u32 {
    match Level::here() {
        // SAFETY: this processor has what the variant is compiled for; the rest is the host's promise.
        Level::V4 => unsafe { run_v4::<N>(node, frame) },
        // SAFETY: as above.
        Level::V3 => unsafe { run_v3::<N>(node, frame) },
        Level::V1 => run_node!(N, node, frame),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2,fma,lzcnt,movbe,popcnt")]
unsafe fn run_v3<N: Node>(node: *mut NodeContext, frame: *mut Frame) -> u32 {
    run_node!(N, node, frame)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(
    enable = "avx2,bmi1,bmi2,fma,lzcnt,movbe,popcnt,avx512f,avx512bw,avx512cd,avx512dq,avx512vl"
)]
unsafe fn run_v4<N: Node>(node: *mut NodeContext, frame: *mut Frame) -> u32 {
    run_node!(N, node, frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_never_raises_the_level() {
        for (there, wish, expected) in [
            (Level::V4, None, Level::V4),
            (Level::V4, Some("v3"), Level::V3),
            (Level::V3, Some("v4"), Level::V3),
            (Level::V1, Some("v3"), Level::V1),
            (Level::V4, Some("v1"), Level::V1),
            (Level::V3, Some("nonsense"), Level::V3),
        ] {
            assert_eq!(Level::limited(there, wish), expected, "{there:?} {wish:?}");
        }
        assert!(Level::here() <= Level::detect());
    }
}
