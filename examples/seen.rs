//! What a running program is about, on SIGUSR1, and what it has done, at its end.
//!
//! ```text
//! cargo run --release --example seen
//! ```
//!
//! `kill -USR1 PID` prints the tree of live tasks whenever one wants to know. The program sends itself the signal once, halfway,
//! for those who only watch.
#![expect(clippy::print_stdout, reason = "an example shows its results")]

use anyhow::Result;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;
use std::thread;
use std::time::{Duration, Instant};
use yieldtasks::{ExecutorExt, FiberExecutor, sleep, taskmap, yield_join};

const CIRCUITS: usize = 6;
const STARTS: u64 = 8;

fn main() -> Result<()> {
    // Before any thread is started, so that all of them leave the signal to the one that waits for it.
    let signals = SigSet::from_iter([Signal::SIGUSR1]);
    signals.thread_block()?;
    let executor = FiberExecutor::builder().watchdog(Duration::from_secs(10)).build()?;
    println!("kill -USR1 {} prints the live tasks", Pid::this());
    thread::scope(|scope| {
        scope.spawn(|| print_dumps(&executor, &signals));
        executor.taskmap(synthesise, 0..CIRCUITS).name("synthesise").run();
        // The printer ends at the first signal that finds nothing to print.
        kill(Pid::this(), Signal::SIGUSR1)
    })?;
    println!("{}", executor.stats());
    Ok(())
}

/// Prints the live tasks at each signal, until there are none.
fn print_dumps(executor: &FiberExecutor, signals: &SigSet) {
    while signals.wait().is_ok() {
        let dump = executor.dump();
        if dump.is_empty() {
            return;
        }
        println!("{dump}");
    }
}

fn synthesise(circuit: usize) -> u64 {
    let mut best = u64::MAX;
    for layer in 0..3 {
        if circuit == CIRCUITS / 2 && layer == 1 {
            kill(Pid::this(), Signal::SIGUSR1).expect("a process may send itself a signal");
        }
        let costs = taskmap(|start| optimise(layer, start), 0..STARTS).name("optimise").run();
        best = costs.into_iter().fold(best, u64::min);
    }
    best
}

fn optimise(layer: u64, start: u64) -> u64 {
    // Some starts wait for a result from elsewhere, the others compute.
    if start % 4 == 3 {
        sleep(Duration::from_millis(30));
    }
    let (cost, gradient) = yield_join(|| compute(start), || compute(layer));
    cost + gradient
}

fn compute(seed: u64) -> u64 {
    let until = Instant::now() + Duration::from_millis(2);
    let mut value = seed;
    while Instant::now() < until {
        value = value.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    }
    value % 1000
}
