//! Entering a pool from outside while its workers sleep.

use crate::contenders::{Pools, Workload};
use std::hint;
use std::time::{Duration, Instant};
use yieldtasks::ExecutorExt;

/// How long the pool is left alone before each entry. Every contender's workers sleep by then.
const REST: Duration = Duration::from_millis(1);

/// Runs an empty task in the pool and waits for it.
pub(crate) fn parked_pool(pools: &Pools) -> Workload<'_> {
    Workload::new("entering a parked pool", 1)
        .contender("threads, spawn and join", |iterations| {
            rested(iterations, || {
                std::thread::scope(|scope| {
                    scope.spawn(|| ());
                })
            })
        })
        .contender("FiberExecutor::run", |iterations| rested(iterations, || pools.ours.run(|| ())))
        .contender("rayon install", |iterations| rested(iterations, || pools.rayon.install(|| ())))
        .contender("tokio spawn and block_on", |iterations| {
            rested(iterations, || pools.tokio.block_on(async { tokio::spawn(async {}).await }).is_ok())
        })
        .contender("may go and join", |iterations| rested(iterations, || may::go!(|| ()).join().is_ok()))
}

/// The time spent in calls of `enter`, each after a rest in which the calling thread stays awake.
fn rested<R>(iterations: u64, mut enter: impl FnMut() -> R) -> Duration {
    let mut spent = Duration::ZERO;
    for _ in 0..iterations {
        let rest = Instant::now();
        while rest.elapsed() < REST {
            hint::spin_loop();
        }
        let start = Instant::now();
        hint::black_box(enter());
        spent += start.elapsed();
    }
    spent
}
