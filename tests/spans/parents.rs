//! Whose children the spans are, whichever thread runs the task.

use crate::backends::{fibers, on_backends_where_siblings_wait, on_every_backend};
use crate::collector::{collect, expect_here, here, node, task_of};
use crate::deadline::{Flag, within_deadline};
use std::thread;
use tracing::info_span;
use yieldtasks::{ExecutorExt, FiberExecutor, yield_join, yield_taskmap};

#[test]
fn tasks_on_different_threads_are_children_of_the_same_map() {
    within_deadline(|| {
        on_backends_where_siblings_wait(|executor, workers| {
            if workers == 1 {
                return;
            }
            let flags = [Flag::new(), Flag::new()];
            let spans = collect(|root| {
                executor.map(
                    |_| {
                        let caller = here().unwrap().serial;
                        // Each spins until the other has started, so no thread runs both.
                        let meet = |own: usize| {
                            let task = task_of(caller, own);
                            flags[own].raise();
                            flags[1 - own].spin("the sibling has started");
                            expect_here(task.serial, "spinning");
                            thread::current().id()
                        };
                        let (first, second) = yield_join(|| meet(0), || meet(1));
                        assert_ne!(first, second);
                        expect_here(caller, "a join");
                    },
                    [()],
                );
                expect_here(root, "a map");
            });
            assert_eq!(spans.iter().filter(|span| span.name == "map").count(), 2);
        });
    });
}

#[test]
fn a_call_into_another_executor_keeps_the_chain() {
    within_deadline(|| {
        on_every_backend(|outer| {
            on_every_backend_but_few(|inner| {
                collect(|root| {
                    outer.map(
                        |index| {
                            let task = task_of(root, index);
                            inner.map(|index| yield_taskmap(|_| (), [task_of(task.serial, index).serial]), 0..2);
                            expect_here(task.serial, "a map elsewhere");
                        },
                        0..2,
                    );
                });
            });
        });
    });
}

fn on_every_backend_but_few(check: impl Fn(&FiberExecutor)) {
    check(&fibers(2));
}

#[test]
fn a_submitted_task_is_a_child_of_the_span_it_was_submitted_in() {
    within_deadline(|| {
        on_every_backend(|executor| {
            collect(|root| {
                let nested = move || {
                    let task = here().unwrap();
                    assert_eq!((task.name, task.parent), ("task", Some(root)));
                    yield_taskmap(|index| drop(task_of(task.serial, index)), 0..3);
                    expect_here(task.serial, "a map");
                };
                executor.submit(nested).join().unwrap();
                // One that never runs has a span as well, which is closed.
                executor.shutdown();
                executor.submit(|| ()).join().unwrap_err();
            });
        });
    });
}

#[test]
fn a_span_of_the_user_is_the_parent_of_the_maps_called_in_it() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let spans = collect(|_| {
                executor.map(|_| info_span!("mine").in_scope(|| yield_taskmap(|_| (), 0..2)), 0..2);
            });
            let inner = spans.iter().filter(|span| span.name == "map" && span.field("level") == "1");
            let parents: Vec<_> = inner.map(|map| node(map.parent.unwrap()).name).collect();
            assert_eq!(parents, ["mine"; 2]);
        });
    });
}
