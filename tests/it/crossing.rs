//! Executors called inside the tasks of executors.

use crate::backends::{
    BACKENDS, Kind, WORKERS, candidates, fibers, fibers_for_a_call, on_every_backend, on_fibers_that_interleave,
};
use crate::deadline::{Flag, doing, within_deadline};
use crate::panicking::{expected, expected_panic};
use std::sync::Arc;
use std::thread;
use yieldtasks::{
    Backend, ErrorKind, Executor, ExecutorExt, FiberExecutor, SerialExecutor, ThreadPerTaskExecutor, yield_join,
    yield_now, yield_taskmap,
};

/// Two executors call each other, `depth` deep.
fn ping_pong(here: &dyn Executor, there: &dyn Executor, depth: usize) -> usize {
    if depth == 0 {
        return 0;
    }
    let below = there.map(|_| ping_pong(there, here, depth - 1), [()]);
    1 + yield_taskmap(|x| x, below)[0]
}

#[test]
fn two_executors_of_one_worker_call_each_other_twenty_deep() {
    within_deadline(|| {
        let (here, there) = (fibers(1), fibers(1));
        assert_eq!(here.run(|| ping_pong(&here, &there, 20)), 20);
        assert_eq!(ping_pong(&here, &there, 200), 200);
        let (here, there) = (fibers_for_a_call(1), fibers_for_a_call(1));
        assert_eq!(here.run(|| ping_pong(&here, &there, 20)), 20);
    });
}

#[test]
fn many_such_calls_at_once_end() {
    fn fan_out(here: &dyn Executor, there: &dyn Executor, depth: usize) -> usize {
        if depth == 0 {
            return 1;
        }
        there.map(|_| fan_out(there, here, depth - 1), 0..3).iter().sum()
    }

    within_deadline(|| {
        for workers in WORKERS {
            let (here, there) = (fibers(workers), fibers(1));
            assert_eq!(here.run(|| fan_out(&here, &there, 6)), 729);
        }
    });
}

#[test]
fn every_pair_of_backends_can_be_nested_in_each_other() {
    within_deadline(|| {
        for &(outer, _, build_outer) in BACKENDS {
            for &(inner, _, build_inner) in BACKENDS {
                for workers in [1, 2] {
                    doing(&format!("{inner} in {outer}, {workers} workers"));
                    let (a, b) = (build_outer(workers), build_inner(workers));
                    // Each level also calls the functions that go to whatever executor runs the task.
                    let nested = a.map(
                        |x| {
                            let there = b.map(
                                |y| {
                                    let back = a.map(|z| yield_taskmap(|w| x + y + z + w, 0..2), 0..2);
                                    (yield_taskmap(|row: Vec<i32>| row.iter().sum::<i32>(), back), b.run(|| y))
                                },
                                0..3,
                            );
                            yield_taskmap(|(sums, y): (Vec<i32>, i32)| sums[0] + sums[1] + y, there)
                        },
                        0..2,
                    );
                    let expected = |x: i32| (0..3).map(|y| 4 * x + 5 * y + 4).collect::<Vec<_>>();
                    assert_eq!(nested, [expected(0), expected(1)], "{inner} in {outer}, {workers} workers");
                }
            }
        }
    });
}

#[test]
fn panics_cross_executors_with_their_payload() {
    within_deadline(|| {
        on_every_backend(|outer| {
            on_every_backend(|inner| {
                let through = |x: usize| inner.map(|y| if y == 1 { expected(x) } else { y }, 0..3);
                assert_eq!(expected_panic(|| outer.map(|x| yield_taskmap(through, [x]), [8])), 8);
            });
        });
    });
}

#[test]
fn a_map_of_the_tasks_own_executor_is_a_nested_map() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let sums = executor.map(|x| executor.map(|y| executor.run(|| x + y), 0..3).iter().sum::<i32>(), 0..3);
            assert_eq!(sums, [3, 6, 9]);
        });
    });
}

#[test]
fn executors_behind_any_pointer_are_the_same_executor() {
    fn nested<E: Executor + ?Sized>(executor: &E) {
        let sums = executor.map(|x| executor.map(|y| x + y, 0..2).iter().sum::<i32>(), 0..2);
        assert_eq!(sums, [1, 3]);
        assert_eq!(executor.starmap(|x: u8, y: u8| x + y, [(1, 2)]), [3]);
        assert_eq!(executor.submit(|| 4).join().unwrap(), 4);
        assert_eq!(executor.run(|| 5), 5);
    }

    within_deadline(|| {
        let counted: Arc<FiberExecutor> = Arc::new(fibers(1));
        nested(&counted);
        nested(&*counted);
        nested(&&*counted);
        let erased: Arc<dyn Executor> = counted.clone();
        nested(&erased);
        let boxed: Box<dyn Executor> = Box::new(erased);
        nested(&boxed);
        nested(&*boxed);
        assert_eq!((boxed.size(), boxed.persist()), (1, true));
        // Two ways to name one executor of one worker: what it is told by the one is known by the other.
        let through_another_name = counted.map(|x| boxed.map(|y| x + y, [1])[0], [1]);
        assert_eq!(through_another_name, [2]);
        boxed.shutdown();
        assert_eq!(counted.submit(|| 1).join().unwrap_err().kind(), ErrorKind::ShutDown);
    });
}

#[test]
fn a_task_that_waits_for_another_executor_leaves_its_worker_to_its_siblings() {
    within_deadline(|| {
        for other in candidates().filter(|other| other.kind != Kind::Inline) {
            on_fibers_that_interleave(|executor, _| {
                let sibling_ran = Flag::new();
                let waits = || other.executor.run(|| sibling_ran.spin("the sibling runs"));
                executor.run(|| yield_join(waits, || sibling_ran.raise()));
                let sibling_ran = Flag::new();
                let wide = || other.executor.map(|_| sibling_ran.spin("the sibling runs"), 0..3);
                executor.run(|| yield_join(wide, || sibling_ran.raise()));
            });
        }
    });
}

#[test]
fn a_task_comes_back_to_its_own_thread_and_executor_from_another() {
    within_deadline(|| {
        on_every_backend(|other| {
            let executor = fibers(2);
            let check = |x: usize| {
                let before = thread::current().id();
                let there = other.map(|_| thread::current().id(), 0..3);
                assert_eq!(thread::current().id(), before);
                let names = yield_taskmap(|_| thread::current().name().map(str::to_owned), 0..2);
                assert!(names.iter().flatten().all(|name| name.starts_with("yieldtasks-")), "{names:?}");
                x + there.len()
            };
            assert_eq!(executor.map(check, 0..6), [3, 4, 5, 6, 7, 8]);
        });
    });
}

#[test]
fn serial_and_threaded_code_inside_a_fiber_waits_by_suspending() {
    within_deadline(|| {
        // The task of the serial executor runs on the fiber, so what it waits for must not block the worker.
        let (executor, other) = (fibers(1), fibers(1));
        for _ in 0..10 {
            let sibling_ran = Flag::new();
            let serial = SerialExecutor::new();
            let waits = || serial.run(|| other.run(|| sibling_ran.spin("the sibling runs")));
            executor.run(|| yield_join(waits, || sibling_ran.raise()));
            let threads = ThreadPerTaskExecutor::new();
            let back = executor.run(|| threads.map(|x| executor.map(|y| x + y, 0..2), 0..2));
            assert_eq!(back, [[0, 1], [1, 2]]);
        }
    });
}

#[test]
fn backends_chosen_by_name_conform_too() {
    within_deadline(|| {
        for backend in Backend::all() {
            for workers in WORKERS {
                let executor = backend.build(workers).unwrap();
                let cube = executor.map(|x| yield_taskmap(|y| yield_taskmap(|z| x + y + z, 0..2), 0..2), 0..2);
                assert_eq!(cube, [[[0, 1], [1, 2]], [[1, 2], [2, 3]]], "{backend}");
            }
        }
    });
}

/// Raises the flag when it is dropped.
struct Raising(Arc<Flag>);

impl Drop for Raising {
    fn drop(&mut self) {
        self.0.raise();
    }
}

#[test]
fn a_task_that_never_started_may_own_an_executor_whose_end_is_waited_for() {
    within_deadline(|| {
        for workers in WORKERS {
            let executor = fibers(workers);
            executor.run(|| {
                for round in 0..10 {
                    let other = fibers(1);
                    other.run(|| ());
                    let dropped = Arc::new(Flag::new());
                    // Dropped in this order.
                    let owned = (other, Raising(Arc::clone(&dropped)));
                    let handle = executor.submit(move || drop(owned));
                    handle.cancel();
                    while !dropped.is_raised() {
                        yield_now();
                    }
                    // On the fiber that has just waited.
                    assert_eq!(yield_join(|| round, || round + 1), (round, round + 1));
                    handle.detach();
                }
            });
        }
    });
}
