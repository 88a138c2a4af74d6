//! The watchdog warns of stalls, once each, with the dump.

use crate::backends::WORKERS;
use crate::deadline::{Flag, doing, wait_until, within_deadline};
use crate::processes::{alone, expect_threads};
use std::error::Error;
use std::fmt::Write;
use std::sync::{LazyLock, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use tracing::field::{Field, Visit};
use yieldtasks::sync::Event;
use yieldtasks::{BuildError, Executor, ExecutorExt, FiberExecutor, Pinning, taskmap, yield_join, yield_taskmap};

const PERIOD: Duration = Duration::from_millis(60);

/// Keeps the text of warnings.
#[derive(Default)]
struct Warnings(Mutex<Vec<String>>);

static WARNINGS: LazyLock<Warnings> = LazyLock::new(Warnings::default);

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, "{field}={value:?};").unwrap();
    }
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
        let mut text = Text(String::new());
        event.record(&mut text);
        self.0.lock().unwrap().push(text.0);
        // A subscriber is the program's code, and may panic.
        assert!(!std::env::var("YIELDTASKS_TEST_PANIC").is_ok_and(|value| value == "1"));
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

fn warnings() -> Vec<String> {
    WARNINGS.0.lock().unwrap().clone()
}

fn watched(workers: usize) -> FiberExecutor {
    FiberExecutor::builder().workers(workers).pinning(Pinning::None).watchdog(PERIOD).build().unwrap()
}

fn listening(test: impl FnOnce() + Send + 'static) {
    alone(&[], || {
        within_deadline(|| {
            tracing::subscriber::set_global_default(&*WARNINGS).unwrap();
            test();
        });
    });
}

#[test]
fn a_watchdog_needs_time() {
    for persist in [true, false] {
        let builder = FiberExecutor::builder().workers(1).persist(persist);
        let error = builder.watchdog(Duration::ZERO).build().unwrap_err();
        assert!(matches!(error, BuildError::NoWatchdogPeriod) && error.source().is_none());
        assert!(error.to_string().contains("give it longer"), "{error}");
    }
}

#[test]
fn a_worker_that_keeps_a_ready_fiber_waiting_is_reported_once_for_each_stall() {
    listening(|| {
        let executor = watched(1);
        for stall in 1..=2 {
            let event = Event::new();
            let (inside, go_on) = (Flag::new(), Flag::new());
            let task = |x: usize| {
                if x == 0 {
                    event.wait();
                } else {
                    inside.raise();
                    go_on.spin("the warning is there");
                }
            };
            thread::scope(|scope| {
                scope.spawn(|| executor.run(|| taskmap(task, 0..2).name("stalled").run()));
                inside.spin("the leaf runs");
                // A long leaf that keeps nobody waiting is no stall.
                thread::sleep(3 * PERIOD);
                assert_eq!(warnings().len(), stall - 1, "{:?}", warnings());
                event.set();
                wait_until("there is a warning", || warnings().len() == stall, thread::yield_now);
                thread::sleep(3 * PERIOD);
                assert_eq!(warnings().len(), stall, "{:?}", warnings());
                go_on.raise();
            });
            let warning = warnings().pop().unwrap();
            assert!(warning.contains("worker=0;") && warning.contains("ready fibers wait"), "{warning}");
            assert!(warning.contains("stalled[0]: ready on worker 0"), "{warning}");
            assert!(warning.contains("stalled[1]: running on worker 0"), "{warning}");
        }
    });
}

#[test]
fn tasks_that_wait_while_all_workers_are_parked_are_reported_once() {
    listening(|| {
        for (round, workers) in WORKERS.into_iter().enumerate() {
            doing(&format!("{workers} workers"));
            let executor = watched(workers);
            // Nothing to do is no stall.
            thread::sleep(3 * PERIOD);
            assert_eq!(warnings().len(), round, "{:?}", warnings());
            let never = Event::new();
            thread::scope(|scope| {
                scope.spawn(|| executor.run(|| yield_taskmap(|_| never.wait(), 0..3)));
                wait_until("there is a warning", || warnings().len() == round + 1, thread::yield_now);
                thread::sleep(3 * PERIOD);
                assert_eq!(warnings().len(), round + 1, "{:?}", warnings());
                never.set();
            });
            let warning = warnings().pop().unwrap();
            assert!(warning.contains("every worker is parked") && warning.contains("waiting for 3 of 3"), "{warning}");
        }
    });
}

#[test]
fn busy_workers_are_left_in_peace() {
    fn fib(n: u32) -> u64 {
        if n < 2 {
            return n.into();
        }
        let (a, b) = yield_join(|| fib(n - 1), || fib(n - 2));
        a + b
    }

    listening(|| {
        // Far longer than the system may keep a thread from running.
        let period = Duration::from_secs(2);
        let began = Instant::now();
        thread::scope(|scope| {
            for workers in WORKERS {
                scope.spawn(move || {
                    let builder = FiberExecutor::builder().workers(workers).pinning(Pinning::None);
                    let executor = builder.watchdog(period).build().unwrap();
                    while began.elapsed() < 2 * period {
                        executor.map(|_| fib(15), 0..8);
                    }
                });
            }
        });
        assert!(warnings().is_empty(), "{:?}", warnings());
    });
}

#[test]
fn the_watchdog_ends_with_its_executor() {
    listening(|| {
        for persist in [true, false] {
            for workers in WORKERS {
                let builder = FiberExecutor::builder().workers(workers).thread_name("watched").persist(persist);
                let executor = builder.watchdog(Duration::from_secs(3600)).build().unwrap();
                assert_eq!(executor.map(|x| x + 1, 0..3), [1, 2, 3]);
                expect_threads("watched", if persist { workers + 1 } else { 0 });
                executor.shutdown();
                expect_threads("watched", 0);
            }
        }
        let builder = FiberExecutor::builder().workers(2).watchdog(PERIOD);
        assert!(matches!(builder.stack_size(1 << 60).build(), Err(BuildError::StackSize { .. })));
    });
}

#[test]
fn a_subscriber_that_panics_harms_nobody() {
    alone(&[("YIELDTASKS_TEST_PANIC", "1")], || {
        within_deadline(|| {
            tracing::subscriber::set_global_default(&*WARNINGS).unwrap();
            let executor = watched(2);
            for stall in 1..=2 {
                let never = Event::new();
                thread::scope(|scope| {
                    scope.spawn(|| executor.run(|| never.wait()));
                    let told = || WARNINGS.0.lock().unwrap_or_else(|error| error.into_inner()).len();
                    wait_until("there is a warning", || told() == stall, thread::yield_now);
                    never.set();
                });
            }
            assert_eq!(executor.map(|x| x, 0..3), [0, 1, 2]);
        });
    });
}
