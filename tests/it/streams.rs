//! Results as they come, and input as it is needed.

use crate::accounting::{Accounts, Value};
use crate::backends::{
    BACKENDS, Candidate, Kind, WORKERS, candidates, on_every_backend, on_fibers, on_fibers_that_interleave,
};
use crate::deadline::{Flag, doing, wait_until, within_deadline};
use crate::panicking::{caught, expected, expected_panic, message_of};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::ops::ControlFlow::{self, Break, Continue};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;
use yieldtasks::{
    Batch, CancelToken, DetachedTask, Executor, ExecutorExt, checkpoint, sleep, taskmap, yield_now, yield_taskmap,
};

/// Runs until it is stopped.
fn endless() -> ! {
    loop {
        checkpoint();
        thread::yield_now();
    }
}

/// The three ways to read a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Completed,
    Ordered,
    Unordered,
}

const WAYS: [Way; 3] = [Way::Completed, Way::Ordered, Way::Unordered];

/// Reads the map of `f` over the items on the executor.
fn read<T: Send, R: Send>(
    way: Way,
    executor: &dyn Executor,
    limit: Option<usize>,
    f: impl Fn(T) -> R + Sync,
    items: impl IntoIterator<Item = T>,
    g: impl FnMut(usize, R) -> ControlFlow<()>,
) {
    let map = executor.taskmap(f, items).name("expected");
    let map = match limit {
        Some(limit) => map.max_in_flight(limit),
        None => map,
    };
    match way {
        Way::Completed => map.for_each_completed(g),
        Way::Ordered => map.stream_ordered(g),
        Way::Unordered => map.stream_unordered(g),
    }
}

#[test]
fn every_result_is_read_exactly_once() {
    within_deadline(|| {
        on_every_backend(|executor| {
            for way in WAYS {
                for limit in [None, Some(1), Some(3), Some(1000)] {
                    let accounts = Accounts::default();
                    let task = |value: Value<'_>| {
                        let _running = accounts.start();
                        yield_taskmap(|_| yield_now(), 0..*value.tag % 3);
                        accounts.value(*value.tag * 2)
                    };
                    let mut seen = Vec::new();
                    read(way, executor, limit, task, accounts.values(30), |idx, value| {
                        assert_eq!(*value.tag, idx * 2);
                        seen.push(idx);
                        Continue(())
                    });
                    if way == Way::Ordered || limit == Some(1) {
                        assert!(seen.is_sorted(), "{seen:?}");
                    }
                    seen.sort_unstable();
                    assert_eq!(seen, (0..30).collect::<Vec<_>>());
                    accounts.close();
                }
            }
        });
    });
}

#[test]
fn a_stream_of_nothing_ends_at_once() {
    within_deadline(|| {
        on_every_backend(|executor| {
            for way in WAYS {
                read(way, executor, None, |x: u8| x, [], |_, _| unreachable!("there is nothing to read"));
            }
        });
    });
}

#[test]
fn results_come_in_the_order_of_completion() {
    within_deadline(|| {
        on_fibers_that_interleave(|executor, _| {
            for way in [Way::Completed, Way::Unordered] {
                // Each task but the last waits for the one after it to be read.
                let read_so_far = AtomicUsize::new(0);
                let task = |x: usize| {
                    while read_so_far.load(Ordering::Acquire) < 4 - x {
                        yield_now();
                    }
                };
                let mut seen = Vec::new();
                read(way, executor, Some(5), task, 0..5, |idx, ()| {
                    seen.push(idx);
                    read_so_far.fetch_add(1, Ordering::AcqRel);
                    Continue(())
                });
                assert_eq!(seen, [4, 3, 2, 1, 0]);
            }
        });
    });
}

#[test]
fn an_infinite_input_is_pulled_no_further_than_the_bound() {
    within_deadline(|| {
        on_every_backend(|executor| {
            for way in [Way::Ordered, Way::Unordered] {
                for bound in [1, 2, 5] {
                    for slow in [false, true] {
                        let (pulled, read_so_far, most) = (Cell::new(0), Cell::new(0), Cell::new(0));
                        let items = std::iter::from_fn(|| {
                            pulled.set(pulled.get() + 1);
                            most.set(most.get().max(pulled.get() - read_so_far.get()));
                            Some(pulled.get() - 1)
                        });
                        let task = |x: usize| (yield_now(), x).1;
                        let mut next = 0;
                        read(way, executor, Some(bound), task, items, |idx, x| {
                            assert_eq!(idx, x);
                            if way == Way::Ordered {
                                assert_eq!(idx, next);
                                next += 1;
                            }
                            if slow {
                                (0..5).for_each(|_| yield_now());
                                assert!(pulled.get() - read_so_far.get() <= bound);
                            }
                            read_so_far.set(read_so_far.get() + 1);
                            if read_so_far.get() == 40 { Break(()) } else { Continue(()) }
                        });
                        assert!(most.get() <= bound, "{} pulled and not read, of {bound}", most.get());
                        assert!(pulled.get() <= 40 + bound);
                    }
                }
            }
        });
    });
}

#[test]
fn a_stream_that_nothing_bounds_is_bounded_all_the_same() {
    within_deadline(|| {
        for candidate in candidates() {
            for way in [Way::Ordered, Way::Unordered] {
                let (pulled, read_so_far, most) = (Cell::new(0), Cell::new(0), Cell::new(0));
                let items = (0_usize..).inspect(|_| {
                    pulled.set(pulled.get() + 1);
                    most.set(most.get().max(pulled.get() - read_so_far.get()));
                });
                read(
                    way,
                    &*candidate.executor,
                    None,
                    |x| x,
                    items,
                    |_, _| {
                        read_so_far.set(read_so_far.get() + 1);
                        if read_so_far.get() == 100 { Break(()) } else { Continue(()) }
                    },
                );
                assert!(most.get() <= 2 * candidate.executor.size(), "{} were unread", most.get());
            }
        }
    });
}

#[test]
fn no_more_than_the_bound_have_started_and_not_been_read() {
    within_deadline(|| {
        on_fibers(|executor, _| {
            for way in [Way::Ordered, Way::Unordered] {
                let (started, read_so_far) = (AtomicUsize::new(0), AtomicUsize::new(0));
                let task = |_| {
                    let now = started.fetch_add(1, Ordering::AcqRel) + 1;
                    let unread = now - read_so_far.load(Ordering::Acquire).min(now);
                    // The reader counts a result when it has it, which may be later than that makes room.
                    assert!(unread <= 4, "{unread} have started and not been read");
                };
                read(way, executor, Some(3), task, 0..200, |_, ()| {
                    read_so_far.fetch_add(1, Ordering::AcqRel);
                    (0..3).for_each(|_| yield_now());
                    Continue(())
                });
            }
        });
    });
}

#[test]
fn breaking_off_cancels_the_rest_and_drops_everything_once() {
    within_deadline(|| {
        on_every_backend(|executor| {
            for way in WAYS {
                let accounts = Accounts::default();
                let task = |value: Value<'_>| {
                    let _running = accounts.start();
                    if *value.tag > 3 {
                        yield_taskmap(|_| endless(), 0..2);
                    }
                    accounts.value(*value.tag)
                };
                let mut seen = 0;
                read(way, executor, Some(2), task, accounts.values(20), |_, _value| {
                    seen += 1;
                    if seen == 3 { Break(()) } else { Continue(()) }
                });
                assert_eq!(seen, 3);
                accounts.close();
            }
        });
    });
}

#[test]
fn a_panic_of_the_reader_cancels_the_rest_waits_and_goes_on() {
    within_deadline(|| {
        // Where workers nest, a task that only the reader ends may run on top of the reader.
        let may_run_on_top = |candidate: &Candidate| candidate.kind == Kind::Nested;
        for candidate in candidates().filter(|candidate| !may_run_on_top(candidate)) {
            let executor = &*candidate.executor;
            for way in WAYS {
                let accounts = Accounts::default();
                let task = |value: Value<'_>| {
                    let _running = accounts.start();
                    if *value.tag > 0 {
                        endless();
                    }
                };
                let stream = || {
                    read(way, executor, Some(1), task, accounts.values(8), |idx, ()| expected(idx + 10));
                };
                assert_eq!(expected_panic(stream), 10);
                accounts.close();
                let inside = || executor.run(|| taskmap(task, accounts.values(8)).stream_ordered(|_, ()| expected(3)));
                // Inside a task, and with tasks that are running.
                assert_eq!(expected_panic(inside), 3);
                accounts.close();
            }
        }
    });
}

#[test]
fn a_panic_of_a_task_cancels_the_rest_and_is_raised_again() {
    within_deadline(|| {
        on_every_backend(|executor| {
            for way in WAYS {
                let accounts = Accounts::default();
                let task = |value: Value<'_>| {
                    let _running = accounts.start();
                    match *value.tag {
                        0 => (),
                        1 => expected(1),
                        _ => endless(),
                    }
                };
                let stream = || read(way, executor, Some(2), task, accounts.values(8), |_, ()| Continue(()));
                assert_eq!(expected_panic(stream), 1);
                accounts.close();
            }
        });
    });
}

#[test]
fn a_panic_is_seen_while_an_earlier_task_still_runs() {
    within_deadline(|| {
        on_fibers(|executor, _| {
            for way in WAYS {
                let (first_runs, second_ended) = (Flag::new(), Flag::new());
                let task = |x: usize| match x {
                    0 => {
                        first_runs.raise();
                        sleep(Duration::from_secs(3600));
                    }
                    1 => second_ended.raise(),
                    _ => {
                        while !first_runs.is_raised() || !second_ended.is_raised() {
                            yield_now();
                        }
                        expected(2)
                    }
                };
                assert_eq!(expected_panic(|| read(way, executor, Some(3), task, 0..3, |_, ()| Continue(()))), 2);
            }
        });
    });
}

#[test]
fn a_panic_of_the_input_cancels_the_rest_and_goes_on() {
    within_deadline(|| {
        on_every_backend(|executor| {
            for way in WAYS {
                let accounts = Accounts::default();
                let items = (0..10).map(|x| if x == 3 { expected(33) } else { accounts.value(x) });
                let task = |value: Value<'_>| {
                    let _running = accounts.start();
                    (yield_taskmap(|x| x, 0..2), accounts.value(*value.tag)).1
                };
                let stream = || read(way, executor, Some(2), task, items, |_, _| Continue(()));
                assert_eq!(expected_panic(stream), 33);
                accounts.close();
            }
        });
    });
}

#[test]
fn the_reader_runs_on_the_callers_thread_with_state_of_its_own() {
    within_deadline(|| {
        on_every_backend(|executor| {
            for way in WAYS {
                let (here, seen) = (thread::current().id(), Rc::new(RefCell::new(BTreeSet::new())));
                let theirs = Rc::clone(&seen);
                read(
                    way,
                    executor,
                    Some(3),
                    |x: usize| x,
                    0..10,
                    move |_, x| {
                        assert_eq!(thread::current().id(), here);
                        theirs.borrow_mut().insert(x);
                        Continue(())
                    },
                );
                assert_eq!(Rc::into_inner(seen).unwrap().into_inner(), (0..10).collect());
                // In a task: the thread of the task, since a fiber stays on its thread.
                let sum = executor.run(|| {
                    let (here, sum) = (thread::current().id(), Rc::new(Cell::new(0)));
                    taskmap(|x: usize| yield_taskmap(|y| x + y, 0..2)[1], 0..10).for_each_completed(|_, x| {
                        assert_eq!(thread::current().id(), here);
                        sum.set(sum.get() + x);
                        Continue(())
                    });
                    sum.get()
                });
                assert_eq!(sum, 55);
            }
        });
    });
}

#[test]
fn the_reader_may_call_nested_maps_and_streams() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let mut sum = 0;
            executor.taskmap(|x: usize| x, 0..5).for_each_completed(|_, x| {
                sum += executor.map(|y| x * y, 0..3).into_iter().sum::<usize>();
                Continue(())
            });
            assert_eq!(sum, 30);
            let sum = executor.run(|| {
                let mut sum = 0;
                taskmap(|x: usize| x, 0..).max_in_flight(3).stream_ordered(|_, x| {
                    sum += yield_taskmap(|y| x * y, 0..3).into_iter().sum::<usize>();
                    taskmap(|y| x + y, 0..2).stream_unordered(|_, z| {
                        sum += z;
                        Continue(())
                    });
                    if x == 4 { Break(()) } else { Continue(()) }
                });
                sum
            });
            assert_eq!(sum, 30 + 2 * 10 + 5);
        });
    });
}

#[test]
fn the_reader_may_cancel_a_stream_from_inside() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let token = CancelToken::new();
            let accounts = Accounts::default();
            let task = |x: usize| (accounts.start(), x).1;
            let stream = || {
                executor.taskmap(task, 0..).name("expected").cancel_token(&token).max_in_flight(2).stream_ordered(
                    |idx, _| {
                        if idx == 5 {
                            token.cancel();
                        }
                        Continue(())
                    },
                );
            };
            let message = message_of(&*caught(stream).unwrap_err());
            assert!(message.contains("cancelled"), "{message}");
            accounts.close();
        });
    });
}

#[test]
fn a_map_that_is_cancelled_when_all_its_results_have_been_read_is_not_cancelled() {
    within_deadline(|| {
        on_every_backend(|executor| {
            for way in WAYS {
                let token = CancelToken::new();
                let mut seen = 0;
                let map = executor.taskmap(|x: usize| x, 0..5).name("expected").cancel_token(&token);
                let g = |_, _| {
                    seen += 1;
                    if seen == 5 {
                        token.cancel();
                    }
                    Continue(())
                };
                match way {
                    Way::Completed => map.for_each_completed(g),
                    Way::Ordered => map.stream_ordered(g),
                    Way::Unordered => map.stream_unordered(g),
                }
                assert_eq!(seen, 5);
            }
        });
    });
}

#[test]
fn a_late_stream_panics_with_a_message_that_names_it() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let stream = || {
                let map = executor.taskmap(|_| endless(), 0..).name("expected").deadline(Duration::from_millis(5));
                map.stream_unordered(|_, ()| Continue(()));
            };
            let message = message_of(&*caught(stream).unwrap_err());
            assert!(message.contains("expected[") && message.contains("late"), "{message}");
        });
    });
}

#[test]
fn an_input_that_borrows_what_cannot_be_sent_is_pulled_on_the_callers_thread() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let pulled = Rc::new(Cell::new(0));
            let here = thread::current().id();
            let items = (0..10).inspect(|_| {
                assert_eq!(thread::current().id(), here);
                pulled.set(pulled.get() + 1);
            });
            executor.taskmap(|x: usize| x, items).max_in_flight(2).stream_unordered(|_, _| Continue(()));
            assert_eq!(pulled.get(), 10);
        });
    });
}

#[test]
fn results_come_while_other_tasks_still_run() {
    within_deadline(|| {
        on_fibers(|executor, _| {
            for way in WAYS {
                let first_read = Flag::new();
                let task = |x: usize| {
                    while x > 0 && !first_read.is_raised() {
                        yield_now();
                    }
                };
                read(way, executor, Some(4), task, 0..8, |_, ()| {
                    first_read.raise();
                    Continue(())
                });
            }
        });
    });
}

#[test]
fn shutdown_lets_a_stream_in_progress_finish() {
    within_deadline(|| {
        for workers in WORKERS {
            // A backend from outside does not know that an outermost stream is in hand between two of its tasks.
            for (name, _, build) in BACKENDS.iter().filter(|(name, ..)| *name != "a third party's") {
                doing(name);
                let executor: Arc<dyn Executor> = Arc::from(build(workers));
                for way in WAYS {
                    let executor: Arc<dyn Executor> =
                        if way == Way::Completed { Arc::clone(&executor) } else { Arc::from(build(workers)) };
                    let mut seen = 0;
                    thread::scope(|scope| {
                        let mut shutdown = None;
                        let task = |x: usize| yield_taskmap(|y| x * y, 0..3)[1];
                        read(way, &*executor, Some(2), task, 0..20, |idx, x| {
                            assert_eq!(idx, x);
                            seen += 1;
                            if seen == 5 {
                                let theirs = Arc::clone(&executor);
                                shutdown = Some(scope.spawn(move || theirs.shutdown()));
                                let is_closed = || {
                                    let probe = executor.submit(|| ());
                                    probe.is_finished() && probe.join().is_err()
                                };
                                wait_until("the executor is closed", is_closed, thread::yield_now);
                            }
                            Continue(())
                        });
                    });
                    assert_eq!(seen, 20);
                    let refused = caught(|| read(way, &*executor, None, |x: u8| x, [1], |_, _| Continue(())));
                    let message = message_of(&*refused.unwrap_err());
                    assert!(message.contains("shut down"), "{message}");
                }
            }
        }
    });
}

#[test]
fn after_shutdown_a_map_with_a_policy_panics_with_a_clear_message() {
    within_deadline(|| {
        on_every_backend(|executor| {
            executor.shutdown();
            let accounts = Accounts::default();
            let map = || executor.taskmap(|_value: Value<'_>| drop(accounts.start()), accounts.values(3)).name("late");
            let runs: [&dyn Fn(); 4] = [
                &|| drop(map().run()),
                &|| map().stream_ordered(|_, ()| Continue(())),
                &|| map().stream_unordered(|_, ()| Continue(())),
                &|| map().for_each_completed(|_, ()| Continue(())),
            ];
            for run in runs {
                let message = message_of(&*caught(run).unwrap_err());
                assert!(message.contains("shut down"), "{message}");
            }
            assert_eq!(accounts.started(), 0);
            accounts.close();
        });
    });
}

/// Runs batches, and drops every detached task after so many.
struct Drops {
    left: AtomicUsize,
}

impl Executor for Drops {
    fn size(&self) -> usize {
        1
    }

    fn persist(&self) -> bool {
        true
    }

    fn shutdown(&self) {}

    fn run_batch(&self, batch: &Batch<'_>) {
        while let Some(task) = batch.next_task() {
            task.run(self);
        }
    }

    fn spawn(&self, task: DetachedTask) {
        match self.left.load(Ordering::Relaxed) {
            0 => drop(task),
            left => {
                self.left.store(left - 1, Ordering::Relaxed);
                task.run(self);
            }
        }
    }
}

#[test]
fn a_stream_on_a_backend_that_drops_tasks_panics_and_does_not_wait_for_ever() {
    within_deadline(|| {
        for way in WAYS {
            let accounts = Accounts::default();
            let executor = Drops { left: AtomicUsize::new(3) };
            let stream =
                || read(way, &executor, Some(2), |value: Value<'_>| value, accounts.values(8), |_, _| Continue(()));
            assert!(caught(stream).is_err());
            accounts.close();
        }
    });
}
