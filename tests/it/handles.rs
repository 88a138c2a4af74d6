//! Detached tasks and their handles.

use crate::backends::{BACKENDS, WORKERS, candidates, fibers, on_every_backend, on_fibers};
use crate::deadline::{Flag, spin_until, within_deadline};
use crate::panicking::{Expected, expected};
use std::error::Error;
use std::panic;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use yieldtasks::{ErrorKind, Executor, ExecutorExt, TaskHandle, yield_join, yield_now, yield_taskmap, yield_taskwrap};

#[test]
fn a_handle_gives_the_result_of_its_task() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let handles: Vec<_> = (0..20_u64).map(|x| executor.submit(move || x * x)).collect();
            for (x, handle) in handles.into_iter().enumerate() {
                assert_eq!(handle.join().unwrap(), (x * x) as u64);
            }
            let nested = executor.submit(|| yield_taskmap(|x| yield_taskmap(|y| x * y, 0..3), 0..3));
            assert_eq!(nested.join().unwrap(), [[0, 0, 0], [0, 1, 2], [0, 2, 4]]);
        });
    });
}

#[test]
fn a_panicked_task_tells_its_message_and_gives_its_payload() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let luck = String::from("luck");
            let formatted = executor.submit(move || -> u8 { panic!("expected: no {luck}") }).join().unwrap_err();
            assert_eq!(formatted.kind(), ErrorKind::Panicked);
            assert!(formatted.to_string().contains("expected: no luck"), "{formatted}");
            assert!(format!("{formatted:?}").contains("expected: no luck"), "{formatted:?}");
            assert!(formatted.source().is_none());
            assert_eq!(formatted.message(), "expected: no luck");
            assert_eq!(*formatted.into_panic().unwrap().downcast::<String>().unwrap(), "expected: no luck");

            let literal = executor.submit(|| yield_taskwrap(|| panic!("expected"))).join().unwrap_err();
            assert!(literal.to_string().contains("expected"));
            let typed = executor.submit(|| yield_taskmap(|x| expected(x), [7])).join().unwrap_err();
            assert!(!typed.to_string().is_empty());
            assert_eq!(*typed.into_panic().unwrap().downcast::<Expected>().unwrap(), Expected(7));
        });
    });
}

#[test]
fn a_handle_knows_whether_its_task_has_ended() {
    within_deadline(|| {
        for candidate in candidates().filter(|candidate| !candidate.name.starts_with("serial")) {
            let go_on = Arc::new(Flag::new());
            let handle = candidate.executor.submit({
                let go_on = Arc::clone(&go_on);
                move || go_on.spin("the test goes on")
            });
            assert!(!handle.is_finished());
            go_on.raise();
            spin_until("the task ends", || handle.is_finished());
            assert!(handle.join().is_ok());
        }
        on_every_backend(|executor| {
            let handle = executor.submit(|| expected(1));
            spin_until("the task ends", || handle.is_finished());
            assert_eq!(handle.join().unwrap_err().kind(), ErrorKind::Panicked);
        });
    });
}

#[test]
fn a_task_whose_handle_is_dropped_runs_all_the_same() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let ended = Arc::new(AtomicUsize::new(0));
            for idx in 0..10 {
                let ended = Arc::clone(&ended);
                drop(executor.submit(move || {
                    yield_taskmap(|_| yield_now(), 0..3);
                    ended.fetch_add(1, Ordering::AcqRel);
                    if idx % 3 == 0 { expected(idx) } else { idx }
                }));
            }
            spin_until("all tasks end", || ended.load(Ordering::Acquire) == 10);
        });
    });
}

#[test]
fn results_nobody_asks_for_are_dropped_even_if_that_panics() {
    struct CountsDrops(Arc<AtomicUsize>);

    impl Drop for CountsDrops {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::AcqRel);
            expected(1);
        }
    }

    within_deadline(|| {
        on_fibers(|executor, _| {
            let drops = Arc::new(AtomicUsize::new(0));
            for _ in 0..5 {
                let (drops, go_on) = (Arc::clone(&drops), Arc::new(Flag::new()));
                let handle = executor.submit({
                    let go_on = Arc::clone(&go_on);
                    move || {
                        go_on.spin("the handle is dropped");
                        CountsDrops(drops)
                    }
                });
                drop(handle);
                go_on.raise();
            }
            spin_until("all results are dropped", || drops.load(Ordering::Acquire) == 5);
            assert_eq!(executor.run(|| 1), 1);
        });
    });
}

#[test]
fn joining_inside_a_task_suspends_it() {
    within_deadline(|| {
        on_every_backend(|executor| {
            // With one worker, the second task can run only if the first gives the worker away.
            let joined = executor.run(|| {
                let handles: Vec<_> = (0..5).map(|x| executor.submit(move || yield_taskwrap(|| x + 1))).collect();
                yield_taskmap(|handle: TaskHandle<i32>| handle.join().unwrap(), handles)
            });
            assert_eq!(joined, [1, 2, 3, 4, 5]);
        });
    });
}

#[test]
fn a_sibling_runs_while_a_task_waits_for_a_handle() {
    within_deadline(|| {
        on_fibers(|executor, _| {
            let other = fibers(1);
            let go_on = Arc::new(Flag::new());
            let handle = other.submit({
                let go_on = Arc::clone(&go_on);
                move || go_on.spin("the sibling runs")
            });
            executor.run(|| yield_join(|| handle.join().unwrap(), || go_on.raise()));
        });
    });
}

#[test]
fn a_chain_of_tasks_each_waiting_for_the_next_ends() {
    fn deepen(executor: &Arc<dyn Executor>, depth: u64) -> u64 {
        if depth == 0 {
            return 0;
        }
        let below = Arc::clone(executor);
        1 + executor.submit(move || deepen(&below, depth - 1)).join().unwrap()
    }

    within_deadline(|| {
        for workers in WORKERS {
            for (_, _, build) in BACKENDS {
                assert_eq!(deepen(&Arc::from(build(workers)), 50), 50);
            }
        }
    });
}

#[test]
fn a_handle_can_be_joined_from_a_task_of_any_other_executor() {
    within_deadline(|| {
        on_every_backend(|executor| {
            on_every_backend(|other| {
                let handle = other.submit(|| yield_taskmap(|x| x + 1, 0..3));
                let joined = executor.run(|| yield_taskmap(|handle: TaskHandle<_>| handle.join().unwrap(), [handle]));
                assert_eq!(joined, [[1, 2, 3]]);
                let failed = executor.run(|| other.submit(|| panic!("expected")).join().map(|(): ()| ()).unwrap_err());
                assert_eq!(failed.kind(), ErrorKind::Panicked);
            });
        });
    });
}

#[test]
fn a_handle_can_be_sent_to_and_joined_on_another_thread() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let (sender, receiver) = mpsc::channel();
            let joiner = thread::spawn(move || {
                receiver.into_iter().map(|handle: TaskHandle<u64>| handle.join().unwrap()).sum::<u64>()
            });
            (0..50).for_each(|x| sender.send(executor.submit(move || x)).unwrap());
            drop(sender);
            assert_eq!(joiner.join().unwrap(), 49 * 50 / 2);
        });
    });
}

#[test]
fn sixty_four_threads_submit_at_once() {
    const EACH: u64 = if cfg!(debug_assertions) { 30 } else { 200 };
    within_deadline(|| {
        for candidate in candidates().filter(|candidate| candidate.executor.persist()) {
            let executor = &*candidate.executor;
            let sums: Vec<u64> = thread::scope(|scope| {
                let submit = |thread| {
                    let handles: Vec<_> = (0..EACH).map(|x| executor.submit(move || thread * x)).collect();
                    handles.into_iter().map(|handle| handle.join().unwrap()).sum()
                };
                let threads: Vec<_> = (0..64).map(|thread| scope.spawn(move || submit(thread))).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            let expected = (0..64).map(|thread| thread * EACH * (EACH - 1) / 2);
            assert_eq!(sums, expected.collect::<Vec<_>>());
        }
    });
}

#[test]
fn what_a_task_owns_is_dropped_before_its_handle_is_joined() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let owned = Arc::new(());
            for panics in [false, true] {
                let theirs = Arc::clone(&owned);
                let handle = executor.submit(move || {
                    let _theirs = theirs;
                    if panics {
                        panic::resume_unwind(Box::new(Expected(1)));
                    }
                });
                assert_eq!(handle.join().is_err(), panics);
                assert_eq!(Arc::strong_count(&owned), 1);
            }
        });
    });
}
