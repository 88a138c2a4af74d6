//! Few fibers, and little memory for them: slower, and nothing else.

use crate::backends::WORKERS;
use crate::deadline::{doing, wait_until, within_deadline};
use crate::panicking::{caught, expected, expected_panic, message_of};
use crate::processes::alone;
use nix::sys::resource::{Resource, setrlimit};
use std::collections::HashSet;
use std::error::Error;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};
use yieldtasks::{
    BuildError, Executor, ExecutorExt, FiberExecutor, Pinning, yield_join, yield_now, yield_taskmap, yield_taskwrap,
};

const STACK: usize = 128 * 1024;

fn limited(workers: usize, fibers: usize) -> FiberExecutor {
    FiberExecutor::builder().workers(workers).max_fibers(fibers).stack_size(STACK).build().unwrap()
}

/// Checks a behaviour on few workers with few fibers, from the fewest possible on.
fn on_few_fibers(check: impl Fn(&FiberExecutor)) {
    for workers in WORKERS {
        for fibers in [1, 2, 3, 5, 8, 20] {
            for persist in [true, false] {
                doing(&format!("{workers} workers, {fibers} fibers, persist {persist}"));
                let builder = FiberExecutor::builder().workers(workers).max_fibers(fibers).stack_size(STACK);
                check(&builder.persist(persist).build().unwrap());
            }
        }
    }
}

/// Which stack the caller runs on: half of the address space of one is less than the distance of two.
fn stack() -> usize {
    let here = 0_u8;
    (&raw const here).addr() / (STACK / 2)
}

/// A nest with waits of all kinds in it, and what it gives.
fn nest(levels: u32) -> u64 {
    if levels == 0 {
        yield_now();
        return 1;
    }
    let (left, right) = yield_join(|| yield_taskmap(nest, [levels - 1; 3]), || yield_taskwrap(|| nest(levels - 1)));
    left.into_iter().sum::<u64>() + right
}

#[test]
fn no_fibers_are_refused() {
    for persist in [true, false] {
        let error = FiberExecutor::builder().workers(1).max_fibers(0).persist(persist).build().unwrap_err();
        assert!(matches!(error, BuildError::NoFibers) && error.source().is_none());
        assert!(error.to_string().contains("at least one fiber"), "{error}");
    }
}

#[test]
fn nests_on_few_fibers_have_all_their_results() {
    within_deadline(|| {
        on_few_fibers(|executor| {
            assert_eq!(executor.run(|| nest(5)), 4_u64.pow(5));
            let sums = executor.map(|x| yield_taskmap(|y| x * y, 0..50_u64).iter().sum::<u64>(), 0..50);
            assert!(sums.into_iter().eq((0..50).map(|x| x * 49 * 25)));
        });
    });
}

#[test]
fn at_the_limit_children_run_in_order_on_the_stack_of_their_parent() {
    within_deadline(|| {
        let executor = limited(1, 1);
        let (order, own) = (Mutex::new(Vec::new()), Mutex::new(HashSet::new()));
        let doubled = executor.run(|| {
            own.lock().unwrap().insert(stack());
            yield_taskmap(
                |x| {
                    order.lock().unwrap().push(x);
                    own.lock().unwrap().insert(stack());
                    yield_taskwrap(|| 2 * x)
                },
                0..100,
            )
        });
        assert!(doubled.into_iter().eq((0..100).map(|x| 2 * x)));
        assert!(order.into_inner().unwrap().into_iter().eq(0..100));
        assert!(own.into_inner().unwrap().len() <= 2, "a few frames may lie across the middle of the stack");
    });
}

#[test]
fn no_more_tasks_live_on_stacks_of_their_own_than_fibers_are_allowed() {
    within_deadline(|| {
        for (workers, fibers) in [(1, 1), (1, 7), (2, 2), (2, 9), (4, 16)] {
            doing(&format!("{workers} workers, {fibers} fibers"));
            let executor = limited(workers, fibers);
            let (begun, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
            // The root tasks give way in the middle, so as many of them live at once as there are fibers.
            let results = executor.map(
                |x| {
                    most.fetch_max(begun.fetch_add(1, Ordering::AcqRel) + 1, Ordering::AcqRel);
                    (0..20).for_each(|_| yield_now());
                    begun.fetch_sub(1, Ordering::AcqRel);
                    x
                },
                0..500,
            );
            assert!(results.into_iter().eq(0..500));
            let most = most.into_inner();
            assert!(most <= fibers && (most == fibers || workers > 1), "{most} lived on {fibers} fibers");
        }
    });
}

#[test]
fn a_limit_far_away_changes_nothing() {
    within_deadline(|| {
        let executor = limited(2, 1000);
        let begun = AtomicUsize::new(0);
        // Each waits for all others, so that one that ran inline would wait for ever.
        executor.run(|| {
            yield_taskmap(
                |_| {
                    begun.fetch_add(1, Ordering::AcqRel);
                    wait_until("all tasks have begun", || begun.load(Ordering::Acquire) == 900, yield_now);
                },
                0..900,
            )
        });
    });
}

#[test]
fn a_panic_on_few_fibers_arrives_where_the_map_was_made() {
    within_deadline(|| {
        on_few_fibers(|executor| {
            let number = expected_panic(|| {
                executor.run(|| yield_taskmap(|x| if x == 3 { expected(x) } else { nest(2) }, 0..8));
            });
            assert_eq!(number, 3);
            assert_eq!(executor.run(|| nest(3)), 64);
        });
    });
}

#[test]
fn submitted_tasks_on_few_fibers_end() {
    within_deadline(|| {
        on_few_fibers(|executor| {
            let handles: Vec<_> = (0..100).map(|x| executor.submit(move || nest(2) + x)).collect();
            assert!(handles.into_iter().map(|handle| handle.join().unwrap()).eq((0..100).map(|x| 16 + x)));
        });
    });
}

#[test]
fn tasks_that_wait_for_tasks_without_a_fiber_do_not_wait_for_ever() {
    fn descend(executor: &Arc<FiberExecutor>, depth: u32) -> u32 {
        if depth == 0 {
            return 0;
        }
        let theirs = Arc::clone(executor);
        1 + executor.submit(move || descend(&theirs, depth - 1)).join().unwrap()
    }

    within_deadline(|| {
        for workers in [1, 2] {
            let executor = Arc::new(limited(workers, 1));
            assert_eq!(descend(&executor, 10), 10);
            let other = limited(1, 1);
            let there_and_back = || other.run(|| executor.run(|| other.run(|| executor.run(|| nest(2)))));
            assert_eq!(executor.run(there_and_back), 16);
        }
    });
}

#[test]
fn a_worker_at_its_limit_hears_of_its_ready_fibers_at_once() {
    within_deadline(|| {
        // The worker starves at each task but the last, because its fiber waits and others want one. If it only looked up
        // now and then, this would take minutes.
        let (here, there) = (limited(1, 1), limited(1, 1));
        let began = Instant::now();
        let same = here.map(|x| there.run(|| x), 0..5_000);
        assert!(same.into_iter().eq(0..5_000));
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    });
}

#[test]
fn deep_nests_on_few_fibers_panic_before_they_overflow_a_stack() {
    fn chain(depth: u64) -> u64 {
        if depth == 0 { 0 } else { 1 + yield_taskwrap(|| chain(depth - 1)) }
    }

    within_deadline(|| {
        for size in [STACK, 4 << 20] {
            let executor = FiberExecutor::builder().workers(1).max_fibers(3).stack_size(size).build().unwrap();
            assert_eq!(executor.run(|| chain(12)), 12);
            let payload = caught(|| executor.run(|| chain(1_000_000))).unwrap_err();
            assert!(message_of(&*payload).contains("nest less deep"), "{}", message_of(&*payload));
            assert_eq!(executor.run(|| chain(12)), 12);
        }
    });
}

#[test]
fn shutdown_at_the_limit_waits_for_the_work_in_hand() {
    within_deadline(|| {
        for workers in WORKERS {
            let executor = limited(workers, 1);
            let ended = Arc::new(AtomicUsize::new(0));
            for _ in 0..50 {
                let theirs = Arc::clone(&ended);
                drop(executor.submit(move || theirs.fetch_add(nest(2) as usize, Ordering::AcqRel)));
            }
            executor.shutdown();
            assert_eq!(ended.load(Ordering::Acquire), 50 * 16);
        }
    });
}

/// Bytes of address space in use.
fn address_space() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("the tests read /proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmSize:")).expect("Linux tells the size");
    1024 * line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
}

fn leave_address_space(bytes: u64) {
    let limit = address_space() + bytes;
    setrlimit(Resource::RLIMIT_AS, limit, limit).unwrap();
}

#[test]
fn without_address_space_for_stacks_nothing_is_lost() {
    alone(&[], || {
        within_deadline(|| {
            let builder = FiberExecutor::builder().workers(2).pinning(Pinning::None).stack_size(1 << 20);
            let executor = builder.build().unwrap();
            leave_address_space(200 << 20);
            for round in 0..3 {
                // Each of these would like to live on a mebibyte of its own for a while.
                let results = executor.map(
                    |x| {
                        (0..10).for_each(|_| yield_now());
                        nest(3) + x
                    },
                    0..2_000,
                );
                assert!(results.into_iter().eq((0..2_000).map(|x| 64 + x)), "round {round}");
                assert_eq!(executor.run(|| nest(6)), 4_u64.pow(6));
                let handles: Vec<_> = (0..2_000_u64).map(|x| executor.submit(move || nest(1) + x)).collect();
                assert!(handles.into_iter().map(|handle| handle.join().unwrap()).eq((0..2_000).map(|x| 4 + x)));
            }
            executor.shutdown();
        });
    });
}

#[test]
fn without_any_address_space_the_fibers_made_at_the_start_do_the_work() {
    alone(&[], || {
        within_deadline(|| {
            // So large that each slab has room for one.
            let builder = FiberExecutor::builder().workers(2).pinning(Pinning::None).stack_size(3 << 30);
            let executor = builder.build().unwrap();
            leave_address_space(16 << 20);
            assert_eq!(executor.run(|| nest(6)), 4_u64.pow(6));
            let handles: Vec<_> = (0..100_u64).map(|x| executor.submit(move || nest(1) + x)).collect();
            assert!(handles.into_iter().map(|handle| handle.join().unwrap()).eq((0..100).map(|x| 4 + x)));
        });
    });
}

#[test]
fn without_memory_a_task_that_nobody_can_start_fails_in_the_end() {
    alone(&[], || {
        within_deadline(|| {
            let builder = FiberExecutor::builder().workers(1).pinning(Pinning::None).stack_size(1 << 30);
            let executor = Arc::new(builder.build().unwrap());
            leave_address_space(0);
            let theirs = Arc::clone(&executor);
            let outcome = executor.submit(move || descend(&theirs, 100)).join();
            assert!(outcome.unwrap().is_err());
            assert_eq!(executor.run(|| nest(3)), 64, "the executor is none the worse for it");
            let (made, mapped) = (MADE.load(Ordering::Relaxed), MAPPED.load(Ordering::Relaxed));
            assert!(
                made > 0 && made == mapped,
                "destructors map, even that of a task that never started: {made}, {mapped}"
            );
        });
    });

    static MADE: AtomicUsize = AtomicUsize::new(0);
    static MAPPED: AtomicUsize = AtomicUsize::new(0);

    /// A chain of tasks each of which waits for the next by its handle.
    fn descend(executor: &Arc<FiberExecutor>, depth: u32) -> Result<u32, String> {
        if depth == 0 {
            return Ok(0);
        }
        let theirs = Arc::clone(executor);
        MADE.fetch_add(1, Ordering::Relaxed);
        let mapping = Mapping;
        let task = move || {
            let _mapping = mapping;
            descend(&theirs, depth - 1)
        };
        let below = executor.submit(task).join();
        below.unwrap_or_else(|error| Err(error.to_string())).map(|depth| depth + 1)
    }

    /// Something whose destructor maps.
    struct Mapping;

    impl Drop for Mapping {
        fn drop(&mut self) {
            let sum: usize = yield_taskmap(|x| yield_taskwrap(|| x), 0..2).iter().sum();
            MAPPED.fetch_add(sum, Ordering::Relaxed);
        }
    }
}

#[test]
fn a_stack_that_cannot_be_had_for_a_worker_fails_the_building() {
    alone(&[], || {
        leave_address_space(600 << 20);
        let builder = FiberExecutor::builder().workers(4).pinning(Pinning::None).stack_size(256 << 20);
        let error = builder.build().unwrap_err();
        assert!(matches!(error, BuildError::StackSize { source: Some(_), .. }), "{error:?}");
        let executor = FiberExecutor::builder().workers(2).stack_size(STACK).build().unwrap();
        assert_eq!(executor.run(|| nest(3)), 64);
    });
}

/// Counts warnings, and notes the last.
#[derive(Default)]
struct Warnings {
    count: AtomicUsize,
    latest: Mutex<String>,
}

impl tracing::Subscriber for &'static Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::WARN
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        // A subscriber is the program's code, which may map in parallel.
        assert_eq!(yield_taskmap(|x| x + 1, [1, 2]), [2, 3]);
        self.count.fetch_add(1, Ordering::AcqRel);
        *self.latest.lock().unwrap() = format!("{event:?}");
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn an_executor_warns_once_that_maps_run_inline() {
    alone(&[], || {
        within_deadline(|| {
            static WARNINGS: LazyLock<Warnings> = LazyLock::new(Warnings::default);
            let count = || WARNINGS.count.load(Ordering::Acquire);
            tracing::subscriber::set_global_default(&*WARNINGS).unwrap();
            let build = |fibers, size| {
                let builder = FiberExecutor::builder().workers(1).pinning(Pinning::None);
                builder.max_fibers(fibers).stack_size(size).build().unwrap()
            };
            assert_eq!(build(100, 1 << 20).run(|| nest(3)), 64);
            assert_eq!(count(), 0);
            // In the middle of a task, and in the loop of a worker whose fibers have all yielded.
            let nested = build(1, 1 << 20);
            let flat = build(1, 32 * 1024);
            for _ in 0..3 {
                assert_eq!(nested.run(|| nest(3)), 64);
                let joined = flat.map(|x| nested.run(|| x), 0..3);
                assert_eq!(joined, [0, 1, 2]);
            }
            assert_eq!(count(), 2, "{}", WARNINGS.latest.lock().unwrap());
            let latest = WARNINGS.latest.lock().unwrap();
            assert!(latest.contains("run inline") && latest.contains("fibers"), "{latest}");
        });
    });
}
