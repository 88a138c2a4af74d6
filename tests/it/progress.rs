//! Nothing that could run waits for something that need not end first.

use crate::backends::{Kind, candidates, fibers, on_fibers_that_interleave};
use crate::deadline::{Flag, spin_until, within_deadline};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use yieldtasks::{Executor, ExecutorExt, yield_join, yield_now, yield_taskmap, yield_taskwrap};

/// Runs a batch in which the tasks at `long` end only after all others have. They spin without giving way.
fn with_long_tasks(width: usize, long: &[usize]) -> impl Fn() + Sync + '_ {
    move || {
        let short_ended = AtomicUsize::new(0);
        yield_taskmap(
            |idx| {
                if long.contains(&idx) {
                    spin_until("the siblings of a long task run", || {
                        short_ended.load(Ordering::Acquire) == width - long.len()
                    });
                } else {
                    short_ended.fetch_add(1, Ordering::AcqRel);
                }
            },
            0..width,
        );
    }
}

/// Fiber executors with more than one worker.
fn several_workers(check: impl Fn(&dyn Executor, usize)) {
    let candidates = candidates().filter(|candidate| candidate.kind == Kind::Fibers && candidate.workers > 1);
    candidates.for_each(|candidate| check(&*candidate.executor, candidate.workers));
}

#[test]
fn a_long_task_anywhere_in_a_batch_keeps_no_sibling_from_running() {
    within_deadline(|| {
        several_workers(|executor, _| {
            for width in [2, 3, 6, 9] {
                for position in 0..width {
                    executor.run(with_long_tasks(width, &[position]));
                }
            }
        });
    });
}

#[test]
fn as_many_long_tasks_as_workers_but_one_keep_no_sibling_from_running() {
    within_deadline(|| {
        several_workers(|executor, workers| {
            let width = 8;
            for first in 0..width {
                let scattered: Vec<_> = (0..workers - 1).map(|step| (first + 3 * step) % width).collect();
                executor.run(with_long_tasks(width, &scattered));
                let adjacent: Vec<_> = (0..workers - 1).map(|step| (first + step) % width).collect();
                executor.run(with_long_tasks(width, &adjacent));
            }
        });
    });
}

#[test]
fn a_long_task_in_an_inner_batch_keeps_no_sibling_from_running() {
    within_deadline(|| {
        several_workers(|executor, _| {
            for position in 0..5 {
                for outer in 0..3 {
                    executor.map(
                        |idx| {
                            let long: &[usize] = if idx == outer { &[position] } else { &[] };
                            yield_taskwrap(|| with_long_tasks(5, long)());
                            with_long_tasks(4, &[])();
                        },
                        0..3,
                    );
                }
            }
        });
    });
}

#[test]
fn a_long_task_in_a_large_batch_keeps_no_sibling_from_running() {
    within_deadline(|| {
        several_workers(|executor, _| {
            for position in [0, 1, 4999, 5000, 7500, 9998, 9999] {
                executor.run(with_long_tasks(10_000, &[position]));
            }
        });
    });
}

#[test]
fn the_second_half_of_a_join_starts_while_the_first_runs() {
    within_deadline(|| {
        several_workers(|executor, _| {
            for _ in 0..50 {
                let (left, right) = (Flag::new(), Flag::new());
                let meet = |mine: &Flag, theirs: &Flag| {
                    mine.raise();
                    theirs.spin("the other half of the join runs");
                };
                executor.run(|| yield_join(|| meet(&left, &right), || meet(&right, &left)));
            }
        });
    });
}

#[test]
fn a_task_that_gives_way_can_wait_for_any_sibling() {
    within_deadline(|| {
        on_fibers_that_interleave(|executor, _| {
            for width in [2, 5, 20] {
                for awaited in 0..width {
                    let ended = Flag::new();
                    executor.map(
                        |idx| {
                            if idx == awaited {
                                ended.raise();
                            }
                            while !ended.is_raised() {
                                yield_now();
                            }
                        },
                        0..width,
                    );
                }
            }
        });
    });
}

#[test]
fn tasks_that_give_way_take_turns() {
    within_deadline(|| {
        on_fibers_that_interleave(|executor, _| {
            let turn = AtomicUsize::new(0);
            executor.map(
                |idx| {
                    for round in 0..5 {
                        while turn.load(Ordering::Acquire) != round * 4 + idx {
                            yield_now();
                        }
                        turn.fetch_add(1, Ordering::AcqRel);
                    }
                },
                0..4,
            );
            assert_eq!(turn.into_inner(), 20);
        });
    });
}

#[test]
fn a_task_that_gives_way_can_wait_for_one_submitted_to_its_own_executor() {
    within_deadline(|| {
        on_fibers_that_interleave(|executor, _| {
            executor.run(|| {
                let raised = Arc::new(Flag::new());
                let handle = executor.submit({
                    let raised = Arc::clone(&raised);
                    move || raised.raise()
                });
                while !raised.is_raised() {
                    yield_now();
                }
                assert!(handle.join().is_ok());
            });
        });
    });
}

#[test]
fn a_task_that_gives_way_can_wait_for_one_submitted_from_outside() {
    within_deadline(|| {
        on_fibers_that_interleave(|executor, _| {
            let (waits, raised) = (Arc::new(Flag::new()), Arc::new(Flag::new()));
            let waiting = executor.submit({
                let (waits, raised) = (Arc::clone(&waits), Arc::clone(&raised));
                move || {
                    waits.raise();
                    while !raised.is_raised() {
                        yield_now();
                    }
                }
            });
            waits.spin("the waiting task runs");
            executor.run(|| raised.raise());
            assert!(waiting.join().is_ok());
        });
    });
}

#[test]
fn a_task_that_gives_way_can_wait_for_the_children_of_another() {
    within_deadline(|| {
        on_fibers_that_interleave(|executor, _| {
            let ended = AtomicUsize::new(0);
            let waits = || {
                while ended.load(Ordering::Acquire) < 9 {
                    yield_now();
                }
            };
            let works = || {
                yield_taskmap(
                    |_| {
                        yield_taskmap(
                            |_| {
                                yield_now();
                                ended.fetch_add(1, Ordering::AcqRel)
                            },
                            0..3,
                        )
                    },
                    0..3,
                )
            };
            executor.run(|| yield_join(waits, works));
        });
    });
}

#[test]
fn a_ready_fiber_goes_before_a_task_that_has_not_started() {
    within_deadline(|| {
        // A task that waits for another executor is made ready while its sibling runs. A second task of that executor's
        // one worker tells when that has happened.
        let (here, there) = (fibers(1), fibers(1));
        for _ in 0..20 {
            let order = Mutex::new(Vec::new());
            let sibling_runs = Flag::new();
            let log = |event: &'static str| order.lock().unwrap().push(event);
            here.map(
                |idx| match idx {
                    0 => {
                        log("starts");
                        there.run(|| sibling_runs.spin("the sibling runs"));
                        log("goes on");
                    }
                    1 => {
                        log("makes it ready");
                        sibling_runs.raise();
                        let after = Arc::new(Flag::new());
                        let handle = there.submit({
                            let after = Arc::clone(&after);
                            move || after.raise()
                        });
                        after.spin("the second task of the other executor runs");
                        drop(handle);
                    }
                    _ => log("starts last"),
                },
                0..3,
            );
            assert_eq!(order.into_inner().unwrap(), ["starts", "makes it ready", "goes on", "starts last"]);
        }
    });
}

#[test]
fn one_worker_runs_a_nest_depth_first() {
    within_deadline(|| {
        let order = Mutex::new(Vec::new());
        fibers(1).map(
            |x| {
                order.lock().unwrap().push((x, 0));
                yield_taskmap(|y| order.lock().unwrap().push((x, y)), 1..4);
            },
            0..4,
        );
        assert_eq!(order.into_inner().unwrap(), (0..4).flat_map(|x| (0..4).map(move |y| (x, y))).collect::<Vec<_>>());
    });
}
