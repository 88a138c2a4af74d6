//! Depth, width and number of tasks are bounded by memory alone.

use crate::backends::{Kind, WORKERS, candidates, fibers};
use crate::deadline::{doing, within_deadline};
use crate::deep_stack::use_stack_from_here;
use crate::panicking::{expected, expected_panic};
use yieldtasks::{Executor, ExecutorExt, FiberExecutor, yield_join, yield_now, yield_taskmap, yield_taskwrap};

const DEEP: u64 = if cfg!(debug_assertions) { 2_000 } else { 10_000 };
const WIDE: u64 = if cfg!(debug_assertions) { 100_000 } else { 1_000_000 };
/// Tasks below each task, and levels, of the big nest: more than ten million tasks in release builds.
const NEST: (u64, u32) = if cfg!(debug_assertions) { (10, 5) } else { (10, 7) };

/// Fiber executors, of every kind and number of workers.
fn fiber_executors(check: impl Fn(&dyn Executor)) {
    candidates().filter(|candidate| candidate.kind == Kind::Fibers).for_each(|candidate| check(&*candidate.executor));
}

fn chain(depth: u64) -> u64 {
    if depth == 0 { 0 } else { 1 + yield_taskwrap(|| chain(depth - 1)) }
}

fn chain_of_maps(depth: u64) -> u64 {
    if depth == 0 { 0 } else { 1 + yield_taskmap(chain_of_maps, [depth - 1, 0])[0] }
}

fn chain_of_joins(depth: u64) -> u64 {
    if depth == 0 {
        return 0;
    }
    let (below, ()) = yield_join(|| chain_of_joins(depth - 1), yield_now);
    1 + below
}

#[test]
fn chains_of_ten_thousand_tasks_end() {
    within_deadline(|| {
        fiber_executors(|executor| {
            assert_eq!(executor.run(|| chain(DEEP)), DEEP);
            assert_eq!(executor.run(|| chain_of_maps(DEEP)), DEEP);
            assert_eq!(executor.run(|| chain_of_joins(DEEP)), DEEP);
        });
    });
}

#[test]
fn a_panic_rises_through_a_deep_chain() {
    fn deepen(depth: usize) -> usize {
        if depth == 0 { expected(5) } else { yield_taskwrap(|| deepen(depth - 1)) }
    }

    within_deadline(|| {
        let depth = if cfg!(debug_assertions) { 300 } else { 3_000 };
        for workers in WORKERS {
            assert_eq!(expected_panic(|| fibers(workers).run(|| deepen(depth))), 5);
        }
    });
}

#[test]
fn maps_a_million_wide_end() {
    within_deadline(|| {
        fiber_executors(|executor| {
            let doubled = executor.map(|x| 2 * x, 0..WIDE);
            assert!(doubled.into_iter().eq((0..WIDE).map(|x| 2 * x)));
            let texts = executor.run(|| yield_taskmap(|x: String| x, (0..WIDE / 10).map(|x| x.to_string())));
            assert!(texts.into_iter().eq((0..WIDE / 10).map(|x| x.to_string())));
        });
    });
}

#[test]
fn wide_maps_whose_tasks_give_way_end() {
    within_deadline(|| {
        fiber_executors(|executor| {
            let yielded = executor.map(
                |x| {
                    yield_now();
                    yield_taskwrap(|| x)
                },
                0..WIDE / 10,
            );
            assert!(yielded.into_iter().eq(0..WIDE / 10));
        });
    });
}

#[test]
fn nests_of_ten_million_tasks_end() {
    fn count(width: u64, levels: u32) -> u64 {
        if levels == 0 { 1 } else { 1 + yield_taskmap(|_| count(width, levels - 1), 0..width).iter().sum::<u64>() }
    }

    within_deadline(|| {
        let (width, levels) = NEST;
        let tasks = (0..=levels).map(|level| width.pow(level)).sum::<u64>();
        assert!(cfg!(debug_assertions) || tasks > 10_000_000);
        for workers in [1, 2, 4, 8] {
            doing(&format!("{workers} workers"));
            assert_eq!(fibers(workers).run(|| count(width, levels)), tasks);
        }
    });
}

#[test]
fn nests_of_a_million_joins_end() {
    fn count(levels: u32) -> u64 {
        if levels == 0 {
            return 1;
        }
        let (left, right) = yield_join(|| count(levels - 1), || count(levels - 1));
        left + right
    }

    within_deadline(|| {
        let levels = if cfg!(debug_assertions) { 13 } else { 20 };
        fiber_executors(|executor| assert_eq!(executor.run(|| count(levels)), 1 << levels));
    });
}

#[test]
fn a_task_may_use_a_mebibyte_of_stack() {
    within_deadline(|| {
        fiber_executors(|executor| {
            let calls = executor.map(
                |_| {
                    let before = use_stack_from_here(1 << 20);
                    yield_taskmap(|_| use_stack_from_here(1 << 20), 0..2).iter().sum::<usize>() + before
                },
                0..3,
            );
            assert!(calls.into_iter().all(|calls| calls > 100));
        });
        let executor = FiberExecutor::builder().workers(1).stack_size(64 << 20).build().unwrap();
        assert!(executor.run(|| use_stack_from_here(60 << 20)) > 1000);
    });
}

#[test]
fn many_suspended_tasks_live_at_once() {
    const TASKS: usize = if cfg!(debug_assertions) { 5_000 } else { 50_000 };
    within_deadline(|| {
        // More than the usual limit of memory maps allows if each stack takes two of them.
        for workers in [1, 2] {
            let executor = FiberExecutor::builder().workers(workers).stack_size(16 * 1024).build().unwrap();
            let started = std::sync::atomic::AtomicUsize::new(0);
            let all = executor.map(
                |x| {
                    started.fetch_add(1, std::sync::atomic::Ordering::AcqRel);
                    while started.load(std::sync::atomic::Ordering::Acquire) < TASKS {
                        yield_now();
                    }
                    x
                },
                0..TASKS,
            );
            assert!(all.into_iter().eq(0..TASKS));
        }
    });
}
