//! Backends written outside the crate: what a batch tells them, and what becomes of their mistakes.

use crate::deadline::within_deadline;
use crate::panicking::{caught, expected, message_of, number_of};
use std::mem::ManuallyDrop;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use yieldtasks::{
    Batch, DetachedTask, ErrorKind, Executor, ExecutorExt, SerialExecutor, Task, yield_join, yield_taskmap,
    yield_taskwrap,
};

/// Runs batches by a function.
struct By<F>(F);

impl<F: Fn(&dyn Executor, &Batch<'_>) + Send + Sync> Executor for By<F> {
    fn size(&self) -> usize {
        7
    }

    fn persist(&self) -> bool {
        true
    }

    fn shutdown(&self) {}

    fn run_batch(&self, batch: &Batch<'_>) {
        (self.0)(self, batch);
    }

    fn spawn(&self, task: DetachedTask) {
        drop(task);
    }
}

/// For the inference of the closure's parameters.
fn by<F: Fn(&dyn Executor, &Batch<'_>) + Send + Sync>(run: F) -> By<F> {
    By(run)
}

fn all<'a>(batch: &Batch<'a>) -> Vec<Task<'a>> {
    std::iter::from_fn(|| batch.next_task()).collect()
}

#[test]
fn a_batch_tells_its_length_its_level_and_the_places_of_its_tasks() {
    within_deadline(|| {
        let seen = Mutex::new(Vec::new());
        let executor = by(|executor, batch| {
            seen.lock().unwrap().push((batch.level(), batch.len()));
            let tasks = all(batch);
            assert!(tasks.iter().map(Task::index).eq(0..batch.len()));
            assert!(batch.next_task().is_none());
            tasks.into_iter().for_each(|task| task.run(executor));
        });
        let nested = executor.map(|x| yield_taskmap(|y| yield_taskwrap(|| x + y), 0..2), 0..3);
        assert_eq!(nested, [[0, 1], [1, 2], [2, 3]]);
        executor.run(|| yield_join(|| (), || ()));
        let below_one = [(1, 2), (2, 1), (2, 1)];
        let expected = [&[(0, 3)][..], &below_one, &below_one, &below_one, &[(0, 1), (1, 2)]].concat();
        assert_eq!(seen.into_inner().unwrap(), expected);
    });
}

#[test]
fn tasks_may_be_run_in_any_order() {
    within_deadline(|| {
        let order = Mutex::new(Vec::new());
        let backwards = by(|executor, batch| all(batch).into_iter().rev().for_each(|task| task.run(executor)));
        let mapped = backwards.map(
            |x| {
                order.lock().unwrap().push(x);
                x * 10
            },
            0..4,
        );
        assert_eq!(mapped, [0, 10, 20, 30]);
        assert_eq!(order.into_inner().unwrap(), [3, 2, 1, 0]);
        let panics = caught(|| backwards.map(|x| if x < 2 { expected(x) } else { x }, 0..4));
        assert_eq!(number_of(panics.unwrap_err()), 1, "the other had not started");
    });
}

#[test]
fn a_task_dropped_without_being_run_makes_the_call_panic() {
    within_deadline(|| {
        let drops_one = by(|executor, batch| {
            for task in all(batch) {
                if task.index() == 1 { drop(task) } else { task.run(executor) }
            }
        });
        let ran = AtomicUsize::new(0);
        let map = || drops_one.map(|_| ran.fetch_add(1, Ordering::Relaxed), vec![Box::new(1); 5]);
        let message = message_of(&*caught(map).unwrap_err());
        assert!(message.contains("dropped a task"), "{message}");
        let never_asks = by(|_, _| ());
        let message = message_of(&*caught(|| never_asks.map(|x: String| x, [String::from("a")])).unwrap_err());
        assert!(message.contains("dropped a task"), "{message}");
        let join = caught(|| never_asks.run(|| 5));
        assert!(message_of(&*join.unwrap_err()).contains("dropped a task"));
    });
}

#[test]
fn a_panic_of_a_task_goes_before_a_dropped_one() {
    within_deadline(|| {
        let drops_the_first = by(|executor, batch| {
            let mut tasks = all(batch).into_iter();
            let first = tasks.next();
            tasks.for_each(|task| task.run(executor));
            drop(first);
        });
        let map = caught(|| drops_the_first.map(|x| if x == 2 { expected(x) } else { x }, 0..4));
        assert_eq!(number_of(map.unwrap_err()), 2);
    });
}

#[test]
fn a_task_that_is_forgotten_makes_the_call_panic_instead_of_hanging() {
    within_deadline(|| {
        let forgets = by(|executor, batch| {
            for task in all(batch) {
                if task.index() == 0 {
                    let _forgotten = ManuallyDrop::new(task);
                } else {
                    task.run(executor);
                }
            }
        });
        let message = message_of(&*caught(|| forgets.map(|x| x, 0..3)).unwrap_err());
        assert!(message.contains("before every task"), "{message}");
    });
}

#[test]
fn a_backend_that_panics_passes_its_panic_to_the_call() {
    within_deadline(|| {
        let fails = by(|executor, batch| {
            batch.next_task().into_iter().for_each(|task| task.run(executor));
            expected(66)
        });
        let drops = AtomicUsize::new(0);

        struct CountsDrops<'a>(&'a AtomicUsize);

        impl Drop for CountsDrops<'_> {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }

        let items: Vec<_> = (0..20).map(|_| CountsDrops(&drops)).collect();
        assert_eq!(number_of(caught(|| fails.map(|item| item, items)).map(|_| ()).unwrap_err()), 66);
        assert_eq!(drops.load(Ordering::Relaxed), 20);
    });
}

#[test]
fn a_detached_task_that_is_dropped_tells_its_handle() {
    within_deadline(|| {
        let handle = by(|_, _| ()).submit(|| 1);
        assert!(handle.is_finished());
        assert_eq!(handle.join().unwrap_err().kind(), ErrorKind::ShutDown);
    });
}

#[test]
fn a_backend_may_hand_its_tasks_to_another() {
    within_deadline(|| {
        let fibers = crate::backends::fibers(2);
        let forwards = by(|executor, batch| {
            // The tasks become items of a map of the other backend, and keep this one as theirs.
            fibers.map(|task: Task<'_>| task.run(executor), all(batch));
        });
        let nested = forwards.map(|x| yield_taskmap(|y| x * y, 0..3), 0..3);
        assert_eq!(nested, [[0, 0, 0], [0, 1, 2], [0, 2, 4]]);
        let serial = SerialExecutor::new();
        assert_eq!(fibers.map(|x| serial.map(|y| forwards.run(|| x + y), 0..2), 0..2), [[0, 1], [1, 2]]);
    });
}
