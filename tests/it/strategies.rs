//! What each of the crate's backends does with a nest, seen from the threads that its tasks run on.

use crate::backends::WORKERS;
use crate::deadline::within_deadline;
use std::collections::HashSet;
use std::sync::Mutex;
use std::thread::{self, ThreadId};
use yieldtasks::{
    Executor, ExecutorExt, FlatExecutor, SerialExecutor, ThreadPerTaskExecutor, yield_join, yield_taskmap,
    yield_taskwrap,
};

/// The thread that the calling task runs on.
fn here() -> ThreadId {
    thread::current().id()
}

/// Whether that is a worker of a flat executor.
fn in_pool() -> bool {
    thread::current().name().is_some_and(|name| name.starts_with("flat-"))
}

#[test]
fn the_serial_executor_runs_everything_in_order_on_the_calling_thread() {
    within_deadline(|| {
        let executor = SerialExecutor::new();
        let (order, caller) = (Mutex::new(Vec::new()), here());
        let note = |event: (u32, u32)| {
            assert_eq!(here(), caller);
            order.lock().unwrap().push(event);
        };
        executor.map(
            |x| {
                note((x, 0));
                yield_taskmap(|y| note((x, y)), 1..3);
                yield_join(|| note((x, 3)), || note((x, 4)));
                yield_taskwrap(|| note((x, 5)));
            },
            0..3,
        );
        let handle = executor.submit(here);
        assert!(handle.is_finished());
        assert_eq!(handle.join().unwrap(), caller);
        let expected: Vec<_> = (0..3).flat_map(|x| (0..6).map(move |y| (x, y))).collect();
        assert_eq!(order.into_inner().unwrap(), expected);
        assert_eq!(executor.size(), 1);
    });
}

#[test]
fn the_thread_per_task_executor_runs_every_task_on_a_thread_of_its_own() {
    within_deadline(|| {
        let executor = ThreadPerTaskExecutor::new();
        let threads = Mutex::new(vec![here()]);
        let note = || threads.lock().unwrap().push(here());
        executor.map(
            |_| {
                note();
                yield_taskmap(|_| note(), 0..3);
                yield_join(note, note);
            },
            0..4,
        );
        executor.submit(here).join().map(|thread| threads.lock().unwrap().push(thread)).unwrap();
        let threads = threads.into_inner().unwrap();
        assert_eq!(threads.len(), 2 + 4 * 6);
        assert_eq!(threads.iter().collect::<HashSet<_>>().len(), threads.len());
    });
}

#[test]
fn a_flat_executor_runs_the_outermost_level_on_its_pool_and_the_others_inline() {
    within_deadline(|| {
        for workers in WORKERS {
            let executor = FlatExecutor::new(workers).unwrap();
            assert_eq!((executor.size(), executor.persist()), (workers, true));
            let outer = |_: u8| {
                assert!(in_pool());
                let own = here();
                let inner = yield_taskmap(|_| (here(), yield_taskmap(|_| here(), 0..2)), 0..3);
                assert!(inner.into_iter().all(|(thread, below)| thread == own && below == [own; 2]));
            };
            executor.map(outer, 0..8);
            // Another map of the same executor is the next level as well.
            executor.map(
                |_| {
                    let own = here();
                    assert_eq!(executor.map(|_| here(), 0..3), [own; 3]);
                },
                0..3,
            );
        }
    });
}

#[test]
fn a_flat_executor_runs_the_level_it_was_given_on_its_pool_and_the_others_inline() {
    within_deadline(|| {
        for workers in WORKERS {
            let executor = FlatExecutor::new(workers).unwrap().level(1);
            let caller = here();
            executor.map(
                |_| {
                    assert_eq!(here(), caller, "level 0 is inline");
                    yield_taskmap(
                        |_| {
                            assert!(in_pool(), "level 1 is on the pool");
                            let own = here();
                            yield_taskmap(|_| assert_eq!(here(), own, "level 2 is inline"), 0..3);
                        },
                        0..4,
                    );
                },
                0..3,
            );
        }
    });
}

#[test]
fn a_flat_executor_treats_a_submitted_task_like_one_that_is_run() {
    /// Whether the frame at `address` is on the stack of the caller. Stacks are further apart.
    fn is_near(address: usize) -> bool {
        let here = 0_u8;
        (&raw const here).addr().abs_diff(address) < 256 * 1024
    }

    within_deadline(|| {
        for workers in WORKERS {
            let executor = FlatExecutor::new(workers).unwrap();
            let all_inline = || {
                let root = 0_u8;
                let address = (&raw const root).addr();
                let below = yield_taskmap(|_| yield_taskmap(|_| is_near(address), 0..3), 0..3);
                below.into_iter().flatten().all(|inline| inline)
            };
            assert!(executor.run(all_inline));
            assert!(executor.submit(all_inline).join().unwrap(), "a submitted task is of level 0 too");
        }
    });
}
