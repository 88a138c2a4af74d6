//! A process for each number of workers, because the scheduler of may is one per process and set once.

use std::env;
use std::process::{Command, ExitCode};
use std::thread;

/// Tells a process its number of workers.
const WORKERS: &str = "YIELDTASKS_BENCH_WORKERS";

/// Calls `run` with one worker and with one worker per core, each in a process of its own that gets the arguments of this
/// one. With the environment variable `YIELDTASKS_BENCH_WORKERS` set, calls it with that number only.
///
/// # Panics
///
/// Panics if the environment variable is no number, or if a process cannot be started.
pub(crate) fn for_each_worker_count(run: impl FnOnce(usize)) -> ExitCode {
    if let Some(workers) = env::var_os(WORKERS) {
        run(workers.to_string_lossy().parse().expect("the number of workers is a number"));
        return ExitCode::SUCCESS;
    }
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let mut counts = vec![1, cores];
    counts.dedup();
    for workers in counts {
        let program = env::current_exe().expect("a benchmark knows where it is");
        let status = Command::new(program).args(env::args_os().skip(1)).env(WORKERS, workers.to_string()).status();
        if !status.expect("a benchmark can start itself").success() {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
