//! Single events: entering a parked pool, waking a thief, resuming a ready parent whose home worker is busy.

#[expect(dead_code, reason = "every benchmark uses another part")]
mod contenders;
mod grouped;
#[expect(dead_code, reason = "every benchmark uses another part")]
mod workloads;

use contenders::Pools;
use grouped::measure;
use std::process::ExitCode;
use std::thread;
use workloads::busy::Pace;
use workloads::resuming::Pairs;
use workloads::{entering, resuming, waking};

/// Lengths of the leaves of a busy home worker, in microseconds.
const LEAVES: [f64; 4] = [1.0, 10.0, 100.0, 1_000.0];

fn main() -> ExitCode {
    grouped::main(|criterion, workers| {
        let pools = Pools::new(workers);
        measure(criterion, workers, entering::parked_pool(&pools));
        if workers > 1 {
            measure(criterion, workers, waking::thief(&pools));
        } else if thread::available_parallelism().is_ok_and(|cores| cores.get() > 1) {
            let pairs = Pairs::new();
            let pace = Pace::calibrated();
            for microseconds in LEAVES {
                measure(criterion, workers, resuming::ready_parent(&pairs, pace, microseconds));
            }
        }
    })
}
