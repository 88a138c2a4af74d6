//! Leaves that keep a core busy.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// Turns of the loop in one measurement of the calibration, and the number of measurements.
const TURNS: u32 = 100_000;
const MEASUREMENTS: u32 = 30;

/// The speed of this machine at a fixed piece of work: a chain of dependent multiplications in registers.
///
/// Leaves are given as an amount of work and not as a time to fill, so that a leaf that the system interrupts is not
/// cut short.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    turns_per_microsecond: f64,
}

impl Pace {
    /// Finds the speed, from the fastest of several measurements.
    pub(crate) fn calibrated() -> Self {
        let fastest = (0..MEASUREMENTS).map(|_| {
            let start = Instant::now();
            turn(TURNS);
            start.elapsed()
        });
        let fastest = fastest.min().unwrap_or(Duration::MAX);
        Self { turns_per_microsecond: f64::from(TURNS) / fastest.as_secs_f64() / 1e6 }
    }

    /// A leaf of this many microseconds.
    pub(crate) fn leaf(self, microseconds: f64) -> Leaf {
        Leaf { turns: (self.turns_per_microsecond * microseconds).round() as u32 }
    }
}

/// A piece of work of a given size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leaf {
    turns: u32,
}

impl Leaf {
    /// How much work it is, in units of the calibration.
    pub(crate) fn size(self) -> u64 {
        self.turns.into()
    }

    /// Does the work.
    pub(crate) fn run(self) -> u64 {
        turn(self.turns)
    }
}

#[inline(never)]
fn turn(turns: u32) -> u64 {
    let mut state = black_box(0x9E37_79B9_7F4A_7C15_u64);
    for _ in 0..turns {
        state ^= state >> 31;
        state = state.wrapping_mul(0xD605_1E98_2B29_F3A5);
    }
    black_box(state)
}
