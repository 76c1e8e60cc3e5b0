//! The machine's own state, printed beside the figures: how fast it is at this moment.

use std::hint::black_box;

use crate::runtime::Clock;

/// What the machine does at this moment, in TSC clocks.
#[derive(Clone, Debug, serde::Serialize)]
pub struct MachineState {
    /// TSC clocks a second.
    pub tsc_hz: f64,
    /// One step of a chain of multiplications and additions.
    pub alu_clocks: f64,
    /// One read of a chain of dependent reads, by the size of the memory in MiB.
    pub read_clocks: Vec<(usize, f64)>,
}

impl MachineState {
    /// Looks, for a few tens of milliseconds.
    pub fn look() -> Self {
        let read_clocks = [1, 16, 256].into_iter().map(|mib| (mib, dependent_read(mib << 20))).collect();
        Self { tsc_hz: Clock::ticks_per_second(), alu_clocks: alu(), read_clocks }
    }
}

impl std::fmt::Display for MachineState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "machine: TSC {:.2} GHz, multiply-add {:.2} clocks, dependent read",
            self.tsc_hz / 1e9,
            self.alu_clocks
        )?;
        for (mib, clocks) in &self.read_clocks {
            write!(f, " {mib} MiB {clocks:.0},")?;
        }
        f.write_str(" clocks each")
    }
}

/// Smallest time of several runs of `steps` steps, per step.
fn best(steps: usize, mut run: impl FnMut()) -> f64 {
    let times = (0..5).map(|_| {
        let start = Clock::ticks();
        run();
        Clock::ticks().wrapping_sub(start)
    });
    times.min().unwrap_or(0) as f64 / steps as f64
}

fn alu() -> f64 {
    const STEPS: usize = 1_000_000;
    best(STEPS, || {
        let mut value = black_box(1_u64);
        for _ in 0..STEPS {
            value = black_box(value.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1));
        }
        black_box(value);
    })
}

fn dependent_read(bytes: usize) -> f64 {
    const LINE: usize = 64 / 4;
    const STEPS: usize = 200_000;
    let lines = bytes / 64;
    // A cycle through all lines in random order (Sattolo), one word used of each.
    let mut order: Vec<u32> = (0..lines as u32).collect();
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    for last in (1..lines).rev() {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        order.swap(last, (seed % last as u64) as usize);
    }
    let mut memory = vec![0_u32; lines * LINE];
    for (line, &next) in order.iter().enumerate() {
        memory[line * LINE] = next;
    }
    let mut at = 0_u32;
    best(STEPS, || {
        for _ in 0..STEPS {
            at = memory[at as usize * LINE];
        }
        black_box(at);
    })
}
