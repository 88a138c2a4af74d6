//! Tasks that wait for futures, whoever completes them.

use crate::backends::{candidates, fibers, on_backends_where_siblings_wait, on_every_backend, on_fibers};
use crate::deadline::{Flag, spin_until, within_deadline};
use crate::panicking::{expected, expected_panic};
use std::future::{self, Future, IntoFuture};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;
use yieldtasks::{ErrorKind, ExecutorExt, TaskHandle, block_on, taskmap, yield_join, yield_now, yield_taskmap};

/// A signal that is given once, and the waker of the one future that waits for it.
#[derive(Debug, Default)]
struct Signal {
    given: AtomicBool,
    polls: AtomicUsize,
    waker: Mutex<Option<Waker>>,
}

impl Signal {
    /// Gives the signal, and wakes that many times.
    fn give(&self, wakes: usize) {
        self.given.store(true, Ordering::Release);
        let waker = self.waker.lock().unwrap().clone();
        if let Some(waker) = waker {
            (0..wakes).for_each(|_| waker.wake_by_ref());
        }
    }

    /// Wakes without giving the signal.
    fn wake(&self) {
        let waker = self.waker.lock().unwrap().clone();
        waker.expect("a future waits").wake();
    }

    fn polls(&self) -> usize {
        self.polls.load(Ordering::Acquire)
    }

    /// Ready when the signal is given.
    fn given(&self) -> impl Future<Output = ()> {
        future::poll_fn(|context: &mut Context<'_>| {
            *self.waker.lock().unwrap() = Some(context.waker().clone());
            let given = self.given.load(Ordering::Acquire);
            self.polls.fetch_add(1, Ordering::AcqRel);
            if given { Poll::Ready(()) } else { Poll::Pending }
        })
    }
}

/// Pending once, with the waker called before that is said.
async fn wakes_before_it_waits() {
    let mut polled = false;
    future::poll_fn(|context| {
        if polled {
            return Poll::Ready(());
        }
        polled = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[test]
fn a_future_that_is_ready_gives_its_output_at_once() {
    within_deadline(|| {
        assert_eq!(block_on(async { 6 }), 6);
        on_every_backend(|executor| {
            let borrowed = [1, 2, 3];
            let total = executor.map(|x| block_on(async { borrowed.iter().sum::<i32>() * x }), 0..4);
            assert_eq!(total, [0, 6, 12, 18]);
        });
    });
}

#[test]
fn a_wake_before_the_wait_is_not_lost() {
    within_deadline(|| {
        block_on(wakes_before_it_waits());
        on_every_backend(|executor| {
            executor.map(|_| (0..20).for_each(|_| block_on(wakes_before_it_waits())), 0..10);
        });
    });
}

#[test]
fn a_sibling_completes_the_future_that_a_task_waits_for() {
    within_deadline(|| {
        on_backends_where_siblings_wait(|executor, _| {
            for _ in 0..20 {
                let signal = Signal::default();
                let wait = || block_on(signal.given());
                let give = || {
                    spin_or_yield("the sibling polls", || signal.polls() > 0);
                    signal.give(1);
                };
                executor.run(|| yield_join(wait, give));
            }
        });
    });
}

/// Waits for a sibling, which may need this worker to go on.
#[track_caller]
fn spin_or_yield(what: &str, condition: impl Fn() -> bool) {
    crate::deadline::wait_until(what, condition, yield_now);
}

#[test]
fn a_thread_outside_completes_the_future_that_a_task_waits_for() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let signals: Vec<_> = (0..10).map(|_| Signal::default()).collect();
            thread::scope(|scope| {
                scope.spawn(|| {
                    for signal in &signals {
                        spin_until("the task polls", || signal.polls() > 0);
                        signal.give(1);
                    }
                });
                executor.map(|signal: &Signal| block_on(signal.given()), &signals);
            });
        });
    });
}

#[test]
fn a_future_woken_for_nothing_is_polled_and_waited_for_again() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let signal = Signal::default();
            thread::scope(|scope| {
                scope.spawn(|| {
                    for polls in 1..=20 {
                        spin_until("the future is polled", || signal.polls() >= polls);
                        signal.wake();
                    }
                    spin_until("the last poll", || signal.polls() > 20);
                    signal.give(1);
                });
                executor.run(|| block_on(signal.given()));
            });
            assert!(signal.polls() >= 21);
        });
    });
}

#[test]
fn waking_many_times_completes_a_future_once() {
    within_deadline(|| {
        on_every_backend(|executor| {
            for _ in 0..10 {
                let signal = Signal::default();
                let ended = AtomicUsize::new(0);
                thread::scope(|scope| {
                    for _ in 0..3 {
                        scope.spawn(|| {
                            spin_until("the future is polled", || signal.polls() > 0);
                            signal.give(50);
                        });
                    }
                    executor.run(|| {
                        block_on(signal.given());
                        // Wakes that come late must not end another wait of the same fiber early.
                        yield_taskmap(|_| yield_now(), 0..5);
                        ended.fetch_add(1, Ordering::AcqRel);
                    });
                });
                assert_eq!(ended.into_inner(), 1);
            }
        });
    });
}

#[test]
fn a_waker_that_outlives_its_future_wakes_nobody() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let signal = Signal::default();
            let stop = Flag::new();
            thread::scope(|scope| {
                scope.spawn(|| {
                    spin_until("the future is polled", || signal.polls() > 0);
                    signal.give(1);
                    // The waker is used all the time while the fiber waits for other things, ends, and runs other tasks.
                    while !stop.is_raised() {
                        signal.wake();
                        thread::yield_now();
                    }
                });
                executor.run(|| {
                    block_on(signal.given());
                    for _ in 0..50 {
                        assert_eq!(yield_taskmap(|x| x + 1, 0..3), [1, 2, 3]);
                        block_on(wakes_before_it_waits());
                    }
                });
                assert_eq!(executor.map(|x| yield_taskmap(|y| x * y, 0..2), 0..3), [[0, 0], [0, 1], [0, 2]]);
                stop.raise();
            });
            drop(executor.map(|x| x, 0..3));
            signal.wake();
        });
    });
}

#[test]
fn many_fibers_of_one_worker_wait_at_the_same_time() {
    const WAITERS: usize = 100;
    within_deadline(|| {
        on_fibers(|executor, _| {
            let signals: Vec<_> = (0..WAITERS).map(|_| Signal::default()).collect();
            let order = Mutex::new(Vec::new());
            thread::scope(|scope| {
                scope.spawn(|| {
                    // All wait before the first is woken; the last is woken first.
                    spin_until("all fibers wait", || signals.iter().all(|signal| signal.polls() > 0));
                    for (idx, signal) in signals.iter().enumerate().rev() {
                        signal.give(1);
                        spin_until("it goes on", || order.lock().unwrap().last() == Some(&idx));
                    }
                });
                let wait = |idx: usize| {
                    block_on(signals[idx].given());
                    order.lock().unwrap().push(idx);
                };
                executor.map(wait, 0..WAITERS);
            });
            assert_eq!(order.into_inner().unwrap(), (0..WAITERS).rev().collect::<Vec<_>>());
        });
    });
}

#[test]
fn the_worker_goes_on_while_a_task_waits_for_a_future() {
    within_deadline(|| {
        on_fibers(|executor, _| {
            let signal = Signal::default();
            let work = || {
                spin_or_yield("the sibling polls", || signal.polls() > 0);
                let rows = yield_taskmap(|x| yield_taskmap(|y| x * y, 0..10).iter().sum::<usize>(), 0..10);
                signal.give(1);
                rows.iter().sum::<usize>()
            };
            assert_eq!(executor.run(|| yield_join(|| block_on(signal.given()), work)).1, 45 * 45);
        });
    });
}

#[test]
fn a_future_that_panics_panics_where_it_is_waited_for() {
    within_deadline(|| {
        assert_eq!(expected_panic(|| block_on(async { expected(1) })), 1);
        on_every_backend(|executor| {
            let dropped = AtomicUsize::new(0);
            let caught = executor.run(|| {
                expected_panic(|| {
                    block_on(async {
                        let _owned = CountsDrops(&dropped);
                        wakes_before_it_waits().await;
                        expected(2)
                    })
                })
            });
            assert_eq!((caught, dropped.into_inner()), (2, 1));
            assert_eq!(expected_panic(|| executor.map(|x| block_on(async { expected(x) }), [3])), 3);
            assert_eq!(executor.map(|x| block_on(async { x + 1 }), 0..3), [1, 2, 3]);
        });
    });
}

struct CountsDrops<'a>(&'a AtomicUsize);

impl Drop for CountsDrops<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

#[test]
fn a_cancelled_task_drops_the_future_that_it_waits_for() {
    within_deadline(|| {
        on_backends_where_siblings_wait(|executor, _| {
            let dropped = AtomicUsize::new(0);
            let waiting = AtomicUsize::new(0);
            let error = executor
                .taskmap(
                    |idx: usize| {
                        if idx == 4 {
                            spin_or_yield("the siblings wait", || waiting.load(Ordering::Acquire) == 4);
                            expected(idx);
                        }
                        let _owned = CountsDrops(&dropped);
                        block_on(future::poll_fn(|_| {
                            waiting.fetch_add(1, Ordering::AcqRel);
                            Poll::<()>::Pending
                        }));
                    },
                    0..5,
                )
                .try_run()
                .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Panicked);
            assert_eq!(dropped.into_inner(), 4);
        });
    });
}

#[test]
fn a_future_may_wait_for_others_and_map_inside() {
    struct Maps;

    impl Future for Maps {
        type Output = usize;

        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<usize> {
            let inner = block_on(async {
                wakes_before_it_waits().await;
                yield_taskmap(|x| x + 1, 0..3).len()
            });
            Poll::Ready(inner)
        }
    }

    within_deadline(|| {
        assert_eq!(block_on(Maps), 3);
        on_every_backend(|executor| assert_eq!(executor.map(|_| block_on(Maps), 0..5), [3; 5]));
    });
}

#[test]
fn a_map_is_awaited_inside_a_task() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let outer = |x: u64| {
                block_on(async move {
                    let below = taskmap(move |y| yield_taskmap(|z| x + y + z, 0..3), 0..3).await;
                    let again = taskmap(|row: Vec<u64>| row.iter().sum::<u64>(), below).await;
                    again.into_iter().sum::<u64>()
                })
            };
            assert_eq!(executor.map(outer, 0..4), [18, 27, 36, 45]);
        });
    });
}

#[test]
fn handles_are_awaited_inside_a_task_in_any_order() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let total = executor.run(|| {
                let handles: Vec<_> = (0..10_u64).map(|x| executor.submit(move || x * x)).collect();
                block_on(async {
                    let mut total = 0;
                    for handle in handles.into_iter().rev() {
                        total += handle.await.unwrap();
                    }
                    total
                })
            });
            assert_eq!(total, 285);
            let failed = block_on(executor.submit(|| -> u8 { expected(1) }));
            assert_eq!(failed.unwrap_err().kind(), ErrorKind::Panicked);
        });
    });
}

#[test]
fn an_awaited_map_raises_the_panic_of_its_task() {
    within_deadline(|| {
        assert_eq!(expected_panic(|| block_on(async { taskmap(|x| expected(x), [5]).await })), 5);
        on_every_backend(|executor| {
            let raised = executor.run(|| {
                let map = || block_on(async { taskmap(|x| if x == 3 { expected(x) } else { x }, 0..8).await });
                expected_panic(map)
            });
            assert_eq!(raised, 3);
        });
    });
}

#[test]
fn a_future_of_a_map_that_is_never_polled_starts_nothing() {
    within_deadline(|| {
        for candidate in candidates() {
            let started = Arc::new(Flag::new());
            let theirs = Arc::clone(&started);
            candidate.executor.run(move || {
                let map = taskmap(move |_| theirs.raise(), 0..10);
                drop(map.into_future());
            });
            assert!(!started.is_raised());
            assert_eq!(Arc::strong_count(&started), 1, "{}", candidate.name);
        }
    });
}

#[test]
fn a_handle_is_awaited_from_a_worker_of_another_executor() {
    within_deadline(|| {
        on_fibers(|executor, _| {
            let other = fibers(1);
            let go_on = Arc::new(Flag::new());
            let handle: TaskHandle<u8> = other.submit({
                let go_on = Arc::clone(&go_on);
                move || {
                    go_on.spin("the sibling runs");
                    7
                }
            });
            let awaited = executor.run(|| yield_join(|| block_on(handle).unwrap(), || go_on.raise()));
            assert_eq!(awaited.0, 7);
        });
    });
}
