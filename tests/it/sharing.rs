//! One executor for many threads, and many executors one after another.

use crate::backends::{WORKERS, candidates, fibers, on_every_backend};
use crate::deadline::{Flag, doing, wait_until, within_deadline};
use crate::processes::{alone, expect_threads, thread_count, threads_named};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use yieldtasks::{Backend, Executor, ExecutorExt, FiberExecutor, TaskHandle, yield_taskmap, yield_taskwrap};

#[test]
fn sixty_four_threads_share_one_executor() {
    const ROUNDS: usize = if cfg!(debug_assertions) { 5 } else { 40 };
    within_deadline(|| {
        for candidate in candidates().filter(|candidate| candidate.executor.persist()) {
            thread::scope(|scope| {
                for thread in 0..64 {
                    let executor = &*candidate.executor;
                    scope.spawn(move || {
                        for round in 0..ROUNDS {
                            let nested = executor.map(|x| yield_taskmap(|y| thread * x + y + round, 0..4), 0..4);
                            for (x, row) in nested.into_iter().enumerate() {
                                assert_eq!(row, (0..4).map(|y| thread * x + y + round).collect::<Vec<_>>());
                            }
                        }
                    });
                }
            });
        }
    });
}

#[test]
fn sixteen_threads_share_an_executor_whose_workers_live_for_a_call() {
    within_deadline(|| {
        on_every_backend(|executor| {
            thread::scope(|scope| {
                for thread in 0..16 {
                    scope
                        .spawn(move || assert_eq!(executor.run(|| yield_taskmap(|x| x * thread, 0..3))[2], 2 * thread));
                }
            });
        });
    });
}

#[test]
fn fifty_executors_made_and_dropped_leave_no_thread() {
    within_deadline(|| {
        alone(&[], || {
            let before = thread_count();
            for round in 0..50 {
                for workers in WORKERS {
                    for backend in Backend::all() {
                        doing(&format!("{backend} x {workers}, round {round}"));
                        let executor = backend.build(workers).unwrap();
                        assert_eq!(executor.map(|x| yield_taskmap(|y| x + y, 0..3).len(), 0..4), [3; 4]);
                    }
                    drop(fibers(workers));
                }
            }
            // A thread that has been joined leaves the list of the system a moment later.
            wait_until("all threads have ended", || thread_count() <= before, thread::yield_now);
        });
    });
}

#[test]
fn an_executor_dropped_right_after_submits_loses_no_task() {
    within_deadline(|| {
        for round in 0..if cfg!(debug_assertions) { 20 } else { 200 } {
            for workers in WORKERS {
                for backend in Backend::all() {
                    doing(&format!("{backend} x {workers}, round {round}"));
                    let executor = backend.build(workers).unwrap();
                    let ended = Arc::new(AtomicUsize::new(0));
                    let submit = |x: usize| {
                        let ended = Arc::clone(&ended);
                        executor.submit(move || {
                            let children = yield_taskmap(|y| yield_taskwrap(|| x + y), 0..3);
                            ended.fetch_add(1, Ordering::AcqRel);
                            children
                        })
                    };
                    let handles: Vec<_> = (0..6).map(submit).collect();
                    drop(executor);
                    assert_eq!(ended.load(Ordering::Acquire), 6, "dropping waits for the work in hand");
                    for (x, handle) in handles.into_iter().enumerate() {
                        assert_eq!(handle.join().unwrap(), [x, x + 1, x + 2]);
                    }
                }
            }
        }
    });
}

#[test]
fn the_last_owner_of_an_executor_may_be_one_of_its_tasks() {
    within_deadline(|| {
        for workers in WORKERS {
            for backend in Backend::all() {
                doing(&format!("{backend} x {workers}"));
                let executor: Arc<dyn Executor> = Arc::from(backend.build(workers).unwrap());
                let dropped = Arc::new(Flag::new());
                let handle = executor.submit({
                    let (theirs, dropped) = (Arc::clone(&executor), Arc::clone(&dropped));
                    move || {
                        // The serial executor runs the task before `submit` returns.
                        if backend != Backend::Serial {
                            dropped.spin("the test drops its share");
                        }
                        drop(theirs);
                        yield_taskmap(|x| yield_taskwrap(|| x + 1), 0..3)
                    }
                });
                drop(executor);
                dropped.raise();
                assert_eq!(handle.join().unwrap(), [1, 2, 3]);
            }
        }
    });
}

#[test]
fn handles_outlive_their_executor() {
    within_deadline(|| {
        for workers in WORKERS {
            let handles: Vec<TaskHandle<usize>> = {
                let executor = fibers(workers);
                (0..20).map(|x| executor.submit(move || x)).collect()
            };
            let results: Vec<_> = handles.into_iter().map(|handle| handle.join().unwrap()).collect();
            assert_eq!(results, (0..20).collect::<Vec<_>>());
        }
    });
}

#[test]
fn executors_built_and_dropped_by_many_threads_at_once_do_not_disturb_each_other() {
    within_deadline(|| {
        thread::scope(|scope| {
            for thread in 0..8 {
                scope.spawn(move || {
                    for round in 0..10 {
                        let executor = fibers(1 + round % 3);
                        assert_eq!(executor.map(|x| yield_taskmap(|y| x * y, 0..3)[2], 0..3), [0, 2, 4], "{thread}");
                    }
                });
            }
        });
    });
}

#[test]
fn executors_built_and_dropped_inside_tasks_do_not_disturb_those_outside() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let inner = |x: usize| {
                let own = fibers(1 + x % 2);
                let there = own.map(|y| yield_taskmap(|z| x + y + z, 0..2), 0..2);
                drop(own);
                yield_taskmap(|row: Vec<usize>| row[1], there)
            };
            assert_eq!(executor.map(inner, 0..4), [[1, 2], [2, 3], [3, 4], [4, 5]]);
        });
    });
}

#[test]
fn threads_carry_the_name_of_their_executor() {
    within_deadline(|| {
        let executor = FiberExecutor::builder().workers(3).thread_name("named").build().unwrap();
        assert_eq!(threads_named("named-").len(), 3);
        let name = executor.run(|| thread::current().name().map(str::to_owned)).unwrap();
        assert!(["named-0", "named-1", "named-2"].contains(&name.as_str()), "{name}");
        drop(executor);
        expect_threads("named-", 0);
    });
}
