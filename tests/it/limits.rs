//! No more tasks of a map are started and unfinished than it allows.

use crate::accounting::{Accounts, Value};
use crate::backends::{on_every_backend, on_fibers_that_interleave};
use crate::deadline::within_deadline;
use crate::panicking::{caught, expected, message_of};
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use yieldtasks::{ExecutorExt, TaskPath, taskmap, yield_now, yield_taskmap};

/// How many are inside at a time.
#[derive(Default)]
struct Gauge {
    inside: AtomicUsize,
    most: AtomicUsize,
}

impl Gauge {
    fn pass<R>(&self, f: impl FnOnce() -> R) -> R {
        let inside = self.inside.fetch_add(1, Ordering::AcqRel) + 1;
        self.most.fetch_max(inside, Ordering::AcqRel);
        let result = f();
        self.inside.fetch_sub(1, Ordering::AcqRel);
        result
    }
}

fn some_work(x: usize) -> usize {
    yield_now();
    yield_taskmap(|y| x + y, 0..3)[0]
}

#[test]
fn no_more_tasks_are_started_and_unfinished_than_allowed() {
    within_deadline(|| {
        on_every_backend(|executor| {
            for limit in [1, 2, 3, 50] {
                let gauges: [Gauge; 7] = Default::default();
                let map = |gauge: usize| {
                    let gauge = &gauges[gauge];
                    executor.taskmap(move |x| gauge.pass(|| some_work(x)), 0..30).max_in_flight(limit)
                };
                let all: Vec<_> = (0..30).collect();
                assert_eq!(map(0).run(), all);
                assert_eq!(map(1).try_run().unwrap(), all);
                assert_eq!(map(2).settled().into_iter().map(Result::unwrap).collect::<Vec<_>>(), all);
                assert_eq!(map(3).race(|&x| x == 29), Some((29, 29)));
                let sum = Mutex::new(0);
                let add = |_, x| {
                    *sum.lock().unwrap() += x;
                    ControlFlow::Continue(())
                };
                map(4).for_each_completed(add);
                map(5).stream_ordered(add);
                map(6).stream_unordered(add);
                assert_eq!(sum.into_inner().unwrap(), 3 * all.iter().sum::<usize>());
                for (verb, gauge) in gauges.iter().enumerate() {
                    let most = gauge.most.load(Ordering::Acquire);
                    assert!((1..=limit).contains(&most), "{most} of {limit} by the verb {verb}");
                }
            }
        });
    });
}

#[test]
fn as_many_tasks_as_allowed_are_in_flight_when_they_wait_for_each_other() {
    within_deadline(|| {
        on_fibers_that_interleave(|executor, _| {
            let inside = AtomicUsize::new(0);
            let all_are_in = |_: usize| {
                inside.fetch_add(1, Ordering::AcqRel);
                while inside.load(Ordering::Acquire) < 5 {
                    yield_now();
                }
            };
            assert_eq!(executor.taskmap(all_are_in, 0..5).max_in_flight(5).run().len(), 5);
            inside.store(0, Ordering::Release);
            executor.taskmap(all_are_in, 0..5).max_in_flight(5).stream_ordered(|_, ()| ControlFlow::Continue(()));
        });
    });
}

#[test]
fn one_at_a_time_keeps_the_order() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let order = Mutex::new(Vec::new());
            let task = |x: usize| {
                order.lock().unwrap().push((x, "starts"));
                some_work(x);
                order.lock().unwrap().push((x, "ends"));
            };
            let expected: Vec<_> = (0..10).flat_map(|x| [(x, "starts"), (x, "ends")]).collect();
            let took = || std::mem::take(&mut *order.lock().unwrap());
            let map = || executor.taskmap(task, 0..10).max_in_flight(1);
            map().run();
            assert_eq!(took(), expected);
            map().settled();
            assert_eq!(took(), expected);
            map().stream_unordered(|_, ()| ControlFlow::Continue(()));
            assert_eq!(took(), expected);
        });
    });
}

#[test]
fn tasks_of_a_limited_map_are_known_by_their_own_index() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let task = |x: usize| (x, TaskPath::current().to_string());
            for (x, path) in executor.taskmap(task, 0..7).name("limited").max_in_flight(2).run() {
                assert_eq!(path, format!("limited[{x}]"));
            }
            let error = executor
                .taskmap(
                    |x| {
                        if x == 5 {
                            expected(x)
                        }
                    },
                    0..7,
                )
                .name("limited")
                .max_in_flight(2)
                .try_run();
            assert_eq!(error.unwrap_err().path().to_string(), "limited[5]");
        });
    });
}

#[test]
fn a_limit_of_nothing_panics_with_a_clear_message() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let message = message_of(&*caught(|| drop(executor.taskmap(|x: u8| x, [1]).max_in_flight(0))).unwrap_err());
            assert!(message.contains("in flight") && message.contains("one or more"), "{message}");
        });
    });
}

#[test]
fn a_failure_in_a_limited_map_leaves_everything_dropped_once() {
    within_deadline(|| {
        on_every_backend(|executor| {
            for limit in [1, 3] {
                let accounts = Accounts::default();
                let task = |value: Value<'_>| {
                    let _running = accounts.start();
                    if *value.tag == 4 {
                        expected(4);
                    }
                    accounts.value(some_work(1))
                };
                assert!(executor.taskmap(task, accounts.values(12)).max_in_flight(limit).try_run().is_err());
                let settled = executor.taskmap(task, accounts.values(12)).max_in_flight(limit).settled();
                assert_eq!(settled.iter().filter(|outcome| outcome.is_ok()).count(), 11);
                drop(settled);
                accounts.close();
            }
        });
    });
}

#[test]
fn limits_nest() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let gauge = Gauge::default();
            let inner = |x: usize| taskmap(|y| gauge.pass(|| some_work(x * y)), 0..6).max_in_flight(2).run().len();
            assert_eq!(executor.taskmap(inner, 0..6).max_in_flight(3).run(), [6; 6]);
            assert!(gauge.most.load(Ordering::Acquire) <= 6);
        });
    });
}
