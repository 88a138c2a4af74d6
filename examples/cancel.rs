//! Stopping work that is no longer wanted: a race, a deadline, a token.
//!
//! ```text
//! cargo run --release --example cancel
//! ```
#![expect(clippy::print_stdout, reason = "an example shows its results")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use yieldtasks::{
    BuildError, CancelToken, ExecutorExt, FiberExecutor, TaskError, checkpoint, sleep, taskmap, yield_join,
};

/// How many searches run at the moment, and how many have ever started.
static RUNNING: AtomicUsize = AtomicUsize::new(0);
static STARTED: AtomicUsize = AtomicUsize::new(0);

/// Counts a search in, and out when dropped: a search that is stopped runs its destructors.
struct Running;

impl Running {
    fn new() -> Self {
        RUNNING.fetch_add(1, Ordering::Relaxed);
        STARTED.fetch_add(1, Ordering::Relaxed);
        Self
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Walks upwards from `start` to a factor of the number: a leaf that may run for minutes, or for hours.
fn factor(number: u64, start: u64) -> Option<u64> {
    let _running = Running::new();
    for (step, candidate) in (start..number).enumerate() {
        if number.is_multiple_of(candidate) {
            return Some(candidate);
        }
        if step % 1000 == 0 {
            checkpoint(); // Where a leaf can be stopped. Costs a few nanoseconds.
        }
    }
    None
}

/// A product of two primes, of which the last starting point is near.
const PRODUCT: u64 = 999_999_937 * 999_999_929;
const PRIME: u64 = 999_999_999_989;
const STARTS: [u64; 4] = [250_000_000, 500_000_000, 750_000_000, 999_900_000];

fn main() -> Result<(), BuildError> {
    let executor = FiberExecutor::builder().workers(4).build()?;

    // The first to find a factor ends the search; the others are cancelled where they are.
    let winner = executor.taskmap(|start| factor(PRODUCT, start), STARTS).race(Option::is_some);
    if let Some((index, Some(factor))) = winner {
        println!("race:     task {index} found {factor} x {}", PRODUCT / factor);
    }
    report();

    // A deadline holds for the map and all below it. A leaf that is late ends at its next checkpoint.
    let row = |offset| taskmap(|start| factor(PRIME, start + offset), STARTS).name("search").run();
    let began = Instant::now();
    let late = executor.taskmap(row, 0..4).name("row").deadline(Duration::from_millis(50)).try_run();
    if let Err(error) = late {
        println!("deadline: after {} ms, {error}", began.elapsed().as_millis());
    }
    report();

    // A token cancels from wherever one likes; here, from a sibling that has slept on the same workers.
    let token = CancelToken::new();
    let search = || taskmap(|start| factor(PRIME, start), STARTS).cancel_token(&token).settled();
    let cancel = || {
        sleep(Duration::from_millis(20));
        token.cancel();
    };
    let ((), outcomes) = executor.run(|| yield_join(cancel, search));
    let kinds: Vec<_> = outcomes.iter().map(|outcome| outcome.as_ref().map_err(TaskError::kind)).collect();
    println!("token:    {kinds:?}");
    report();
    Ok(())
}

/// Says that nothing is left behind.
fn report() {
    let (started, running) = (STARTED.swap(0, Ordering::Relaxed), RUNNING.load(Ordering::Relaxed));
    println!("          {started} searches had started, {running} still run");
    assert_eq!(running, 0);
}
