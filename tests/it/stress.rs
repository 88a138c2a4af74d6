//! Many rounds of what goes wrong rarely: stealing, sleeping, waking, and waiting across executors.

use crate::backends::{fibers, fibers_unpinned, on_fibers};
use crate::deadline::{doing, within_deadline};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use yieldtasks::{Executor, ExecutorExt, FiberExecutor, yield_join, yield_now, yield_taskmap, yield_taskwrap};

/// Fewer rounds in debug builds.
const fn rounds(release: u64) -> u64 {
    if cfg!(debug_assertions) { release / 10 } else { release }
}

/// The next number of a linear congruential generator (Knuth's MMIX constants).
fn next(seed: u64) -> u64 {
    seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407)
}

/// A tree whose shape follows from the seed; counts its nodes.
fn tree(seed: u64, depth: u32) -> u64 {
    let (seed, width) = (next(seed), (seed >> 33) % 5);
    if depth == 0 {
        return 1;
    }
    let child = |idx: u64| tree(seed ^ (idx << 40), depth - 1);
    1 + match (seed >> 60) % 8 {
        0 => yield_taskwrap(|| child(0)),
        1 => {
            let (left, right) = yield_join(|| child(1), || child(2));
            left + right
        }
        2 => {
            yield_now();
            yield_taskmap(child, 0..width).iter().sum()
        }
        3 => (0..width).map(|idx| yield_taskmap(child, [idx, idx + 9]).iter().sum::<u64>()).sum(),
        _ => yield_taskmap(child, 0..width).iter().sum(),
    }
}

/// The same without a library.
fn tree_inline(seed: u64, depth: u32) -> u64 {
    let (seed, width) = (next(seed), (seed >> 33) % 5);
    if depth == 0 {
        return 1;
    }
    let child = |idx: u64| tree_inline(seed ^ (idx << 40), depth - 1);
    1 + match (seed >> 60) % 8 {
        0 => child(0),
        1 => child(1) + child(2),
        3 => (0..width).map(|idx| child(idx) + child(idx + 9)).sum(),
        _ => (0..width).map(child).sum::<u64>(),
    }
}

/// Executors with workers to steal from: as many as cores and more.
fn thieves() -> [FiberExecutor; 3] {
    [fibers(2), fibers(4), fibers_unpinned(2)]
}

#[test]
fn small_random_trees_are_stolen_from_all_over() {
    within_deadline(|| {
        for executor in thieves() {
            for seed in 0..rounds(10_000) {
                assert_eq!(executor.run(|| tree(seed, 4)), tree_inline(seed, 4), "seed {seed} on {executor:?}");
            }
        }
    });
}

#[test]
fn trees_inside_one_long_call_keep_all_workers_stealing() {
    within_deadline(|| {
        for executor in thieves() {
            let seeds = 0..rounds(20_000);
            let counts = executor.map(|seed| tree(seed, 4), seeds.clone());
            assert!(counts.into_iter().eq(seeds.map(|seed| tree_inline(seed, 4))));
        }
    });
}

#[test]
fn every_task_runs_exactly_once_under_stealing() {
    within_deadline(|| {
        for executor in thieves() {
            for round in 0..rounds(1_000) {
                let width = 1 + round % 40;
                let runs: Vec<AtomicUsize> = (0..width * 8).map(|_| AtomicUsize::new(0)).collect();
                executor.map(
                    |outer| {
                        yield_taskmap(
                            |inner| runs[usize::try_from(outer * 8 + inner).unwrap()].fetch_add(1, Ordering::Relaxed),
                            0..8,
                        )
                    },
                    0..width,
                );
                assert!(runs.into_iter().all(|runs| runs.into_inner() == 1), "round {round}");
            }
        }
    });
}

#[test]
fn an_executor_fed_from_outside_wakes_up_every_time() {
    within_deadline(|| {
        for executor in [fibers(1), fibers(2), fibers(4)] {
            doing(&format!("{executor:?}"));
            for round in 0..rounds(20_000) {
                assert_eq!(executor.map(|x| x + round, [1, 2]), [1 + round, 2 + round]);
                if round % 16 == 0 {
                    // Time enough for the workers to go to sleep, or nearly so.
                    (0..round % 64).for_each(|_| thread::yield_now());
                }
            }
        }
    });
}

#[test]
fn workers_wake_each_other_every_time() {
    within_deadline(|| {
        for executor in thieves() {
            let workers = executor.size();
            for _ in 0..rounds(2_000) {
                // The tasks of each batch end only when all workers but one have come to help.
                let met = AtomicUsize::new(0);
                executor.map(
                    |_| {
                        met.fetch_add(1, Ordering::AcqRel);
                        crate::deadline::spin_until("the workers meet", || met.load(Ordering::Acquire) >= workers);
                    },
                    0..workers,
                );
            }
        }
    });
}

#[test]
fn executors_that_call_each_other_wake_each_other_every_time() {
    within_deadline(|| {
        for (here, there) in [(fibers(1), fibers(1)), (fibers(2), fibers(1)), (fibers(2), fibers(4))] {
            doing(&format!("{here:?} and {there:?}"));
            let bounce = |x: u64| {
                let mut value = x;
                for _ in 0..rounds(1_000) {
                    value = there.map(|x| here.run(|| yield_taskwrap(|| x + 1)), [value])[0];
                }
                value - x
            };
            assert_eq!(here.map(bounce, 0..4), [rounds(1_000); 4]);
        }
    });
}

#[test]
fn tasks_submitted_and_joined_inside_tasks_wake_each_other_every_time() {
    within_deadline(|| {
        let (here, there) = (Arc::new(fibers(2)), Arc::new(fibers(1)));
        for (executor, other) in [(&here, &there), (&there, &here), (&here, &here), (&there, &there)] {
            let joined = executor.map(
                |x| {
                    (0..rounds(2_000)).fold(x, |sum, step| {
                        let handle = other.submit(move || step);
                        if step % 3 == 0 {
                            yield_now();
                        }
                        sum + handle.join().unwrap()
                    })
                },
                0..4,
            );
            let sum = rounds(2_000) * (rounds(2_000) - 1) / 2;
            assert_eq!(joined, [sum, sum + 1, sum + 2, sum + 3]);
        }
    });
}

#[test]
fn threads_that_submit_and_tasks_that_fork_share_the_workers() {
    within_deadline(|| {
        on_fibers(|executor, _| {
            let each = if executor.persist() { rounds(1_000) } else { rounds(50) };
            let sum = AtomicU64::new(0);
            thread::scope(|scope| {
                for thread in 0..4 {
                    let sum = &sum;
                    scope.spawn(move || {
                        for round in 0..each {
                            let handle = executor.submit(move || tree(thread * 1_000 + round, 3));
                            let here = executor.run(|| tree(round, 3));
                            assert_eq!(here, tree_inline(round, 3));
                            sum.fetch_add(handle.join().unwrap(), Ordering::Relaxed);
                        }
                    });
                }
            });
            let expected = (0..4).flat_map(|thread| (0..each).map(move |round| tree_inline(thread * 1_000 + round, 3)));
            assert_eq!(sum.into_inner(), expected.sum::<u64>());
        });
    });
}
