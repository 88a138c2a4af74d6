//! Handles: waiting with a limit or as a future, cancelling, letting go.

use crate::accounting::Accounts;
use crate::backends::{BACKENDS, WORKERS, candidates, fibers, on_every_backend, on_fibers_that_interleave};
use crate::deadline::{Flag, doing, spin_until, within_deadline};
use crate::panicking::{expected, number_of};
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;
use yieldtasks::{
    ErrorKind, Executor, ExecutorExt, TaskHandle, block_on, checkpoint, sleep, taskmap, yield_join, yield_now,
    yield_taskmap, yield_taskwrap,
};

const HOUR: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(1);

/// Runs until it is stopped.
fn endless() -> ! {
    loop {
        checkpoint();
        thread::yield_now();
    }
}

/// Those that do not run a submitted task before they give its handle.
fn that_detach() -> impl Iterator<Item = crate::backends::Candidate> {
    candidates().filter(|candidate| !candidate.name.starts_with("serial"))
}

#[test]
fn a_join_with_a_limit_gives_the_result_if_it_comes_in_time() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let handle = executor.submit(|| yield_taskmap(|x| x + 1, 0..3));
            assert_eq!(handle.join_timeout(HOUR).unwrap().unwrap(), [1, 2, 3]);
            let handle = executor.submit(|| expected(4));
            let error = handle.join_timeout(Duration::MAX).unwrap().unwrap_err();
            assert_eq!(number_of(error.into_panic().unwrap()), 4);
            let inside = executor.run(|| executor.submit(|| 6).join_timeout(HOUR).unwrap().unwrap());
            assert_eq!(inside, 6);
            let handle = executor.submit(|| 5);
            spin_until("the task ends", || handle.is_finished());
            assert_eq!(handle.join_timeout(Duration::ZERO).unwrap().unwrap(), 5);
        });
    });
}

#[test]
fn a_join_with_a_limit_gives_the_handle_back_if_it_is_too_short() {
    within_deadline(|| {
        for candidate in that_detach() {
            let go_on = Arc::new(Flag::new());
            let theirs = Arc::clone(&go_on);
            let handle = candidate.executor.submit(move || {
                while !theirs.is_raised() {
                    yield_now();
                }
                7
            });
            let handle = handle.join_timeout(Duration::ZERO).unwrap_err();
            let handle = handle.join_timeout(SHORT).unwrap_err();
            // Inside a task of another executor as well, which waits without a thread.
            let handle = fibers(1).run(move || handle.join_timeout(SHORT).map(drop).unwrap_err());
            assert!(!handle.is_finished());
            go_on.raise();
            assert_eq!(handle.join().unwrap(), 7);
        }
    });
}

#[test]
fn a_task_that_waits_with_a_limit_leaves_its_worker_to_others() {
    within_deadline(|| {
        on_fibers_that_interleave(|executor, _| {
            let go_on = Arc::new(Flag::new());
            let theirs = Arc::clone(&go_on);
            let handle = executor.submit(move || {
                while !theirs.is_raised() {
                    yield_now();
                }
            });
            let wait = || handle.join_timeout(HOUR).unwrap().unwrap();
            executor.run(|| yield_join(wait, || go_on.raise()));
        });
    });
}

#[test]
fn a_queued_task_that_is_cancelled_never_starts_and_has_ended_at_once() {
    within_deadline(|| {
        for candidate in
            candidates().filter(|one| one.name.starts_with("fibers x 1") || one.name.starts_with("flat, level 0 x 1"))
        {
            // The only worker is busy, so that the next task is queued.
            let (busy, go_on) = (Arc::new(Flag::new()), Arc::new(Flag::new()));
            let theirs = (Arc::clone(&busy), Arc::clone(&go_on));
            let first = candidate.executor.submit(move || {
                theirs.0.raise();
                theirs.1.spin("the second is cancelled");
            });
            busy.spin("the worker is busy");
            let owned = Arc::new(());
            let theirs = Arc::clone(&owned);
            let ran = Arc::new(Flag::new());
            let flag = Arc::clone(&ran);
            let second = candidate.executor.submit(move || {
                flag.raise();
                drop(theirs);
            });
            assert!(!second.is_finished());
            second.cancel();
            second.cancel();
            assert!(second.is_finished());
            assert_eq!(second.join().unwrap_err().kind(), ErrorKind::Cancelled);
            go_on.raise();
            first.join().unwrap();
            candidate.executor.shutdown();
            assert!(!ran.is_raised());
            assert_eq!(Arc::strong_count(&owned), 1, "what it owned is dropped");
        }
    });
}

#[test]
fn a_running_task_that_is_cancelled_unwinds_at_its_next_yield_point() {
    within_deadline(|| {
        for candidate in that_detach() {
            for way in 0..3 {
                let accounts: &'static Accounts = Box::leak(Box::default());
                let handle = candidate.executor.submit(move || {
                    let (_running, _value) = (accounts.start(), accounts.value(0));
                    match way {
                        0 => endless(),
                        1 => sleep(HOUR),
                        _ => drop(yield_taskmap(|_| yield_taskwrap(|| sleep(HOUR)), 0..3)),
                    }
                });
                spin_until("the task runs", || accounts.started() == 1);
                handle.cancel();
                let error = handle.join().unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Cancelled);
                assert!(error.into_panic().is_none());
                accounts.close();
            }
        }
    });
}

#[test]
fn cancelling_a_task_that_has_ended_leaves_its_result() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let handle = executor.submit(|| yield_taskwrap(|| 3));
            spin_until("the task ends", || handle.is_finished());
            handle.cancel();
            handle.cancel();
            assert_eq!(handle.join().unwrap(), 3);
            let handle = executor.submit(|| expected(1));
            spin_until("the task ends", || handle.is_finished());
            handle.cancel();
            assert_eq!(handle.join().unwrap_err().kind(), ErrorKind::Panicked);
        });
    });
}

#[test]
fn cancelling_a_handle_races_with_the_task_and_there_is_one_outcome() {
    const ROUNDS: usize = if cfg!(debug_assertions) { 500 } else { 5_000 };
    within_deadline(|| {
        for candidate in candidates()
            .filter(|one| one.name.starts_with("fibers x") || one.name.starts_with("a third") && one.workers == 1)
        {
            let (handles, received) = mpsc::channel::<(usize, Arc<AtomicUsize>, Arc<()>, TaskHandle<Arc<()>>)>();
            thread::scope(|scope| {
                scope.spawn(move || {
                    for (delay, returned, owned, handle) in received {
                        (0..delay).for_each(|_| std::hint::spin_loop());
                        handle.cancel();
                        match handle.join() {
                            Ok(value) => {
                                assert_eq!(returned.load(Ordering::Acquire), 1);
                                drop(value);
                            }
                            Err(error) => {
                                let counts = (error.kind(), returned.load(Ordering::Acquire));
                                assert_eq!(counts, (ErrorKind::Cancelled, 0));
                            }
                        }
                        spin_until("the task is gone", || Arc::strong_count(&owned) == 1);
                    }
                });
                for round in 0..ROUNDS {
                    let (returned, owned) = (Arc::new(AtomicUsize::new(0)), Arc::new(()));
                    let theirs = (Arc::clone(&returned), Arc::clone(&owned));
                    let handle = candidate.executor.submit(move || {
                        if round % 2 == 0 {
                            yield_taskmap(|_| checkpoint(), 0..2);
                        }
                        theirs.0.fetch_add(1, Ordering::AcqRel);
                        theirs.1
                    });
                    handles.send((round * 13 % 500, returned, owned, handle)).unwrap();
                }
                drop(handles);
            });
        }
    });
}

#[test]
fn a_detached_task_runs_to_its_end() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let ended = Arc::new(AtomicUsize::new(0));
            for _ in 0..5 {
                let ended = Arc::clone(&ended);
                let task = move || {
                    yield_taskmap(|_| yield_now(), 0..2);
                    ended.fetch_add(1, Ordering::AcqRel);
                };
                executor.submit(task).detach();
            }
            spin_until("all tasks end", || ended.load(Ordering::Acquire) == 5);
        });
    });
}

#[test]
fn a_handle_polled_by_hand_is_ready_when_its_task_has_ended() {
    within_deadline(|| {
        for candidate in that_detach() {
            let go_on = Arc::new(Flag::new());
            let theirs = Arc::clone(&go_on);
            let mut handle = candidate.executor.submit(move || {
                theirs.spin("the handle is polled");
                8
            });
            let mut context = Context::from_waker(Waker::noop());
            assert!(Pin::new(&mut handle).poll(&mut context).is_pending());
            assert!(Pin::new(&mut handle).poll(&mut context).is_pending());
            go_on.raise();
            spin_until("the task ends", || handle.is_finished());
            match Pin::new(&mut handle).poll(&mut context) {
                Poll::Ready(outcome) => assert_eq!(outcome.unwrap(), 8),
                Poll::Pending => panic!("the task has ended"),
            }
        }
    });
}

#[test]
fn a_handle_that_is_awaited_gives_what_a_join_gives() {
    within_deadline(|| {
        on_every_backend(|executor| {
            assert_eq!(block_on(executor.submit(|| yield_taskwrap(|| 3))).unwrap(), 3);
            assert_eq!(block_on(executor.submit(|| expected(3))).unwrap_err().kind(), ErrorKind::Panicked);
            let sum = executor.run(|| {
                let handles: Vec<_> = (0..5).map(|x| executor.submit(move || x)).collect();
                block_on(async {
                    let mut sum = 0;
                    for handle in handles {
                        sum += handle.await.unwrap();
                    }
                    sum
                })
            });
            assert_eq!(sum, 10);
        });
    });
}

#[test]
fn the_last_waker_is_the_one_that_is_woken() {
    struct Wakes(AtomicUsize);

    impl std::task::Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::AcqRel);
        }
    }

    within_deadline(|| {
        for candidate in that_detach() {
            let go_on = Arc::new(Flag::new());
            let theirs = Arc::clone(&go_on);
            let mut handle = candidate.executor.submit(move || theirs.spin("the handle is polled twice"));
            let wakes = [Arc::new(Wakes(AtomicUsize::new(0))), Arc::new(Wakes(AtomicUsize::new(0)))];
            for wakes in &wakes {
                let waker = Waker::from(Arc::clone(wakes));
                assert!(Pin::new(&mut handle).poll(&mut Context::from_waker(&waker)).is_pending());
            }
            go_on.raise();
            spin_until("the waker is woken", || wakes[1].0.load(Ordering::Acquire) == 1);
            assert!(handle.is_finished());
            handle.join().unwrap();
        }
    });
}

#[test]
fn a_map_that_is_awaited_gives_its_results() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let results = block_on(async { executor.taskmap(|x: usize| x + 1, 0..4).name("awaited").await });
            assert_eq!(results, [1, 2, 3, 4]);
            let inside = executor.run(|| block_on(async { taskmap(|x| yield_taskmap(|y| x * y, 0..2), 0..2).await }));
            assert_eq!(inside, [[0, 0], [0, 1]]);
        });
    });
}

#[test]
fn a_future_of_a_map_that_is_dropped_half_way_cancels_its_tasks() {
    within_deadline(|| {
        for candidate in that_detach() {
            let accounts: &'static Accounts = Box::leak(Box::default());
            {
                let task = move |_: usize| {
                    let (_running, _value) = (accounts.start(), accounts.value(0));
                    yield_taskmap(|_| endless(), 0..2);
                };
                let mut future = pin!(IntoFuture::into_future(candidate.executor.taskmap(task, 0..2)));
                assert_eq!(accounts.started(), 0);
                assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
                spin_until("a task runs", || accounts.started() > 0);
            }
            spin_until("all tasks end", || accounts.started() == accounts.ended());
            candidate.executor.shutdown();
            accounts.close();
        }
    });
}

#[test]
fn a_future_of_a_map_that_is_never_polled_runs_nothing() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let ran = Arc::new(Flag::new());
            let theirs = Arc::clone(&ran);
            drop(IntoFuture::into_future(executor.taskmap(move |_: usize| theirs.raise(), 0..2)));
            assert!(!ran.is_raised() && Arc::strong_count(&ran) == 1);
        });
    });
}

#[test]
fn a_task_cancels_itself_by_a_handle_that_it_was_sent() {
    within_deadline(|| {
        for workers in WORKERS {
            for (name, _, build) in BACKENDS.iter().filter(|(name, ..)| *name != "serial") {
                doing(name);
                let executor: Box<dyn Executor> = build(workers);
                let (sender, receiver) = mpsc::channel::<TaskHandle<()>>();
                let (kept, returned) = mpsc::channel();
                let handle = executor.submit(move || {
                    let handle = receiver.recv().unwrap();
                    handle.cancel();
                    kept.send(handle).unwrap();
                    checkpoint();
                    unreachable!("the task is cancelled");
                });
                sender.send(handle).unwrap();
                assert_eq!(returned.recv().unwrap().join().unwrap_err().kind(), ErrorKind::Cancelled);
            }
        }
    });
}
