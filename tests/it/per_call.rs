//! Executors whose workers live as long as a call.

use crate::backends::WORKERS;
use crate::deadline::{Flag, within_deadline};
use crate::panicking::{expected, expected_panic};
use crate::processes::{expect_threads, threads_named};
use std::sync::Arc;
use std::thread;
use yieldtasks::{Executor, ExecutorExt, FiberExecutor, yield_taskmap};

fn named(name: &str, workers: usize) -> FiberExecutor {
    FiberExecutor::builder().workers(workers).persist(false).thread_name(name).build().unwrap()
}

#[test]
fn executors_say_whether_their_workers_persist() {
    within_deadline(|| {
        for workers in WORKERS {
            let executor = named("says", workers);
            assert!(!executor.persist());
            assert_eq!(executor.size(), workers);
            let executor = FiberExecutor::builder().workers(workers).persist(true).build().unwrap();
            assert!(executor.persist());
            assert_eq!(executor.size(), workers);
        }
        assert!(FiberExecutor::builder().workers(1).build().unwrap().persist(), "they do by default");
    });
}

#[test]
fn persistent_workers_are_there_from_building_to_shutdown() {
    within_deadline(|| {
        for workers in WORKERS {
            let name = format!("lasting{workers}");
            let executor = FiberExecutor::builder().workers(workers).thread_name(&name).build().unwrap();
            assert_eq!(threads_named(&name).len(), workers);
            let before = threads_named(&name).into_iter().map(|thread| thread.id).collect::<Vec<_>>();
            (0..5).for_each(|_| drop(executor.map(|x| x, 0..10)));
            let after = threads_named(&name).into_iter().map(|thread| thread.id).collect::<Vec<_>>();
            assert_eq!(before, after);
            executor.shutdown();
            expect_threads(&name, 0);
        }
    });
}

#[test]
fn workers_of_a_call_are_there_during_the_call_only() {
    within_deadline(|| {
        for workers in WORKERS {
            let name = format!("brief{workers}");
            let executor = named(&name, workers);
            assert_eq!(threads_named(&name).len(), 0);
            for _ in 0..3 {
                executor.map(|_| expect_threads(&name, workers), 0..3);
                expect_threads(&name, 0);
                executor.run(|| expect_threads(&name, workers));
                expect_threads(&name, 0);
            }
        }
    });
}

#[test]
fn nested_calls_use_the_workers_of_the_outermost() {
    within_deadline(|| {
        for workers in WORKERS {
            let name = format!("nested{workers}");
            let executor = named(&name, workers);
            let counts = executor.map(
                |_| {
                    let yielded = yield_taskmap(|_| threads_named(&name).len(), 0..3);
                    let mapped = executor.map(|_| executor.run(|| threads_named(&name).len()), 0..3);
                    [yielded, mapped].concat()
                },
                0..3,
            );
            assert_eq!(counts.concat(), [workers; 18]);
        }
    });
}

#[test]
fn calls_at_the_same_time_have_workers_of_their_own() {
    within_deadline(|| {
        let executor = named("concurrent", 1);
        let (first, second) = (Flag::new(), Flag::new());
        thread::scope(|scope| {
            // On a single worker, neither could wait for the other like this.
            scope.spawn(|| {
                executor.run(|| {
                    first.raise();
                    second.spin("the other call runs");
                });
            });
            executor.run(|| {
                second.raise();
                first.spin("the other call runs");
            });
        });
        expect_threads("concurrent", 0);
    });
}

#[test]
fn a_panic_ends_the_workers_of_its_call() {
    within_deadline(|| {
        let executor = named("panics", 2);
        assert_eq!(expected_panic(|| executor.map(|x| if x == 1 { expected(x) } else { x }, 0..4)), 1);
        expect_threads("panics", 0);
        assert_eq!(executor.map(|x| x, 0..2), [0, 1]);
    });
}

#[test]
fn submitted_tasks_have_workers_until_they_end() {
    within_deadline(|| {
        for workers in WORKERS {
            let name = format!("submit{workers}");
            let executor = named(&name, workers);
            let go_on = Arc::new(Flag::new());
            let handle = executor.submit({
                let go_on = Arc::clone(&go_on);
                move || {
                    go_on.spin("the test goes on");
                    yield_taskmap(|x| x * x, 0..3)
                }
            });
            expect_threads(&name, workers);
            assert!(!handle.is_finished());
            go_on.raise();
            assert_eq!(handle.join().unwrap(), [0, 1, 4]);
            expect_threads(&name, 0);
            assert_eq!(executor.submit(|| 5).join().unwrap(), 5);
        }
    });
}

#[test]
fn dropping_the_executor_waits_for_submitted_tasks() {
    within_deadline(|| {
        let ended = Arc::new(Flag::new());
        let executor = named("drops", 2);
        drop(executor.submit({
            let ended = Arc::clone(&ended);
            move || {
                yield_taskmap(|_| yield_taskmap(|_| (), 0..20), 0..20);
                ended.raise();
            }
        }));
        drop(executor);
        assert!(ended.is_raised());
        expect_threads("drops", 0);
    });
}

#[test]
fn an_empty_map_starts_nothing() {
    within_deadline(|| {
        let executor = named("empty", 2);
        assert_eq!(executor.map(|x: u8| x, []), [0_u8; 0]);
        assert_eq!(threads_named("empty").len(), 0);
    });
}
