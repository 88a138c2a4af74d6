//! Backends that forward batches to others: whole and once, or not at all.

use crate::backends::{candidates, fibers};
use crate::deadline::within_deadline;
use crate::panicking::{caught, message_of};
use yieldtasks::{Batch, DetachedTask, Executor, ExecutorExt, yield_join, yield_taskmap};

/// Forwards batches to an executor by a function.
struct Forward<'a> {
    to: &'a dyn Executor,
    how: fn(&Forward<'_>, &Batch<'_>),
}

impl Executor for Forward<'_> {
    fn size(&self) -> usize {
        self.to.size()
    }

    fn persist(&self) -> bool {
        self.to.persist()
    }

    fn shutdown(&self) {
        self.to.shutdown();
    }

    fn run_batch(&self, batch: &Batch<'_>) {
        (self.how)(self, batch);
    }

    fn spawn(&self, task: DetachedTask) {
        self.to.spawn(task);
    }
}

fn strings() -> Vec<String> {
    (0..4).map(|number| format!("item number {number}")).collect()
}

#[test]
fn a_batch_can_be_forwarded_whole() {
    within_deadline(|| {
        for candidate in candidates() {
            let forward = Forward { to: &*candidate.executor, how: |forward, batch| forward.to.run_batch(batch) };
            assert_eq!(forward.map(|text| yield_taskmap(|x: String| x.len(), [text])[0], strings()), [13; 4]);
        }
    });
}

#[test]
fn a_batch_that_was_begun_or_forwarded_before_is_refused_by_fibers() {
    within_deadline(|| {
        for workers in [1, 2] {
            let fibers = fibers(workers);
            let begun: fn(&Forward<'_>, &Batch<'_>) = |forward, batch| {
                batch.next_task().unwrap().run(forward);
                forward.to.run_batch(batch);
            };
            let twice: fn(&Forward<'_>, &Batch<'_>) = |forward, batch| {
                forward.to.run_batch(batch);
                forward.to.run_batch(batch);
            };
            for how in [begun, twice] {
                let forward = Forward { to: &fibers, how };
                let message = message_of(&*caught(|| forward.map(drop, strings())).unwrap_err());
                assert!(message.contains("handed to another executor"), "{message}");
                let inside = message_of(&*caught(|| fibers.run(|| forward.map(drop, strings()))).unwrap_err());
                assert!(inside.contains("handed to another executor"), "{inside}");
            }
            assert_eq!(fibers.run(|| yield_join(|| 1, || 2)), (1, 2));
        }
    });
}

#[test]
fn a_backend_that_blocks_may_shut_down_the_executor_whose_task_called_it() {
    within_deadline(|| {
        for workers in [1, 2] {
            let fibers = fibers(workers);
            let forward = Forward {
                to: &fibers,
                how: |forward, batch| {
                    forward.to.shutdown();
                    while let Some(task) = batch.next_task() {
                        task.run(forward);
                    }
                },
            };
            assert_eq!(fibers.run(|| forward.map(|x| x, 0..3)), [0, 1, 2]);
        }
    });
}
