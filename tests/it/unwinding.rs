//! While its thread unwinds, a fiber must not suspend: what its destructors call runs inline, in order.

use crate::backends::{Kind, WORKERS, candidates, fibers, on_every_backend};
use crate::deadline::{Flag, within_deadline};
use crate::panicking::{caught, expected, expected_panic, number_of};
use std::sync::{Arc, Mutex};
use std::thread;
use yieldtasks::{
    ErrorKind, Executor, ExecutorExt, SerialExecutor, TaskHandle, ThreadPerTaskExecutor, yield_join, yield_now,
    yield_starmap, yield_taskmap, yield_taskwrap,
};

/// Calls a function when dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Panics as a task of `executor` whose destructors call `f` meanwhile, with siblings that have work to do.
fn unwind_through(executor: &dyn Executor, f: impl Fn() + Sync) {
    let number = expected_panic(|| {
        executor.map(
            |idx| {
                let _on_drop = (idx == 1).then(|| {
                    OnDrop(|| {
                        assert!(thread::panicking());
                        f();
                    })
                });
                yield_taskmap(|x| x + 1, 0..3);
                if idx == 1 {
                    expected(idx);
                }
            },
            0..4,
        )
    });
    assert_eq!(number, 1);
    assert_eq!(executor.map(|x| yield_taskmap(|y| x + y, 0..2), 0..2), [[0, 1], [1, 2]]);
}

#[test]
fn every_function_gives_its_results_while_unwinding() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let sink = Mutex::new(Vec::new());
            unwind_through(executor, || {
                let map = yield_taskmap(|x| yield_taskmap(|y| 10 * x + y, 0..2), 1..3);
                let starmap = yield_starmap(|a: u32, b: u32| a * b, [(6, 7)]);
                let (left, right) = yield_join(|| yield_taskwrap(|| 1), || 2);
                yield_now();
                let nested = executor.map(|x| x + 5, [1]);
                sink.lock().unwrap().push((map, starmap, left, right, nested));
            });
            let expected = (vec![vec![10, 11], vec![20, 21]], vec![42], 1, 2, vec![6]);
            assert_eq!(sink.into_inner().unwrap(), [expected]);
        });
    });
}

#[test]
fn fibers_run_such_maps_inline_and_in_order() {
    within_deadline(|| {
        for candidate in candidates().filter(|candidate| candidate.kind == Kind::Fibers) {
            let order = Mutex::new(Vec::new());
            unwind_through(&*candidate.executor, || {
                let here = thread::current().id();
                yield_taskmap(
                    |x| {
                        yield_taskmap(|y| order.lock().unwrap().push((x, y)), 0..3);
                        assert_eq!(thread::current().id(), here);
                        assert!(thread::panicking());
                    },
                    0..3,
                );
                yield_join(|| order.lock().unwrap().push((8, 8)), || order.lock().unwrap().push((9, 9)));
            });
            let nine = (0..3).flat_map(|x| (0..3).map(move |y| (x, y)));
            assert_eq!(order.into_inner().unwrap(), nine.chain([(8, 8), (9, 9)]).collect::<Vec<_>>());
        }
    });
}

#[test]
fn a_panic_in_such_a_map_can_be_caught_in_the_destructor() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let sink = Mutex::new(Vec::new());
            unwind_through(executor, || {
                let map = caught(|| yield_taskmap(|x| if x == 2 { expected(50 + x) } else { x }, 0..4));
                sink.lock().unwrap().push(number_of(map.unwrap_err()));
            });
            assert_eq!(sink.into_inner().unwrap(), [52]);
        });
    });
}

#[test]
fn other_executors_give_their_results_while_unwinding() {
    within_deadline(|| {
        for other in candidates() {
            for workers in WORKERS {
                let sink = Mutex::new(Vec::new());
                unwind_through(&fibers(workers), || {
                    let map = other.executor.map(|x| yield_taskmap(|y| x * y, 0..3), 1..3);
                    sink.lock().unwrap().push((map, other.executor.run(|| 5)));
                });
                assert_eq!(sink.into_inner().unwrap(), [(vec![vec![0, 1, 2], vec![0, 2, 4]], 5)]);
            }
        }
    });
}

#[test]
fn handles_of_unended_tasks_refuse_to_be_joined_while_unwinding() {
    within_deadline(|| {
        for workers in WORKERS {
            let (executor, other) = (fibers(workers), fibers(1));
            let go_on = Arc::new(Flag::new());
            let unended = {
                let go_on = Arc::clone(&go_on);
                other.submit(move || go_on.spin("the destructor has been left"))
            };
            let ended = executor.submit(|| 6);
            while !ended.is_finished() {
                thread::yield_now();
            }
            let handles = Mutex::new(Some((unended, ended)));
            let outcomes = Mutex::new(None);
            unwind_through(&executor, || {
                let (unended, ended) = handles.lock().unwrap().take().unwrap();
                *outcomes.lock().unwrap() = Some((TaskHandle::join(unended), ended.join()));
            });
            go_on.raise();
            let (unended, ended) = outcomes.into_inner().unwrap().unwrap();
            let unended = unended.unwrap_err();
            assert_eq!(unended.kind(), ErrorKind::Unwinding);
            assert!(unended.to_string().contains("unwind"));
            assert_eq!(ended.unwrap(), 6);
        }
    });
}

#[test]
fn an_executor_can_be_built_used_and_dropped_while_unwinding() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let sink = Mutex::new(Vec::new());
            unwind_through(executor, || {
                let fresh = fibers(2);
                sink.lock().unwrap().extend(fresh.map(|x| x + 1, 0..3));
                drop(fresh);
            });
            assert_eq!(sink.into_inner().unwrap(), [1, 2, 3]);
        });
    });
}

#[test]
fn a_panic_that_unwinds_many_fibers_runs_the_destructors_of_each() {
    fn deepen(depth: usize, log: &Mutex<Vec<usize>>) {
        let _on_drop = OnDrop(|| log.lock().unwrap().push(yield_taskmap(|x| x, 0..depth).len()));
        if depth == 0 {
            expected(0);
        }
        yield_taskmap(|_| deepen(depth - 1, log), [()]);
    }

    within_deadline(|| {
        on_every_backend(|executor| {
            let log = Mutex::new(Vec::new());
            assert_eq!(expected_panic(|| executor.run(|| deepen(6, &log))), 0);
            assert_eq!(log.into_inner().unwrap(), [0, 1, 2, 3, 4, 5, 6]);
        });
    });
}

#[test]
fn a_thread_that_unwinds_outside_any_task_waits_as_usual() {
    within_deadline(|| {
        let executors: [Box<dyn Executor>; 3] =
            [Box::new(fibers(2)), Box::new(SerialExecutor::new()), Box::new(ThreadPerTaskExecutor::new())];
        for executor in executors {
            let sink = Mutex::new(Vec::new());
            let number = expected_panic(|| {
                let _on_drop = OnDrop(|| {
                    sink.lock().unwrap().extend(executor.map(|x| yield_taskmap(|y| x + y, 0..2), 0..2));
                    assert_eq!(executor.submit(|| 3).join().unwrap(), 3);
                    assert_eq!(yield_taskmap(|x| x, [1, 2]), [1, 2]);
                });
                expected(9)
            });
            assert_eq!(number, 9);
            assert_eq!(sink.into_inner().unwrap(), [[0, 1], [1, 2]]);
        }
    });
}
