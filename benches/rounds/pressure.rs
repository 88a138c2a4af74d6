//! How much a measurement was disturbed: what the Linux kernel says about processes that wait for a core.

use std::fs;
use std::time::{Duration, Instant};

/// A stretch of time, watched.
#[derive(Debug)]
pub(super) struct Watch {
    start: Instant,
    waited: Option<Duration>,
}

impl Watch {
    pub(super) fn start() -> Self {
        Self { waited: waited(), start: Instant::now() }
    }

    /// The share of the time since the start in which some thread of the machine was ready to run and had no core. Zero where
    /// the system does not tell.
    pub(super) fn disturbed(&self) -> f64 {
        let taken = self.start.elapsed();
        match (self.waited, waited()) {
            (Some(before), Some(after)) => after.saturating_sub(before).as_secs_f64() / taken.as_secs_f64(),
            _ => 0.0,
        }
    }
}

/// How long somebody has waited for a core since the machine was started.
fn waited() -> Option<Duration> {
    let pressure = fs::read_to_string("/proc/pressure/cpu").ok()?;
    let (_, total) = pressure.lines().next()?.split_once("total=")?;
    total.trim().parse().ok().map(Duration::from_micros)
}
