//! A dump shows what every live task does, at any time.

use crate::backends::{WORKERS, fibers, fibers_for_a_call};
use crate::deadline::{Flag, doing, spin_until, wait_until, within_deadline};
use crate::panicking::caught;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;
use yieldtasks::sync::{Event, Mutex, channel};
use yieldtasks::{
    Dump, ExecutorExt, FiberExecutor, LiveTask, SerialExecutor, TaskPath, TaskState, block_on, checkpoint, sleep,
    taskmap, yield_join, yield_now, yield_scope, yield_taskmap, yield_taskwrap,
};

/// Checks that a dump is a tree, and reads well.
fn is_well_formed(dump: &Dump) {
    let mut below = 0;
    for task in dump.tasks() {
        assert_eq!(task.depth(), task.parent().map_or(0, |parent| parent.depth() + 1));
        for child in task.children() {
            assert!(child.parent().is_some_and(|parent| parent.path() == task.path()));
            below += 1;
        }
        if let TaskState::Suspended { tasks: Some(tasks), .. } = task.state() {
            assert!(tasks.left <= tasks.total, "{dump}");
        }
        assert_eq!(task.path().len(), task.depth() + 1);
    }
    assert_eq!(below + dump.roots().count(), dump.len());
    let text = dump.to_string();
    assert!(text.starts_with(&format!("{} live tasks on ", dump.len())), "{text}");
}

/// Takes dumps until one is as wanted.
#[track_caller]
fn wait_for_dump(executor: &FiberExecutor, what: &str, is_wanted: impl Fn(&Dump) -> bool) -> Dump {
    let mut latest = executor.dump();
    let wanted = std::cell::RefCell::new(&mut latest);
    let look = || {
        **wanted.borrow_mut() = executor.dump();
        is_wanted(&wanted.borrow())
    };
    wait_until(what, look, || thread::sleep(Duration::from_millis(1)));
    is_well_formed(&latest);
    latest
}

fn is_suspended(task: LiveTask<'_>) -> bool {
    matches!(task.state(), TaskState::Suspended { .. })
}

fn running(dump: &Dump) -> usize {
    dump.tasks().filter(|task| matches!(task.state(), TaskState::Running { .. })).count()
}

fn named<'a>(dump: &'a Dump, step: &str) -> Option<LiveTask<'a>> {
    dump.tasks().find(|task| task.step().to_string() == step)
}

#[test]
fn an_idle_executor_has_no_live_tasks() {
    within_deadline(|| {
        for workers in WORKERS {
            let executor = fibers(workers);
            assert!(executor.dump().is_empty());
            executor.map(|x| yield_taskmap(|y| x + y, 0..10), 0..10);
            wait_for_dump(&executor, "all tasks have ended", Dump::is_empty);
            assert_eq!(
                executor.dump().to_string(),
                format!("0 live tasks on {workers} workers: 0 running, 0 suspended, 0 ready")
            );
        }
    });
}

#[test]
fn tasks_are_seen_in_the_middle_of_long_leaves() {
    within_deadline(|| {
        for workers in WORKERS {
            doing(&format!("{workers} workers"));
            let executor = fibers(workers);
            let (inside, go_on) = (AtomicUsize::new(0), Flag::new());
            let leaf = |_: usize| {
                inside.fetch_add(1, Ordering::AcqRel);
                go_on.spin("the test goes on");
            };
            thread::scope(|scope| {
                scope.spawn(|| executor.run(|| taskmap(leaf, 0..workers).name("leaf").run()));
                spin_until("all leaves run", || inside.load(Ordering::Acquire) == workers);
                let dump = wait_for_dump(&executor, "all leaves run", |dump| running(dump) == workers);
                assert_eq!(dump.len(), workers + 1, "{dump}");
                let mut on: Vec<_> = dump
                    .tasks()
                    .skip(1)
                    .map(|task| match task.state() {
                        TaskState::Running { worker } => worker,
                        state => panic!("{state}"),
                    })
                    .collect();
                on.sort_unstable();
                assert_eq!(on, (0..workers).collect::<Vec<_>>());
                let root = dump.tasks().next().unwrap();
                let text = root.state().to_string();
                assert!(text.ends_with(&format!("waiting for {workers} of {workers}")), "{text}");
                assert!(text.contains(file!()), "{text}");
                go_on.raise();
            });
        }
    });
}

#[test]
fn a_parent_waits_for_as_many_as_have_not_ended() {
    within_deadline(|| {
        for workers in WORKERS {
            doing(&format!("{workers} workers"));
            let executor = fibers(workers);
            let go_on = Event::new();
            let line = AtomicUsize::new(0);
            let task = |x: usize| {
                if x >= 13 {
                    line.store(line!() as usize + 1, Ordering::Release);
                    go_on.wait();
                }
            };
            thread::scope(|scope| {
                scope.spawn(|| executor.run(|| taskmap(task, 0..16).name("wide").run()));
                // A worker that has just ended the others may not have said so.
                let three_wait = |dump: &Dump| {
                    dump.len() == 4
                        && dump.tasks().all(is_suspended)
                        && dump.to_string().contains("waiting for 3 of 16\n")
                };
                let dump = wait_for_dump(&executor, "three of them wait", three_wait);
                let root = dump.roots().next().unwrap();
                let indices: Vec<_> = root.children().map(|task| task.step().index()).collect();
                assert_eq!(indices, [13, 14, 15]);
                for task in root.children() {
                    assert_eq!(task.step().name(), Some("wide"));
                    let TaskState::Suspended { at, since: Some(_), tasks: None, .. } = task.state() else {
                        panic!("{dump}");
                    };
                    assert_eq!((at.file(), at.line() as usize), (file!(), line.load(Ordering::Acquire)), "{dump}");
                }
                let lasted = |dump: &Dump| {
                    let root = dump.roots().next().unwrap().state();
                    matches!(root, TaskState::Suspended { since: Some(since), .. } if since > Duration::from_millis(150))
                };
                let dump = wait_for_dump(&executor, "time goes by", lasted);
                assert!(dump.to_string().contains(" for 0."), "{dump}");
                go_on.set();
            });
        }
    });
}

#[test]
fn ended_tasks_of_a_chunk_that_goes_on_are_not_waited_for() {
    within_deadline(|| {
        let executor = fibers(1);
        let (inside, go_on) = (Flag::new(), Flag::new());
        let task = |x: usize| {
            if x == 7 {
                inside.raise();
                go_on.spin("the test goes on");
            }
        };
        thread::scope(|scope| {
            scope.spawn(|| executor.run(|| yield_taskmap(task, 0..10)));
            inside.spin("the task runs");
            let dump = executor.dump();
            assert!(dump.to_string().contains("waiting for 3 of 10\n"), "{dump}");
            go_on.raise();
        });
    });
}

#[test]
fn a_fiber_that_waits_for_its_worker_is_ready() {
    within_deadline(|| {
        let executor = fibers(1);
        let event = Event::new();
        let (inside, go_on) = (Flag::new(), Flag::new());
        thread::scope(|scope| {
            scope.spawn(|| {
                executor.run(|| {
                    yield_join(
                        || event.wait(),
                        || {
                            inside.raise();
                            go_on.spin("the test goes on");
                        },
                    )
                })
            });
            inside.spin("the second task runs");
            let count =
                |dump: &Dump, wanted: fn(TaskState) -> bool| dump.tasks().filter(|task| wanted(task.state())).count();
            let dump = executor.dump();
            assert_eq!(count(&dump, |state| matches!(state, TaskState::Suspended { .. })), 2, "{dump}");
            event.set();
            let dump = executor.dump();
            assert_eq!(count(&dump, |state| state == TaskState::Ready { worker: 0 }), 1, "{dump}");
            assert!(dump.to_string().contains(": ready on worker 0"), "{dump}");
            go_on.raise();
        });
    });
}

#[test]
fn yielded_fibers_are_ready() {
    within_deadline(|| {
        let executor = fibers(1);
        let stop = AtomicBool::new(false);
        let spin = |_: usize| {
            while !stop.load(Ordering::Acquire) {
                yield_now();
            }
        };
        thread::scope(|scope| {
            scope.spawn(|| executor.run(|| taskmap(spin, 0..5).name("spin").run()));
            for _ in 0..20 {
                let all = |dump: &Dump| dump.len() == 6 && running(dump) == 1;
                let dump = wait_for_dump(&executor, "one runs", all);
                let ready = dump.tasks().filter(|task| task.state() == TaskState::Ready { worker: 0 }).count();
                assert_eq!(ready, 4, "{dump}");
                assert!(is_suspended(dump.roots().next().unwrap()), "{dump}");
            }
            stop.store(true, Ordering::Release);
        });
    });
}

#[test]
fn a_task_sees_itself_running() {
    within_deadline(|| {
        for workers in WORKERS {
            let executor = fibers(workers);
            let task = |x: usize| {
                let dump = executor.dump();
                is_well_formed(&dump);
                let own = TaskPath::current();
                let running = |task: &LiveTask<'_>| matches!(task.state(), TaskState::Running { .. });
                assert!(dump.tasks().any(|task| task.path() == own && running(&task)), "{own} is not in {dump}");
                x
            };
            let nested = |x| taskmap(task, 0..3).name("inner").run()[x];
            assert_eq!(executor.taskmap(nested, 0..3).name("outer").run(), [0, 1, 2]);
        }
    });
}

#[test]
fn waits_of_all_kinds_tell_where_they_are() {
    within_deadline(|| {
        for workers in WORKERS {
            doing(&format!("{workers} workers"));
            let executor = fibers(workers);
            let other = fibers(1);
            let go_on = Event::new();
            let mutex = Mutex::new(());
            let (sender, receiver) = channel::<()>(1);
            let guard = mutex.lock();
            let wait = |kind: usize| match kind {
                0 => drop(mutex.lock()),
                1 => drop(receiver.recv()),
                2 => {
                    while !go_on.is_set() {
                        sleep(Duration::from_millis(200));
                    }
                }
                3 => block_on(async { std::future::poll_fn(|_| std::task::Poll::Ready(())).await }),
                4 => {
                    yield_scope(|s| {
                        s.spawn(|| go_on.wait());
                    });
                }
                5 => other.run(|| go_on.wait()),
                6 => yieldtasks::unblock(|| {
                    while !go_on.is_set() {
                        thread::sleep(Duration::from_millis(1));
                    }
                }),
                _ => go_on.wait(),
            };
            thread::scope(|scope| {
                scope.spawn(|| executor.run(|| taskmap(wait, 0..8).name("wait").run()));
                let all = |dump: &Dump| {
                    let is_there = |kind| named(dump, &format!("wait[{kind}]")).is_some_and(is_suspended);
                    let has_started = |spawner: LiveTask<'_>| spawner.children().count() == 1;
                    [0, 1, 2, 4, 5, 6, 7].into_iter().all(is_there)
                        && named(dump, "wait[4]").is_some_and(has_started)
                        && running(dump) == 0
                };
                let dump = wait_for_dump(&executor, "all of them wait", all);
                for task in dump.tasks().filter(|task| task.depth() > 0) {
                    let TaskState::Suspended { at, .. } = task.state() else { panic!("{dump}") };
                    assert_eq!(at.file(), file!(), "{task} in {dump}");
                }
                let of = |kind: usize| named(&dump, &format!("wait[{kind}]")).unwrap();
                let text = of(5).state().to_string();
                assert!(text.ends_with("waiting for 1 of 1"), "{text}");
                // The task on the other executor is below one of this.
                let theirs = wait_for_dump(&other, "the task waits", |dump| dump.tasks().any(is_suspended));
                let path = theirs.tasks().last().unwrap().path().to_string();
                assert!(path.contains("wait[5] > "), "{path}");
                assert_eq!(theirs.roots().next().unwrap().state(), TaskState::Elsewhere);
                go_on.set();
                drop(guard);
                sender.send(()).unwrap();
            });
        }
    });
}

#[test]
fn tasks_that_run_on_the_stack_of_their_parent_are_seen() {
    within_deadline(|| {
        let go_on = Event::new();
        let inner = |x: usize| {
            if x == 1 {
                go_on.wait();
            }
        };
        let check = |executor: &FiberExecutor, body: &(dyn Fn() + Sync)| {
            thread::scope(|scope| {
                scope.spawn(|| executor.run(body));
                let is_there = |dump: &Dump| named(dump, "inner[1]").is_some_and(is_suspended);
                let dump = wait_for_dump(executor, "the inner task waits", is_there);
                assert_eq!(running(&dump), 0, "{dump}");
                assert!(dump.tasks().all(is_suspended), "{dump}");
                assert!(dump.len() >= 2, "{dump}");
                go_on.set();
            });
        };
        check(&fibers(2), &|| drop(SerialExecutor::new().taskmap(inner, 0..3).name("inner").run()));
        let few = FiberExecutor::builder().workers(1).max_fibers(1).build().unwrap();
        let go_on = Event::new();
        let inner = |x: usize| {
            if x == 1 {
                go_on.wait();
            }
        };
        thread::scope(|scope| {
            scope.spawn(|| few.run(|| taskmap(|_| taskmap(inner, 0..3).name("inner").run(), 0..2).run()));
            let is_there = |dump: &Dump| named(dump, "inner[1]").is_some_and(is_suspended);
            let dump = wait_for_dump(&few, "the inner task waits", is_there);
            assert!(dump.len() == 3 && dump.tasks().all(is_suspended), "{dump}");
            go_on.set();
        });
    });
}

#[test]
fn executors_that_end_and_executors_for_a_call_can_be_dumped() {
    within_deadline(|| {
        for workers in WORKERS {
            let executor = fibers(workers);
            assert_eq!(executor.map(|x| x, 0..3), [0, 1, 2]);
            yieldtasks::Executor::shutdown(&executor);
            assert!(executor.dump().is_empty());
            let executor = fibers_for_a_call(workers);
            assert!(executor.dump().is_empty());
            let inside = |x: usize| (executor.dump().len(), x);
            assert!(executor.map(inside, 0..3).into_iter().all(|(live, _)| live >= 1));
            let handle = executor.submit(|| sleep(Duration::from_millis(1)));
            executor.dump();
            handle.join().unwrap();
        }
    });
}

#[test]
fn a_deep_nest_is_shown_to_its_end() {
    fn chain(depth: usize, bottom: &(dyn Fn() + Sync)) {
        if depth == 0 { bottom() } else { yield_taskwrap(|| chain(depth - 1, bottom)) }
    }

    within_deadline(|| {
        for workers in WORKERS {
            let executor = fibers(workers);
            for depth in [1, 100, 3000] {
                let bottom = || {
                    let dump = executor.dump();
                    is_well_formed(&dump);
                    assert_eq!(dump.len(), depth + 1);
                    assert_eq!(dump.tasks().last().unwrap().path(), TaskPath::current());
                    let text = dump.to_string();
                    assert!(depth < 1000 || text.ends_with(&format!("and {} more", depth - 999)), "{text}");
                    assert_eq!(format!("{dump:#}").lines().count(), depth + 2);
                };
                executor.run(|| chain(depth, &bottom));
                // Suspended all the way down.
                let go_on = Event::new();
                thread::scope(|scope| {
                    scope.spawn(|| executor.run(|| chain(depth, &|| go_on.wait())));
                    let all = |dump: &Dump| dump.len() == depth + 1 && dump.tasks().all(is_suspended);
                    wait_for_dump(&executor, "the chain waits", all);
                    go_on.set();
                });
            }
        }
    });
}

#[test]
fn very_many_tasks_are_counted_one_by_one() {
    within_deadline(|| {
        let executor = fibers(2);
        let go_on = Event::new();
        thread::scope(|scope| {
            scope.spawn(|| executor.map(|_| go_on.wait(), 0..20_000));
            let all = |dump: &Dump| dump.len() == 20_000 && dump.tasks().all(is_suspended);
            wait_until("all of them wait", || all(&executor.dump()), || thread::sleep(Duration::from_millis(50)));
            assert_eq!(executor.stats().live_fibers(), 20_000);
            go_on.set();
        });
    });
}

/// A nest with waits of all kinds in it.
fn nest(levels: u32, seed: u64) -> u64 {
    if levels == 0 {
        yield_now();
        return 1;
    }
    let below = |x: u64| nest(levels - 1, seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(x));
    match seed % 7 {
        0 => yield_join(|| below(1), || below(2)).0,
        1 => taskmap(below, 0..3).name("nest").max_in_flight(2).run().iter().sum(),
        2 => yield_scope(|s| {
            let handle = s.spawn(|| below(1));
            below(2) + handle.join().unwrap()
        }),
        3 => {
            sleep(Duration::from_micros(50));
            yield_taskwrap(|| below(1))
        }
        4 => SerialExecutor::new().map(below, 0..2).iter().sum(),
        5 => caught(|| yield_taskmap(|x| if x == 1 { crate::panicking::expected(1) } else { below(x) }, 0..3))
            .map_or(1, |results: Vec<u64>| results.len() as u64),
        _ => {
            checkpoint();
            yield_taskmap(below, 0..4).iter().sum()
        }
    }
}

#[test]
fn dumps_and_stats_can_be_taken_all_the_time() {
    within_deadline(|| {
        for workers in WORKERS {
            doing(&format!("{workers} workers"));
            let executor = Arc::new(fibers(workers));
            let is_over = AtomicBool::new(false);
            let most = AtomicUsize::new(0);
            thread::scope(|scope| {
                let dumpers: Vec<_> = (0..2)
                    .map(|_| {
                        scope.spawn(|| {
                            let mut dumps = 0;
                            while !is_over.load(Ordering::Acquire) {
                                let dump = executor.dump();
                                is_well_formed(&dump);
                                assert!(dump.silent_workers().is_empty(), "{dump}");
                                assert!(running(&dump) <= workers, "{dump}");
                                most.fetch_max(dump.len(), Ordering::AcqRel);
                                let stats = executor.stats();
                                assert!(stats.live_fibers() <= stats.peak_fibers());
                                dumps += 1;
                            }
                            dumps
                        })
                    })
                    .collect();
                let rounds = if cfg!(debug_assertions) { 40 } else { 300 };
                for seed in 0..rounds {
                    executor.map(|x| nest(5, seed * 7 + x), 0..8);
                    executor.run(|| if seed % 8 == 0 { executor.dump().len() } else { 0 });
                }
                is_over.store(true, Ordering::Release);
                let dumps: usize = dumpers.into_iter().map(|dumper| dumper.join().unwrap()).sum();
                assert!(dumps > 0 && most.load(Ordering::Acquire) > 0);
            });
            wait_for_dump(&executor, "all tasks have ended", Dump::is_empty);
        }
    });
}

#[test]
fn forks_without_end_are_dumped_and_their_parents_wait() {
    fn fib(n: u32) -> u64 {
        if n < 2 {
            return n.into();
        }
        let (a, b) = yield_join(|| fib(n - 1), || fib(n - 2));
        a + b
    }

    within_deadline(|| {
        for workers in WORKERS {
            doing(&format!("{workers} workers"));
            let executor = fibers(workers);
            let stop = AtomicBool::new(false);
            thread::scope(|scope| {
                scope.spawn(|| {
                    while !stop.load(Ordering::Acquire) {
                        assert_eq!(executor.run(|| fib(20)), 6765);
                    }
                });
                for _ in 0..if cfg!(debug_assertions) { 200 } else { 2000 } {
                    let dump = executor.dump();
                    is_well_formed(&dump);
                    if workers == 1 {
                        // Whatever instruction the worker is at: a task with tasks below it waits for them.
                        let is_ready = |task: &LiveTask<'_>| matches!(task.state(), TaskState::Ready { .. });
                        let odd = dump.tasks().find(|task| is_ready(task) && task.children().next().is_some());
                        assert!(odd.is_none(), "{} in {dump}", odd.unwrap());
                        assert!(running(&dump) <= 1, "{dump}");
                    }
                }
                stop.store(true, Ordering::Release);
            });
        }
    });
}
