//! One map over many items: a million trivial ones, and twenty thousand of a microsecond.

#[expect(dead_code, reason = "every benchmark uses another part")]
mod contenders;
mod grouped;
#[expect(dead_code, reason = "every benchmark uses another part")]
mod workloads;

use contenders::Pools;
use grouped::measure;
use std::process::ExitCode;
use workloads::busy::Pace;
use workloads::flat;

fn main() -> ExitCode {
    grouped::main(|criterion, workers| {
        let pools = Pools::new(workers);
        let pace = Pace::calibrated();
        measure(criterion, workers, flat::trivial(&pools));
        measure(criterion, workers, flat::short(&pools, pace));
        for nanoseconds in flat::BREAK_EVEN_NANOSECONDS {
            measure(criterion, workers, flat::break_even(&pools, pace, nanoseconds));
        }
    })
}
