//! Before and after: a nest of loops, and the same nest with every level parallel.
//!
//! ```text
//! cargo run --release --example quickstart
//! ```
#![expect(clippy::print_stdout, reason = "an example shows its results")]

use yieldtasks::{BuildError, ExecutorExt, FiberExecutor, yield_taskmap};

/// Before: every level is a loop. Deepens a circuit until it is good enough.
fn synthesize_serially(unitary: u64) -> u64 {
    let (mut depth, mut best) = (0, 1.0);
    while best > 2e-3 {
        depth += 1;
        let evaluate = |ansatz| (0..16).map(|start| optimize(unitary, ansatz, start)).fold(1.0, f64::min);
        best = [2 * depth, 2 * depth + 1].map(evaluate).into_iter().fold(best, f64::min);
    }
    depth
}

/// After: the loops that can be parallel are, the one that cannot stays a loop. No backend is named.
fn synthesize(unitary: u64) -> u64 {
    let (mut depth, mut best) = (0, 1.0);
    while best > 2e-3 {
        depth += 1;
        let evaluate = |ansatz| {
            let distances = yield_taskmap(|start| optimize(unitary, ansatz, start), 0..16);
            distances.into_iter().fold(1.0, f64::min)
        };
        best = yield_taskmap(evaluate, [2 * depth, 2 * depth + 1]).into_iter().fold(best, f64::min);
    }
    depth
}

/// Stands for a call into an optimisation library: a chaotic iteration, and how close to zero it ends.
fn optimize(unitary: u64, ansatz: u64, start: u64) -> f64 {
    let seed = (unitary * 1_000_003 + ansatz * 1_009 + start) as f64;
    (0..20_000).fold(seed.sin().abs(), |x, _| 3.999 * x * (1.0 - x))
}

fn main() -> Result<(), BuildError> {
    let executor = FiberExecutor::new()?; // another backend is a change of this line
    let depths = executor.map(synthesize, 0..8);
    assert_eq!(depths, (0..8).map(synthesize_serially).collect::<Vec<_>>());
    println!("depths {depths:?}, the same as serially");
    Ok(())
}
