//! A task that never stops making batches or giving way does not keep the others from their turn.

use crate::backends::{WORKERS, fibers, on_every_backend};
use crate::deadline::{Flag, within_deadline};
use std::sync::Arc;
use std::time::Duration;
use yieldtasks::{ErrorKind, Executor, ExecutorExt, FlatExecutor, yield_join, yield_now, yield_taskmap};

/// Maps until the flag is raised.
fn map_until(flag: &Flag) {
    while !flag.is_raised() {
        assert_eq!(yield_taskmap(|x| x, 0..3), [0, 1, 2]);
    }
}

#[test]
fn a_submitted_task_gets_in_between_the_maps_of_a_loop() {
    within_deadline(|| {
        for workers in WORKERS {
            let executor = fibers(workers);
            executor.run(|| {
                let flag = Arc::new(Flag::new());
                let theirs = Arc::clone(&flag);
                let handle = executor.submit(move || theirs.raise());
                map_until(&flag);
                handle.join().unwrap();
            });
        }
    });
}

#[test]
fn a_task_that_yielded_gets_in_between_the_maps_of_a_loop() {
    within_deadline(|| {
        for workers in WORKERS {
            let (waiting, answered) = (Flag::new(), Flag::new());
            let answer = || {
                while !waiting.is_raised() {
                    yield_now();
                }
                answered.raise();
            };
            let ask = || {
                waiting.raise();
                map_until(&answered);
            };
            fibers(workers).run(|| yield_join(answer, ask));
        }
    });
}

#[test]
fn a_task_of_the_parallel_level_that_yields_lets_its_siblings_run() {
    within_deadline(|| {
        for workers in WORKERS {
            let executor: Box<dyn Executor> = Box::new(FlatExecutor::new(workers).unwrap());
            let last_runs = Flag::new();
            executor.map(
                |idx| {
                    if idx == 2 {
                        last_runs.raise();
                    }
                    while !last_runs.is_raised() {
                        yield_now();
                    }
                },
                0..3,
            );
        }
    });
}

#[test]
fn tasks_that_give_way_for_ever_are_stopped_by_a_deadline() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let endless = |_: usize| -> u8 {
                loop {
                    yield_now();
                }
            };
            let nest = executor.taskmap(|_| yield_taskmap(endless, 0..2), 0..2).deadline(Duration::from_millis(20));
            assert_eq!(nest.try_run().unwrap_err().kind(), ErrorKind::DeadlineExceeded);
        });
    });
}
