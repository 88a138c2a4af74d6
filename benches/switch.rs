//! Switches: between two tasks of a worker, around one child, and between threads for scale.
//!
//! On one worker only, where nobody else can take a task. The results are in nanoseconds; `bench_report` adds cycles.

#[expect(dead_code, reason = "every benchmark uses another part")]
mod contenders;
mod grouped;
#[expect(dead_code, reason = "every benchmark uses another part")]
mod workloads;

use contenders::Pools;
use grouped::measure;
use std::process::ExitCode;
use workloads::switching;

fn main() -> ExitCode {
    grouped::main(|criterion, workers| {
        if workers > 1 {
            return;
        }
        let pools = Pools::new(workers);
        measure(criterion, workers, switching::between_tasks(&pools));
        measure(criterion, workers, switching::around_one_child(&pools));
        measure(criterion, workers, switching::between_threads());
    })
}
