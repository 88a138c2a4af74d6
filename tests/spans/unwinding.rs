//! Spans of tasks that do not return: they panic, or are cancelled.

use crate::backends::on_every_backend;
use crate::collector::{collect, expect_here, here, task_of};
use crate::deadline::within_deadline;
use crate::panicking::{expected, expected_panic};
use std::time::Duration;
use tracing::info_span;
use yieldtasks::{Executor, ExecutorExt, checkpoint, sleep, taskmap, yield_now, yield_taskmap};

/// Checks, while it unwinds, that it is in the span that it was made in.
struct AtHome(usize);

impl AtHome {
    fn here() -> Self {
        Self(here().unwrap().serial)
    }
}

impl Drop for AtHome {
    fn drop(&mut self) {
        if here().map(|node| node.serial) != Some(self.0) {
            eprintln!("not at home: {:?}", here());
            std::process::abort();
        }
        // Runs inline while the thread unwinds.
        yield_taskmap(|index| drop(task_of(self.0, index)), 0..2);
    }
}

#[test]
fn a_panic_leaves_every_span_on_its_way() {
    within_deadline(|| {
        on_every_backend(|executor| {
            collect(|root| {
                let number = expected_panic(|| {
                    executor.map(
                        |outer| {
                            let task = task_of(root, outer);
                            let _at_home = AtHome::here();
                            let guard = info_span!("guarded").entered();
                            let guarded = here().unwrap().serial;
                            yield_taskmap(
                                |inner| {
                                    let _at_home = AtHome::here();
                                    yield_now();
                                    task_of(guarded, inner);
                                    if inner == 1 {
                                        expected(7);
                                    }
                                },
                                0..3,
                            );
                            drop(guard);
                            expect_here(task.serial, "a map that panicked");
                        },
                        0..2,
                    )
                });
                assert_eq!(number, 7);
                expect_here(root, "a panic");
            });
        });
    });
}

fn cancelled(executor: &dyn Executor) {
    collect(|_| {
        let run = |index: usize| {
            let _at_home = AtHome::here();
            let guard = info_span!("guarded").entered();
            let _guarded_at_home = AtHome::here();
            if index == 0 {
                yield_now();
                return;
            }
            yield_taskmap(
                |_| {
                    let _at_home = AtHome::here();
                    loop {
                        checkpoint();
                        sleep(Duration::from_micros(100));
                        yield_now();
                    }
                },
                0..3,
            );
            drop(guard);
        };
        executor.run(|| {
            let _at_home = AtHome::here();
            assert!(taskmap(run, 0..3).race(|()| true).is_some());
        });
    });
}

#[test]
fn a_cancelled_nest_unwinds_in_its_own_spans() {
    within_deadline(|| on_every_backend(cancelled));
}
