//! Subscribers of other kinds: each in a process of its own.

use crate::backends::{fibers, on_every_backend, on_fibers};
use crate::collector::{Collector, below, expect_here, here};
use crate::deadline::within_deadline;
use crate::panicking::{Expected, caught};
use crate::processes::alone;
use std::collections::HashMap;
use std::panic;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};
use tracing::span::{Attributes, Id, Record, Span};
use tracing::{Event, Metadata, Subscriber, info_span};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;
use yieldtasks::{ExecutorExt, yield_join, yield_now, yield_taskmap};

/// Maps and joins that switch between fibers again and again.
fn nest(depth: u32) -> u32 {
    if depth == 0 {
        yield_now();
        return 1;
    }
    let (a, b) = yield_join(|| nest(depth - 1), || yield_taskmap(|_| nest(depth - 1), 0..2).into_iter().sum::<u32>());
    yield_now();
    a + b
}

/// Does not say which span is current.
#[derive(Debug, Default)]
struct Forgetful {
    made: AtomicU64,
    closed: AtomicU64,
    entered: Mutex<HashMap<ThreadId, Vec<Id>>>,
    disorder: AtomicUsize,
}

/// The subscriber, of which the test keeps a share.
struct Shared(Arc<Forgetful>);

impl Subscriber for Shared {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1 + self.0.made.fetch_add(1, Ordering::Relaxed))
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, span: &Id) {
        self.0.entered.lock().unwrap().entry(thread::current().id()).or_default().push(span.clone());
    }

    fn exit(&self, span: &Id) {
        let innermost = self.0.entered.lock().unwrap().entry(thread::current().id()).or_default().pop();
        if innermost.as_ref() != Some(span) {
            self.0.disorder.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn try_close(&self, _: Id) -> bool {
        self.0.closed.fetch_add(1, Ordering::Relaxed);
        true
    }
}

#[test]
fn where_the_subscriber_does_not_say_what_is_current_the_spans_of_the_crate_are_left_all_the_same() {
    alone(&[], || {
        within_deadline(|| {
            let forgetful = Arc::new(Forgetful::default());
            tracing::subscriber::set_global_default(Shared(Arc::clone(&forgetful))).unwrap();
            on_every_backend(|executor| assert_eq!(executor.run(|| nest(5)), 3_u32.pow(5)));
            assert_eq!(forgetful.disorder.load(Ordering::Relaxed), 0);
            assert!(forgetful.entered.lock().unwrap().values().all(Vec::is_empty));
            let made = forgetful.made.load(Ordering::Relaxed);
            assert!(made > 1000);
            assert_eq!(forgetful.closed.load(Ordering::Relaxed), made);
        });
    });
}

/// Wants only the spans of this test.
struct OnlyMine;

impl<S: Subscriber> Layer<S> for OnlyMine {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        metadata.target() != "yieldtasks"
    }
}

#[test]
fn tasks_whose_spans_are_not_wanted_are_in_the_span_of_the_caller() {
    alone(&[], || {
        within_deadline(|| {
            tracing::subscriber::set_global_default(Registry::default().with(Collector).with(OnlyMine)).unwrap();
            on_every_backend(|executor| {
                let in_no_span = |_| {
                    assert_eq!(here(), None);
                    // Fibers of one worker, each in a span of its own, take turns.
                    yield_taskmap(
                        |index| {
                            let _guard = info_span!("mine", index).entered();
                            let mine = here().unwrap();
                            assert_eq!(mine.parent, None);
                            for _ in 0..3 {
                                yield_now();
                                expect_here(mine.serial, "a turn");
                            }
                            yield_taskmap(|_| expect_here(mine.serial, "the start"), 0..3);
                            expect_here(mine.serial, "a map");
                        },
                        0..4,
                    );
                    assert_eq!(here(), None);
                };
                executor.map(in_no_span, 0..3);
            });
        });
    });
}

/// Panics now and then, at every kind of call.
struct Moody(AtomicUsize);

impl Moody {
    fn may_panic(&self) {
        let calls = self.0.fetch_add(1, Ordering::Relaxed);
        if calls.is_multiple_of(13) && !thread::panicking() {
            panic::panic_any(Expected(calls));
        }
    }
}

impl<S: Subscriber> Layer<S> for Moody {
    fn on_new_span(&self, _: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        self.may_panic();
    }

    fn on_enter(&self, _: &Id, _: Context<'_, S>) {
        self.may_panic();
    }

    fn on_exit(&self, _: &Id, _: Context<'_, S>) {
        self.may_panic();
    }
}

#[test]
fn a_subscriber_that_panics_harms_calls_but_no_executor() {
    alone(&[], || {
        within_deadline(|| {
            let subscriber = Registry::default().with(Moody(AtomicUsize::new(1)));
            tracing::subscriber::set_global_default(subscriber).unwrap();
            on_every_backend(|executor| {
                let outcomes: Vec<_> = (0..30).map(|_| caught(|| executor.run(|| nest(3)))).collect();
                assert!(outcomes.iter().any(Result::is_err), "the subscriber panics");
                assert!(outcomes.into_iter().flatten().all(|result| result == 27));
                executor.shutdown();
            });
        });
    });
}

#[test]
fn a_subscriber_of_one_thread_sees_the_maps_called_there_and_their_tasks() {
    alone(&[], || {
        within_deadline(|| {
            // The numbers of its spans mean nothing to the other one.
            tracing::subscriber::set_global_default(Registry::default()).unwrap();
            on_every_backend(|executor| {
                tracing::subscriber::with_default(Registry::default().with(Collector), || {
                    let caller = info_span!("caller").entered();
                    let root = here().unwrap().serial;
                    assert_eq!(executor.run(|| nest(3)), 27);
                    let spans = below(root);
                    assert_eq!((spans[0].name, spans[0].parent), ("map", Some(root)));
                    assert_eq!((spans[1].name, spans[1].parent), ("task", Some(spans[0].serial)));
                    expect_here(root, "a map");
                    drop(caller);
                });
            });
        });
    });
}

#[test]
fn without_a_subscriber_there_are_no_spans() {
    alone(&[], || {
        within_deadline(|| {
            on_fibers(|executor, _| {
                executor.map(|_| assert!(Span::current().is_none()), 0..3);
            });
            // One that comes while tasks are suspended finds nothing to leave.
            let executor = fibers(1);
            executor.run(|| {
                yield_join(yield_now, || {
                    tracing::subscriber::set_global_default(Registry::default().with(Collector)).unwrap()
                });
                assert_eq!(here(), None);
                assert_eq!(nest(3), 27);
            });
        });
    });
}
