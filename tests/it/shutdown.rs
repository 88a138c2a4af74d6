//! Shutdown: the work in hand ends, nothing else starts, and nobody waits for ever.

use crate::backends::{BACKENDS, WORKERS, candidates, fibers, on_every_backend};
use crate::deadline::{Flag, doing, wait_until, within_deadline};
use crate::panicking::{caught, message_of};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;
use yieldtasks::{ErrorKind, Executor, ExecutorExt, yield_join, yield_taskmap, yield_taskwrap};

/// Checks that an executor takes no more work.
fn is_shut_down(executor: &dyn Executor) {
    let refused = executor.submit(|| 1).join().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ShutDown);
    assert!(refused.to_string().contains("shut down"), "{refused}");
    assert!(refused.into_panic().is_none());
    let calls: [&dyn Fn(); 3] =
        [&|| drop(executor.map(|x: u8| x, [1, 2])), &|| drop(executor.starmap(|x: u8| x, [(1,)])), &|| {
            executor.run(|| ())
        }];
    for call in calls {
        let payload = caught(call).unwrap_err();
        assert!(message_of(&*payload).contains("shut down"), "{}", message_of(&*payload));
    }
}

#[test]
fn after_shutdown_an_executor_refuses_work_with_a_clear_message() {
    within_deadline(|| {
        on_every_backend(|executor| {
            assert_eq!(executor.map(|x| x + 1, [1]), [2]);
            executor.shutdown();
            is_shut_down(executor);
            executor.shutdown();
            is_shut_down(executor);
        });
    });
}

#[test]
fn an_executor_that_never_worked_shuts_down() {
    within_deadline(|| on_every_backend(|executor| executor.shutdown()));
}

#[test]
fn refused_work_is_dropped_once_and_at_once() {
    within_deadline(|| {
        on_every_backend(|executor| {
            executor.shutdown();
            let owned = Arc::new(());
            let theirs = Arc::clone(&owned);
            let handle = executor.submit(move || drop(theirs));
            assert_eq!(Arc::strong_count(&owned), 1);
            assert!(handle.is_finished());
            assert!(caught(|| executor.map(drop, vec![Arc::clone(&owned); 20])).is_err());
            let theirs = Arc::clone(&owned);
            assert!(caught(|| executor.run(move || drop(theirs))).is_err());
            assert_eq!(Arc::strong_count(&owned), 1);
        });
    });
}

#[test]
fn several_threads_shut_down_at_once() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let handles: Vec<_> = (0..10).map(|x| executor.submit(move || yield_taskmap(|y| x + y, 0..3))).collect();
            thread::scope(|scope| {
                for _ in 0..6 {
                    scope.spawn(|| executor.shutdown());
                }
            });
            assert!(handles.into_iter().all(|handle| handle.is_finished() && handle.join().is_ok()));
            is_shut_down(executor);
        });
    });
}

#[test]
fn a_task_shuts_its_own_executor_down() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let after = executor.run(|| {
                executor.shutdown();
                executor.shutdown();
                // The rest of the task is work in hand.
                yield_taskmap(|x| yield_taskwrap(|| x + 1), 0..4)
            });
            assert_eq!(after, [1, 2, 3, 4]);
            is_shut_down(executor);
            executor.shutdown();
        });
    });
}

#[test]
fn every_task_of_a_batch_may_shut_their_executor_down() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let shut_down = |x: usize| {
                executor.shutdown();
                yield_taskmap(|y| x + y, 0..2)[1]
            };
            assert_eq!(executor.map(shut_down, 0..8), (1..9).collect::<Vec<_>>());
            is_shut_down(executor);
        });
    });
}

#[test]
fn a_detached_task_shuts_its_own_executor_down() {
    within_deadline(|| {
        for workers in WORKERS {
            for (name, _, build) in BACKENDS {
                doing(name);
                let executor: Arc<dyn Executor> = Arc::from(build(workers));
                let theirs = Arc::clone(&executor);
                let handle = executor.submit(move || {
                    theirs.shutdown();
                    yield_taskmap(|x| x + 1, 0..3)
                });
                assert_eq!(handle.join().unwrap(), [1, 2, 3]);
                executor.shutdown();
                is_shut_down(&*executor);
            }
        }
    });
}

#[test]
fn a_task_of_another_executor_shuts_down_and_the_work_in_hand_ends() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let other = fibers(1);
            let ended = Arc::new(Flag::new());
            let handle = executor.submit({
                let ended = Arc::clone(&ended);
                move || {
                    yield_taskmap(|_| yield_taskwrap(|| ()), 0..10);
                    ended.raise();
                }
            });
            other.run(|| yield_join(|| executor.shutdown(), || yield_taskmap(|x| x, 0..3)));
            assert!(handle.join().is_ok() && ended.is_raised());
            assert_eq!(other.run(|| executor.submit(|| ()).join()).unwrap_err().kind(), ErrorKind::ShutDown);
            is_shut_down(executor);
        });
    });
}

#[test]
fn a_task_that_shuts_another_executor_down_leaves_its_worker_to_its_siblings() {
    within_deadline(|| {
        for other in candidates().filter(|other| other.name.starts_with("fibers") || other.name.starts_with("thread")) {
            let executor = fibers(1);
            let go_on = Arc::new(Flag::new());
            let handle = other.executor.submit({
                let go_on = Arc::clone(&go_on);
                move || go_on.spin("the sibling of the task that shuts down runs")
            });
            executor.run(|| yield_join(|| other.executor.shutdown(), || go_on.raise()));
            handle.join().unwrap();
        }
    });
}

#[test]
fn a_task_that_another_one_waits_for_shuts_the_executor_of_that_one_down() {
    within_deadline(|| {
        for workers in WORKERS {
            let (executor, other) = (Arc::new(fibers(workers)), Arc::new(fibers(1)));
            let theirs = (Arc::clone(&executor), Arc::clone(&other));
            let waiting = executor.submit(move || {
                let (executor, other) = theirs;
                other.submit(move || executor.shutdown()).join().is_ok()
            });
            assert!(waiting.join().unwrap());
        }
    });
}

#[test]
fn shutdown_waits_for_the_maps_of_other_threads() {
    within_deadline(|| {
        for candidate in candidates().filter(|candidate| !candidate.name.starts_with("serial")) {
            let executor = &*candidate.executor;
            let (started, ended) = (Flag::new(), AtomicUsize::new(0));
            let go_on = Flag::new();
            thread::scope(|scope| {
                let map = scope.spawn(|| {
                    executor.map(
                        |x| {
                            started.raise();
                            go_on.spin("the shutdown begins");
                            let below = yield_taskmap(|y| x + y, 0..3);
                            ended.fetch_add(1, Ordering::AcqRel);
                            below
                        },
                        0..3,
                    )
                });
                started.spin("the map starts");
                let shutdown = scope.spawn(|| {
                    executor.shutdown();
                    assert_eq!(ended.load(Ordering::Acquire), 3, "shutdown returns after the work in hand");
                });
                let is_closed = || {
                    let probe = executor.submit(|| ());
                    probe.is_finished() && probe.join().is_err()
                };
                wait_until("the executor is closed", is_closed, || thread::park_timeout(Duration::from_millis(1)));
                go_on.raise();
                assert_eq!(map.join().unwrap(), [[0, 1, 2], [1, 2, 3], [2, 3, 4]]);
                shutdown.join().unwrap();
            });
        }
    });
}

#[test]
fn shutdown_from_a_task_that_runs_below_one_of_the_executors_own_does_not_wait() {
    within_deadline(|| {
        // The outer task is work in hand of `executor` and waits for the inner one, which shuts `executor` down.
        for workers in WORKERS {
            doing(&format!("{workers} workers"));
            let (executor, other) = (fibers(workers), fibers(1));
            let nested = executor.run(|| {
                other.run(|| {
                    executor.shutdown();
                    yield_taskmap(|x| x + 1, 0..3)
                })
            });
            assert_eq!(nested, [1, 2, 3]);
        }
    });
}

#[test]
fn submits_racing_a_shutdown_either_run_or_are_refused() {
    within_deadline(|| {
        for round in 0..if cfg!(debug_assertions) { 30 } else { 300 } {
            for candidate in candidates().filter(|candidate| candidate.name.starts_with("fibers x") || round == 0) {
                let executor = &*candidate.executor;
                let ran = AtomicUsize::new(0);
                let outcomes: Vec<_> = thread::scope(|scope| {
                    let submit = || (0..20).map(|x| executor.submit(move || x)).collect::<Vec<_>>();
                    let submits: Vec<_> = (0..3).map(|_| scope.spawn(submit)).collect();
                    scope.spawn(|| executor.shutdown());
                    let map = || caught(|| executor.map(|_| ran.fetch_add(1, Ordering::Relaxed), 0..5)).map(|_| ());
                    let map = scope.spawn(map);
                    let handles = submits.into_iter().flat_map(|submit| submit.join().unwrap());
                    let outcomes = handles.map(yieldtasks::TaskHandle::join).collect();
                    let expected = if map.join().unwrap().is_ok() { 5 } else { 0 };
                    assert_eq!(ran.load(Ordering::Relaxed), expected);
                    outcomes
                });
                for (idx, outcome) in outcomes.into_iter().enumerate() {
                    match outcome {
                        Ok(x) => assert_eq!(x, idx % 20),
                        Err(error) => assert_eq!(error.kind(), ErrorKind::ShutDown, "{error}"),
                    }
                }
            }
        }
    });
}
