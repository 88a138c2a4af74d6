//! Interleaved measurements: every contender in turn, round after round, so that what slows the machine down for a while
//! slows them all.

mod pressure;

use crate::contenders::{Contender, Workload};
use pressure::Watch;
use std::time::Duration;

/// A measurement is repeated if, for more than this share of its time, somebody had to wait for a core.
const QUIET: f64 = 0.02;

/// How a workload is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) rounds: usize,
    /// A measurement repeats its workload for about this long, after once for warming up. One that takes longer is run
    /// once.
    pub(crate) measurement: Duration,
    /// How often a measurement is tried at most until the machine is quiet. The least disturbed one counts.
    pub(crate) attempts: usize,
}

/// The measurements of one contender.
#[derive(Debug)]
pub(crate) struct Series {
    contender: &'static str,
    /// Nanoseconds per element, in every round.
    pub(crate) times: Vec<f64>,
    /// The share of each measurement in which somebody had to wait for a core.
    pub(crate) disturbed: Vec<f64>,
}

/// The measurements of all contenders of a workload.
#[derive(Debug)]
pub(crate) struct Rounds(Vec<Series>);

impl Rounds {
    /// Measures the contenders that are called for.
    pub(crate) fn measure(workload: Workload<'_>, plan: Plan, called_for: &[&str]) -> Self {
        let elements = workload.elements;
        let contenders = workload.contenders.into_iter().filter(|contender| called_for.contains(&contender.name));
        let mut entries: Vec<_> = contenders
            .map(|mut contender| {
                let once = contender.run(1).max(Duration::from_nanos(1));
                let fits = plan.measurement.as_nanos().div_ceil(once.as_nanos());
                let iterations = u64::try_from(fits).unwrap_or(u64::MAX).max(1);
                let series = Series { contender: contender.name, times: Vec::new(), disturbed: Vec::new() };
                (contender, iterations, series)
            })
            .collect();
        for round in 0..plan.rounds {
            for turn in 0..entries.len() {
                // Each round begins with another contender, so that nobody always follows the same one.
                let idx = (round + turn) % entries.len();
                let (contender, iterations, series) = &mut entries[idx];
                let (taken, disturbed) = least_disturbed(contender, *iterations, plan.attempts);
                series.times.push(taken.as_secs_f64() * 1e9 / (*iterations * elements) as f64);
                series.disturbed.push(disturbed);
            }
        }
        Self(entries.into_iter().map(|(_, _, series)| series).collect())
    }

    /// The measurements of a contender.
    ///
    /// # Panics
    ///
    /// Panics if the workload has no such contender.
    pub(crate) fn of(&self, contender: &str) -> &Series {
        let found = self.0.iter().find(|series| series.contender == contender);
        found.unwrap_or_else(|| panic!("{contender} was not measured"))
    }
}

fn least_disturbed(contender: &mut Contender<'_>, iterations: u64, attempts: usize) -> (Duration, f64) {
    let mut least = (Duration::ZERO, f64::INFINITY);
    for _ in 0..attempts {
        if iterations > 1 {
            // What the previous contender has done to the caches is not this one's fault.
            contender.run(1);
        }
        let watch = Watch::start();
        let taken = contender.run(iterations);
        let disturbed = watch.disturbed();
        if disturbed < least.1 {
            least = (taken, disturbed);
        }
        if disturbed <= QUIET {
            break;
        }
    }
    least
}

/// The middle one of some numbers.
pub(crate) fn median(numbers: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = numbers.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}

/// The smallest of some numbers.
pub(crate) fn least(numbers: &[f64]) -> f64 {
    numbers.iter().copied().fold(f64::INFINITY, f64::min)
}
