//! Waking a thief: how long after a fork the second task starts on another worker that was asleep.

use crate::contenders::{Pools, Workload};
use std::hint;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use yieldtasks::{ExecutorExt, yield_join};

/// How long the forking task keeps to itself before each fork, so that the other workers sleep.
const REST: Duration = Duration::from_millis(1);
/// When to give up on the other worker.
const PATIENCE: Duration = Duration::from_secs(5);

/// Forks two tasks, of which the first one waits, busily, for the second one to start. chili and tokio are not here: chili
/// shows work to others only when its owner forks again, and tokio keeps the task that was spawned last to its owner.
pub(crate) fn thief(pools: &Pools) -> Workload<'_> {
    Workload::new("waking a thief", 1)
        .contender("threads, spawn", |iterations| {
            let fork = |wait: &mut (dyn FnMut() + Send), start: &(dyn Fn() + Sync)| {
                thread::scope(|scope| {
                    scope.spawn(start);
                    wait();
                });
            };
            forked(iterations, fork)
        })
        .contender("yield_join", |iterations| {
            pools.ours.run(|| {
                forked(iterations, |wait, start| {
                    yield_join(wait, start);
                })
            })
        })
        .contender("rayon join", |iterations| {
            pools.rayon.install(|| {
                forked(iterations, |wait, start| {
                    rayon::join(wait, start);
                })
            })
        })
}

/// The time from calls of `fork` to the start of its second function, each after a rest.
fn forked(iterations: u64, fork: impl Fn(&mut (dyn FnMut() + Send), &(dyn Fn() + Sync))) -> Duration {
    let mut spent = Duration::ZERO;
    for _ in 0..iterations {
        let rest = Instant::now();
        while rest.elapsed() < REST {
            hint::spin_loop();
        }
        let started = AtomicBool::new(false);
        let begin = Instant::now();
        let mut wait = || {
            while !started.load(Ordering::Acquire) {
                assert!(begin.elapsed() < PATIENCE, "another worker takes the second task");
                hint::spin_loop();
            }
            spent += begin.elapsed();
        };
        fork(&mut wait, &|| started.store(true, Ordering::Release));
    }
    spent
}
