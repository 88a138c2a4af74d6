//! What `Interleave::Nested` guarantees: a program that ends when it is run serially ends, whatever its tasks hold.

use crate::backends::WORKERS;
use crate::deadline::{Flag, doing, spin_until, within_deadline};
use crate::processes::{is_alone, run_alone_for};
use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, MutexGuard, OnceLock};
use std::thread;
use std::time::{Duration, Instant};
use yieldtasks::{
    Executor, ExecutorExt, FiberExecutor, Interleave, Pinning, SerialExecutor, block_on, checkpoint, sleep, taskmap,
    yield_join, yield_now, yield_scope, yield_starmap, yield_taskmap, yield_taskwrap,
};

fn nested(workers: usize) -> FiberExecutor {
    FiberExecutor::builder().workers(workers).pinning(Pinning::None).interleave(Interleave::Nested).build().unwrap()
}

/// Checks a behaviour with each number of workers.
fn on_nested(check: impl Fn(&FiberExecutor, usize)) {
    for workers in WORKERS {
        doing(&format!("on {workers} workers"));
        check(&nested(workers), workers);
    }
}

/// Work that takes about as long on any machine in any mode, and no time worth the name.
fn leaf(seed: u64) -> u64 {
    (0..200).fold(seed, |x, step| x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(step))
}

fn subtree(seed: u64) -> u64 {
    yield_taskmap(|x| yield_taskmap(|y| leaf(x ^ y), 0..4).into_iter().fold(x, u64::wrapping_add), seed..seed + 4)
        .into_iter()
        .fold(0, u64::wrapping_add)
}

/// Half of the items lock one mutex of the standard library and hold it across a nested map; the others go through one
/// `OnceLock` whose initialisation maps.
fn locks_across_maps(lock: &Mutex<u64>, items: u64, map: impl FnOnce(&(dyn Fn(u64) -> u64 + Sync)) -> Vec<u64>) {
    let cell = OnceLock::new();
    *lock.lock().unwrap() = 0;
    let results = map(&|item| {
        if item % 2 == 0 {
            let mut sum = lock.lock().unwrap();
            let result = subtree(item);
            *sum = sum.wrapping_add(result);
            result
        } else {
            *cell.get_or_init(|| subtree(1)) ^ item
        }
    });
    let serial = SerialExecutor::new();
    let expected: Vec<_> = (0..items)
        .map(|item| if item % 2 == 0 { serial.run(|| subtree(item)) } else { serial.run(|| subtree(1)) ^ item })
        .collect();
    assert_eq!(results, expected);
    let sum = expected.iter().step_by(2).fold(0, |sum: u64, result| sum.wrapping_add(*result));
    assert_eq!(*lock.lock().unwrap(), sum);
}

#[test]
fn locks_of_the_standard_library_may_be_held_across_nested_maps() {
    static LOCK: Mutex<u64> = Mutex::new(0);
    within_deadline(|| {
        for workers in [1, 2, 4, 64] {
            doing(&format!("on {workers} workers"));
            let executor = nested(workers);
            for _ in 0..5 {
                locks_across_maps(&LOCK, 512, |task| executor.map(task, 0..512));
            }
        }
    });
}

/// A task holds a lock of the standard library while its second child runs elsewhere. Meanwhile another task is brought that
/// takes the lock, and the child waits a while for it to start somewhere. It should not start where the lock is held.
fn two_tasks_that_lock(
    spawn: &dyn Fn(Box<dyn FnOnce() + Send>),
    join: fn(&(dyn Fn() + Sync), &(dyn Fn() + Sync)),
    patience: Duration,
) {
    static LOCK: Mutex<()> = Mutex::new(());
    let flags = Arc::new([const { Flag::new() }; 4]);
    let theirs = Arc::clone(&flags);
    spawn(Box::new(move || {
        let [stolen, started, first_ended, _] = &*theirs;
        let held = LOCK.lock().unwrap();
        let second_child = || {
            stolen.raise();
            let began = Instant::now();
            while !started.is_raised() && began.elapsed() < patience {
                thread::yield_now();
            }
        };
        join(&|| stolen.spin("another worker takes the second child"), &second_child);
        drop(held);
        first_ended.raise();
    }));
    let [stolen, _, first_ended, second_ended] = &*flags;
    stolen.spin("another worker takes the second child");
    let theirs = Arc::clone(&flags);
    spawn(Box::new(move || {
        let [_, started, _, second_ended] = &*theirs;
        started.raise();
        drop(LOCK.lock().unwrap());
        second_ended.raise();
    }));
    first_ended.spin("the first task ends");
    second_ended.spin("the second task ends");
}

#[test]
fn a_task_does_not_start_where_a_lock_that_it_takes_is_held() {
    within_deadline(|| {
        let executor = nested(2);
        let spawn = |task: Box<dyn FnOnce() + Send>| executor.submit(task).detach();
        two_tasks_that_lock(&spawn, |a, b| _ = yield_join(a, b), Duration::from_millis(300));
    });
}

#[test]
fn the_same_program_hangs_on_rayon() {
    if is_alone() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        let join = |a: &(dyn Fn() + Sync), b: &(dyn Fn() + Sync)| _ = rayon::join(a, b);
        // The worker that waits for the second child has nothing else to do meanwhile, so it starts the second task.
        two_tasks_that_lock(&|task| pool.spawn(task), join, Duration::from_secs(1));
        return;
    }
    let ended = run_alone_for(Duration::from_secs(4));
    assert!(ended.is_none(), "rayon got through: {ended:?}");
}

#[test]
fn a_borrow_of_a_thread_local_may_be_held_across_nested_maps() {
    thread_local! {
        static BORROWED: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
    }
    within_deadline(|| {
        on_nested(|executor, _| {
            executor.map(
                |item| {
                    BORROWED.with_borrow_mut(|borrowed| {
                        borrowed.push(item);
                        subtree(item);
                        assert_eq!(borrowed.pop(), Some(item));
                    });
                },
                0..300,
            );
        });
    });
}

thread_local! {
    /// A pointer to a value in a frame further up the stack, as `scoped-tls` keeps one.
    static SCOPED: Cell<*const u64> = const { Cell::new(std::ptr::null()) };
}

/// Sets the scoped value while `f` runs, and checks that what it finds afterwards is what it has left.
fn with_scoped<R>(value: u64, f: impl FnOnce() -> R) -> R {
    let former = SCOPED.replace(&raw const value);
    let result = f();
    assert_eq!(SCOPED.replace(former), &raw const value, "thread-locals nest");
    result
}

#[test]
fn scoped_thread_locals_nest() {
    fn nest(depth: u64, seed: u64) -> u64 {
        if depth == 0 {
            return leaf(seed);
        }
        with_scoped(seed, || {
            let width = 2 + seed % 3;
            yield_taskmap(|x| nest(depth - 1, x), seed..seed + width).into_iter().fold(seed, u64::wrapping_add)
        })
    }
    within_deadline(|| {
        let expected = SerialExecutor::new().map(|x| nest(5, x), 0..20);
        on_nested(|executor, _| {
            assert_eq!(executor.map(|x| nest(5, x), 0..20), expected);
        });
    });
}

#[test]
fn a_short_job_does_not_wait_for_a_long_leaf_elsewhere() {
    within_deadline(|| {
        // The children of the short job are held up until another worker has taken one, so that it waits on its own. The long
        // leaf ends only after the short job has: were it started on the home worker of the short job, neither would end.
        let executor = nested(2);
        for _ in 0..20 {
            let (short_ended, child_stolen) = (Flag::new(), Flag::new());
            executor.map(
                |item| {
                    if item == 0 {
                        let home = thread::current().id();
                        yield_taskmap(
                            |_| {
                                if thread::current().id() == home {
                                    child_stolen.spin("another worker takes a child");
                                } else {
                                    child_stolen.raise();
                                    // Long enough for the home worker to look for something else to do.
                                    thread::sleep(Duration::from_millis(5));
                                }
                            },
                            0..2,
                        );
                        short_ended.raise();
                    } else if child_stolen.is_raised() {
                        short_ended.spin("the short job ends");
                    }
                },
                0..4,
            );
        }
    });
}

/// A lock of the system's, taken in one order by all: that of the levels.
fn locked(level: usize) -> MutexGuard<'static, u64> {
    static LOCKS: [Mutex<u64>; 5] = [const { Mutex::new(0) }; 5];
    LOCKS[level].lock().unwrap()
}

/// A random nest of all kinds of calls, some of which hold a lock or a scoped value.
fn random_nest(level: usize, seed: u64) -> u64 {
    let random = leaf(seed ^ (level as u64) << 32) >> 20;
    if level == 4 {
        if random.is_multiple_of(7) {
            yield_now();
        }
        checkpoint();
        return random;
    }
    let below = |idx: u64| random_nest(level + 1, random ^ idx);
    let body = || match random % 8 {
        0 => yield_join(|| below(1), || below(2)).0,
        1 => yield_taskwrap(|| below(3)),
        2 => yield_starmap(|a: u64, b: u64| below(a * b), [(1, 2), (3, 4)]).into_iter().fold(0, u64::wrapping_add),
        3 => taskmap(below, 0..4).max_in_flight(2).run().into_iter().fold(1, u64::wrapping_mul),
        4 => yield_scope(|scope| {
            let handles: Vec<_> = (0..3).map(|idx| scope.spawn(move || below(idx))).collect();
            yield_now();
            handles.into_iter().fold(0, |sum: u64, handle| sum.wrapping_add(handle.join().unwrap()))
        }),
        5 => {
            let mut sum = 0_u64;
            taskmap(below, 0..5).stream_ordered(|idx, x| {
                sum = sum.wrapping_mul(31).wrapping_add(x ^ idx as u64);
                std::ops::ControlFlow::Continue(())
            });
            sum
        }
        _ => yield_taskmap(below, 0..2 + random % 4).into_iter().fold(2, |a: u64, b| a.wrapping_mul(5).wrapping_add(b)),
    };
    match random / 8 % 3 {
        0 => {
            let mut lock = locked(level);
            let result = body();
            *lock ^= result;
            result
        }
        1 => with_scoped(random, body),
        _ => body(),
    }
}

#[test]
fn random_nests_with_locks_held_give_what_a_serial_run_gives() {
    within_deadline(|| {
        let expected: Vec<_> = (0..60).map(|seed| SerialExecutor::new().run(|| random_nest(0, seed))).collect();
        on_nested(|executor, _| {
            assert_eq!(executor.map(|seed| random_nest(0, seed), 0..60), expected);
            for (seed, expected) in (0..).zip(&expected).take(20) {
                assert_eq!(executor.run(|| random_nest(0, seed)), *expected);
            }
        });
    });
}

#[test]
fn a_fiber_that_waits_for_something_else_does_not_hold_its_worker() {
    within_deadline(|| {
        on_nested(|executor, _| {
            let (event, queue) = (yieldtasks::sync::Event::new(), yieldtasks::sync::channel(1));
            let (sender, receiver) = queue;
            executor.map(
                |item| match item {
                    0 => {
                        event.wait();
                        assert_eq!(receiver.recv().ok(), Some(7));
                    }
                    1 => {
                        sleep(Duration::from_millis(1));
                        event.set();
                    }
                    _ => assert!(sender.send(7).is_ok()),
                },
                0..3,
            );
        });
    });
}

#[test]
fn a_fiber_whose_wait_has_ended_does_not_run_on_top_of_one_that_holds() {
    static LOCK: Mutex<()> = Mutex::new(());
    within_deadline(|| {
        on_nested(|executor, _| {
            for _ in 0..20 {
                executor.map(
                    |item| {
                        if item % 2 == 0 {
                            sleep(Duration::from_micros(200));
                            drop(LOCK.lock().unwrap());
                        } else {
                            let _lock = LOCK.lock().unwrap();
                            subtree(item);
                        }
                    },
                    0..16,
                );
            }
        });
    });
}

#[test]
fn yielding_with_a_lock_held_lets_nobody_in_who_wants_it() {
    static LOCK: Mutex<()> = Mutex::new(());
    within_deadline(|| {
        on_nested(|executor, _| {
            executor.map(
                |_| {
                    let _lock = LOCK.lock().unwrap();
                    yield_taskmap(
                        |_| {
                            yield_now();
                            checkpoint();
                        },
                        0..2,
                    );
                    yield_now();
                    checkpoint();
                },
                0..200,
            );
        });
    });
}

#[test]
fn one_worker_is_enough_for_every_kind_of_wait() {
    within_deadline(|| {
        on_nested(|executor, _| {
            let submitted = || {
                let handles: Vec<_> = (0..3).map(|x| executor.submit(move || subtree(x))).collect();
                subtree(1);
                let joined = yield_taskmap(|handle| handle.join().unwrap(), handles);
                assert_eq!(joined.len(), 3);
            };
            let awaited = || {
                let handle = executor.submit(|| yield_taskmap(|_| sleep(Duration::from_micros(100)), 0..2));
                sleep(Duration::from_micros(100));
                yield_taskwrap(|| block_on(handle).unwrap());
            };
            let chained = || {
                let raised = Arc::new(Flag::new());
                let first = executor.submit({
                    let raised = Arc::clone(&raised);
                    move || {
                        sleep(Duration::from_micros(100));
                        raised.raise();
                    }
                });
                let second = executor.submit(move || yield_taskwrap(|| first.join().unwrap()));
                yield_taskmap(|_| sleep(Duration::from_micros(100)), 0..2);
                yield_taskwrap(|| second.join().unwrap());
                assert!(raised.is_raised());
            };
            let scoped = || {
                yield_scope(|outer| {
                    let early = outer.spawn(|| sleep(Duration::from_micros(100)));
                    let late = outer.spawn(|| yield_scope(|inner| inner.spawn(|| subtree(2)).join().unwrap()));
                    yield_taskmap(|_| sleep(Duration::from_micros(50)), 0..2);
                    yield_join(|| early.join().unwrap(), || late.join().unwrap());
                    let _ = outer.spawn(|| {
                        let _ = outer.spawn(|| subtree(3));
                    });
                });
            };
            let streamed = || {
                let mut results = 0;
                taskmap(subtree, 0..20).max_in_flight(3).stream_unordered(|_, _| {
                    results += 1;
                    subtree(1);
                    std::ops::ControlFlow::Continue(())
                });
                assert_eq!(results, 20);
            };
            let all: [&(dyn Fn() + Sync); 5] = [&submitted, &awaited, &chained, &scoped, &streamed];
            executor.map(|way| all[way % 5](), 0..20);
            executor.map(|_| yield_taskmap(|way| all[way](), 0..5), 0..4);
        });
    });
}

#[test]
fn a_task_that_runs_on_the_stack_of_another_belongs_to_those_who_wait_for_that_one() {
    within_deadline(|| {
        for workers in WORKERS {
            doing(&format!("on {workers} workers"));
            let builder = FiberExecutor::builder().workers(workers).max_fibers(2).pinning(Pinning::None);
            let executor = Arc::new(builder.interleave(Interleave::Nested).build().unwrap());
            // With one worker, the first call takes one fiber, which waits for its child, and that the other. There is none
            // for what is below: the awaited map runs on the second fiber's stack, and waits there for a task by itself.
            let awaited = |item: u64| {
                let executor = Arc::clone(&executor);
                let task = move |x: u64| executor.submit(move || leaf(x)).join().unwrap();
                block_on(taskmap(task, item..item + 2).into_future())
            };
            let results = executor.run(|| yield_taskmap(|_| yield_taskmap(awaited, 0..3), 0..2));
            assert_eq!(results, vec![(0..3).map(|x| vec![leaf(x), leaf(x + 1)]).collect::<Vec<_>>(); 2]);
        }
    });
}

#[test]
fn executors_that_call_each_other_need_one_worker_each() {
    within_deadline(|| {
        for free_too in [false, true] {
            for workers in WORKERS {
                let here = nested(workers);
                let there = if free_too { crate::backends::fibers(workers) } else { nested(workers) };
                let there: &FiberExecutor = &there;
                let here: &FiberExecutor = &here;
                let back_and_forth = |x: u64| {
                    let one = there.map(|y| here.map(|z| there.run(|| leaf(x ^ y ^ z)), 0..3), 0..3);
                    let handle = there.map(|y| here.submit(move || subtree(y)).join().unwrap(), 0..2);
                    (one, handle)
                };
                let expected: Vec<_> = {
                    let serial = SerialExecutor::new();
                    (0..4)
                        .map(|x| {
                            serial.run(|| {
                                (
                                    (0..3)
                                        .map(|y| (0..3).map(|z| leaf(x ^ y ^ z)).collect::<Vec<_>>())
                                        .collect::<Vec<_>>(),
                                    (0..2).map(subtree).collect::<Vec<_>>(),
                                )
                            })
                        })
                        .collect()
                };
                assert_eq!(here.map(back_and_forth, 0..4), expected);
            }
        }
    });
}

#[test]
fn a_parent_takes_back_what_descends_from_its_stolen_children() {
    within_deadline(|| {
        let executor = nested(2);
        for _ in 0..20 {
            // The child that was stolen ends when both of its own children run at the same time, and the parent's worker
            // is the only other one.
            let stolen = Flag::new();
            executor.run(|| {
                let home = thread::current().id();
                yield_taskmap(
                    |_| {
                        if thread::current().id() == home {
                            stolen.spin("another worker takes a child");
                        } else {
                            stolen.raise();
                            let both = Barrier::new(2);
                            yield_taskmap(|_| both.wait().is_leader(), 0..2);
                        }
                    },
                    0..2,
                );
            });
        }
    });
}

#[test]
fn a_held_worker_starts_nothing_that_does_not_descend_from_what_holds_it() {
    within_deadline(|| {
        on_nested(|executor, workers| {
            // Each item notes its worker while it maps; whatever starts there then has to be of the same item.
            let held: Vec<_> = (0..64).map(|_| Mutex::new(Vec::<(thread::ThreadId, u64)>::new())).collect();
            let at = &held;
            let holders: &Mutex<Vec<(thread::ThreadId, u64)>> = &at[0];
            let starts = AtomicUsize::new(0);
            executor.map(
                |item: u64| {
                    let here = thread::current().id();
                    let is_free = || !holders.lock().unwrap().iter().any(|&(worker, _)| worker == here);
                    assert!(is_free(), "a second item has started on the worker of one that maps");
                    holders.lock().unwrap().push((here, item));
                    yield_taskmap(
                        |_| {
                            starts.fetch_add(1, Ordering::Relaxed);
                            leaf(item);
                            yield_taskmap(leaf, 0..3);
                        },
                        0..6,
                    );
                    holders.lock().unwrap().retain(|&(worker, _)| worker != here);
                },
                0..40 * workers as u64,
            );
            assert_eq!(starts.into_inner(), 240 * workers);
        });
    });
}

#[test]
fn workers_for_a_call_nest_as_well() {
    within_deadline(|| {
        let settings = FiberExecutor::builder().workers(2).interleave(Interleave::Nested).persist(false);
        let executor = settings.build().unwrap();
        locks_across_maps(&Mutex::default(), 64, |task| executor.map(task, 0..64));
        assert!(!executor.persist());
    });
}

#[test]
fn few_fibers_are_enough_for_nests_that_hold_locks() {
    within_deadline(|| {
        for fibers in [1, 2, 3, 5, 8] {
            for workers in WORKERS {
                let settings = FiberExecutor::builder().workers(workers).interleave(Interleave::Nested);
                let executor = settings.max_fibers(fibers).build().unwrap();
                locks_across_maps(&Mutex::default(), 64, |task| executor.map(task, 0..64));
            }
        }
    });
}

#[test]
fn few_fibers_are_enough_for_tasks_that_wait_by_handles_below_a_lock() {
    within_deadline(|| {
        for fibers in [1, 2, 3] {
            for workers in WORKERS {
                doing(&format!("{fibers} fibers on {workers} workers"));
                let settings = FiberExecutor::builder().workers(workers).interleave(Interleave::Nested);
                let executor = settings.max_fibers(fibers).pinning(Pinning::None).build().unwrap();
                let lock = Mutex::new(0);
                let below = |x: u64| executor.submit(move || leaf(x)).join().unwrap();
                let task = |item: u64| {
                    let mut sum = lock.lock().unwrap();
                    for result in yield_taskmap(below, item..item + 2) {
                        *sum ^= result;
                    }
                };
                executor.map(task, 0..16);
                let expected = (0..16).fold(0, |sum, item| sum ^ leaf(item) ^ leaf(item + 1));
                assert_eq!(*lock.lock().unwrap(), expected);
            }
        }
    });
}

#[test]
fn spinning_on_what_a_descendant_does_ends() {
    within_deadline(|| {
        on_nested(|executor, _| {
            executor.map(
                |_| {
                    let raised = Flag::new();
                    yield_scope(|scope| {
                        let _ = scope.spawn(|| raised.raise());
                        crate::deadline::wait_until("the task of the scope runs", || raised.is_raised(), yield_now);
                    });
                },
                0..10,
            );
            spin_until("nothing", || true);
        });
    });
}
