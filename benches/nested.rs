//! The three-level shape of Qsearch with busy leaves from a microsecond to ten milliseconds.
//!
//! What counts is the efficiency, which `bench_report` derives from the serial time.

#[expect(dead_code, reason = "every benchmark uses another part")]
mod contenders;
mod grouped;
#[expect(dead_code, reason = "every benchmark uses another part")]
mod workloads;

use contenders::Pools;
use grouped::measure;
use std::process::ExitCode;
use workloads::busy::Pace;
use workloads::nested::Searches;

/// Mean lengths of the leaves in microseconds, and into how many parts the rounds are divided to take one.
const LEAVES: [(f64, usize); 5] = [(1.0, 1), (10.0, 1), (100.0, 4), (1_000.0, 12), (10_000.0, 12)];

fn main() -> ExitCode {
    grouped::main(|criterion, workers| {
        let pools = Pools::new(workers);
        let pace = Pace::calibrated();
        for (microseconds, parts) in LEAVES {
            let searches = Searches::new(pace, microseconds, parts);
            measure(criterion, workers, searches.workload(&pools));
        }
    })
}
