//! A cancelled map stops wherever its tasks are, with all destructors run, and each task has one outcome.

use crate::accounting::Accounts;
use crate::backends::{candidates, fibers, on_every_backend, on_fibers, on_fibers_that_interleave};
use crate::deadline::{Flag, doing, within_deadline};
use crate::panicking::{Payload, caught, expected, expected_panic, silence_expected_panics};
use std::future;
use std::ops::ControlFlow;
use std::panic;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Once, mpsc};
use std::thread;
use std::time::Duration;
use yieldtasks::sync::{Event, Mutex, RwLock, Semaphore, channel};
use yieldtasks::{
    CancelToken, Cancelled, ErrorKind, Executor, ExecutorExt, SerialExecutor, block_on, checkpoint, is_cancelled,
    sleep, taskmap, try_yield_taskmap, yield_join, yield_now, yield_scope, yield_starmap, yield_taskmap,
    yield_taskwrap,
};

const HOUR: Duration = Duration::from_secs(3600);

/// Runs until it is stopped.
fn endless() -> ! {
    loop {
        checkpoint();
        thread::yield_now();
    }
}

/// Cancels the token from another thread when the flag is raised, which `f` has to do.
fn cancelled_when<R>(token: &CancelToken, raised: &Flag, f: impl FnOnce() -> R) -> R {
    thread::scope(|scope| {
        scope.spawn(|| {
            raised.spin("the time to cancel comes");
            token.cancel();
        });
        f()
    })
}

/// The kind that a task unwound with when it was cancelled.
#[track_caller]
fn kind_of(payload: Payload) -> ErrorKind {
    payload.downcast::<Cancelled>().unwrap_or_else(|_| panic!("another payload than that of a cancellation")).kind()
}

/// What a task may wait for in vain, by name.
struct Waits {
    locked: Mutex<()>,
    written: RwLock<()>,
    read: RwLock<()>,
    spent: Semaphore,
    event: Event,
    empty: (yieldtasks::sync::Sender<u8>, yieldtasks::sync::Receiver<u8>),
    full: (yieldtasks::sync::Sender<u8>, yieldtasks::sync::Receiver<u8>),
}

impl Waits {
    const COUNT: usize = 14;

    fn new() -> Self {
        let full = channel(1);
        full.0.send(1).unwrap();
        Self {
            locked: Mutex::new(()),
            written: RwLock::new(()),
            read: RwLock::new(()),
            spent: Semaphore::new(0),
            event: Event::new(),
            empty: channel(1),
            full,
        }
    }

    /// Waits for ever, in one of several ways.
    fn wait(&self, way: usize, executor: &dyn Executor) {
        match way {
            0 => sleep(HOUR),
            1 => block_on(future::pending()),
            2 => drop(self.locked.lock()),
            3 => drop(self.written.read()),
            4 => drop(self.read.write()),
            5 => drop(self.spent.acquire()),
            6 => self.event.wait(),
            7 => drop(self.empty.1.recv()),
            8 => drop(self.full.0.send(2)),
            9 => drop(yield_taskmap(|_| sleep(HOUR), 0..3)),
            10 => drop(yield_join(|| sleep(HOUR), || yield_taskmap(|_| sleep(HOUR), 0..2))),
            11 => yield_scope(|s| drop(s.spawn(|| sleep(HOUR)).join())),
            12 => taskmap(|_| sleep(HOUR), 0..2).stream_unordered(|_, ()| ControlFlow::Continue(())),
            13 => drop(taskmap(|_| executor.run(|| sleep(HOUR)), 0..2).name("waits").max_in_flight(1).settled()),
            _ => unreachable!("there are {} ways", Self::COUNT),
        }
    }
}

#[test]
fn a_map_under_a_cancelled_token_starts_nothing() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let token = CancelToken::new();
            token.cancel();
            let accounts = Accounts::default();
            let map = || {
                let f = |_| drop(accounts.start());
                executor.taskmap(f, accounts.values(5)).name("expected").cancel_token(&token)
            };
            assert_eq!(map().try_run().unwrap_err().kind(), ErrorKind::Cancelled);
            assert!(map().settled().into_iter().all(|outcome| outcome.unwrap_err().kind() == ErrorKind::Cancelled));
            assert_eq!(map().race(|()| true), None);
            assert!(caught(|| map().run()).is_err());
            assert!(map().max_in_flight(2).try_run().is_err());
            assert!(caught(|| map().for_each_completed(|_, ()| ControlFlow::Continue(()))).is_err());
            assert!(caught(|| map().stream_ordered(|_, ()| ControlFlow::Continue(()))).is_err());
            assert!(caught(|| map().stream_unordered(|_, ()| ControlFlow::Continue(()))).is_err());
            assert_eq!(accounts.started(), 0);
            accounts.close();
        });
    });
}

#[test]
fn tasks_that_are_queued_when_their_map_is_cancelled_never_start() {
    within_deadline(|| {
        // With one worker, the tasks start one after another.
        for candidate in candidates().filter(|one| one.workers == 1 && !one.name.starts_with("thread")) {
            let accounts = Accounts::default();
            let token = CancelToken::new();
            let cancel = |_value| {
                let _running = accounts.start();
                token.cancel();
            };
            let map = |len| candidate.executor.taskmap(cancel, accounts.values(len)).cancel_token(&token);
            let outcomes = map(1000).settled();
            assert_eq!(accounts.started(), 1);
            assert_eq!(outcomes.len(), 1000);
            assert!(
                outcomes.iter().skip(1).all(|outcome| outcome.as_ref().unwrap_err().kind() == ErrorKind::Cancelled)
            );
            drop(outcomes);
            accounts.close();
        }
    });
}

#[test]
fn queued_tasks_below_a_cancelled_map_never_start_either() {
    within_deadline(|| {
        for candidate in candidates().filter(|one| one.workers == 1 && !one.name.starts_with("thread")) {
            let accounts = Accounts::default();
            let token = CancelToken::new();
            let leaf = |_value| {
                let _running = accounts.start();
                token.cancel();
            };
            let nest = |_: usize| yield_taskmap(|_: usize| yield_taskmap(leaf, accounts.values(10)), 0..10);
            let error = candidate.executor.taskmap(nest, 0..10).cancel_token(&token).try_run().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Cancelled);
            assert_eq!(accounts.started(), 1);
            accounts.close();
        }
    });
}

#[test]
fn running_leaves_end_at_their_next_checkpoint() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let accounts = Accounts::default();
            let (token, running) = (CancelToken::new(), Flag::new());
            let leaf = |_value| {
                let _running = accounts.start();
                let _local = accounts.value(0);
                running.raise();
                endless();
            };
            let map = || executor.taskmap(leaf, accounts.values(6)).cancel_token(&token);
            let error = cancelled_when(&token, &running, || map().try_run()).map(|_: Vec<()>| ()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Cancelled);
            assert!(error.into_panic().is_none());
            assert!(accounts.started() > 0);
            accounts.close();
            assert_eq!(executor.map(|x| x + 1, 0..3), [1, 2, 3]);
        });
    });
}

#[test]
fn running_leaves_end_at_their_next_yield_point_of_any_kind() {
    within_deadline(|| {
        on_every_backend(|executor| {
            for way in 0..16 {
                doing(&format!("the way {way}"));
                let (token, running) = (CancelToken::new(), Flag::new());
                let (lock, rw_lock, semaphore) = (Mutex::new(()), RwLock::new(()), Semaphore::new(100));
                let once = || match way {
                    0 => yield_now(),
                    1 => yield_taskwrap(|| ()),
                    2 => drop(yield_taskmap(|x| x, 0..2)),
                    3 => drop(yield_starmap(|x: u8| x, [(1,)])),
                    4 => drop(yield_join(|| (), || ())),
                    5 => yield_scope(|s| drop(s.spawn(|| ()).join())),
                    6 => drop(taskmap(|x| x, 0..2).settled()),
                    7 => drop(try_yield_taskmap(Ok::<i32, ()>, 0..2)),
                    8 => drop(taskmap(|x| x, 0..2).race(|_| true)),
                    9 => taskmap(|x| x, 0..2).for_each_completed(|_, _| ControlFlow::Continue(())),
                    10 => block_on(async {}),
                    11 => drop(lock.lock()),
                    12 => drop(rw_lock.read()),
                    13 => drop(rw_lock.write()),
                    14 => drop(semaphore.acquire()),
                    _ => drop(executor.map(|x| x, 0..2)),
                };
                let leaf = |_| {
                    running.raise();
                    while !is_cancelled() {
                        once();
                    }
                    once();
                    false
                };
                let map = executor.taskmap(leaf, 0..1).cancel_token(&token);
                let outcome = cancelled_when(&token, &running, || map.settled()).remove(0);
                assert_eq!(outcome.map_err(|error| error.kind()), Err(ErrorKind::Cancelled), "the way {way}");
            }
        });
    });
}

#[test]
fn a_map_of_nothing_is_a_yield_point_too() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let token = CancelToken::new();
            let leaf = |_| {
                token.cancel();
                yield_taskmap(|x: u8| x, []).len()
            };
            let outcome = executor.taskmap(leaf, 0..1).cancel_token(&token).settled().remove(0);
            assert_eq!(outcome.map_err(|error| error.kind()), Err(ErrorKind::Cancelled));
        });
    });
}

#[test]
fn suspended_tasks_unwind_where_they_wait() {
    within_deadline(|| {
        on_fibers_that_interleave(|executor, _| {
            for way in 0..Waits::COUNT {
                doing(&format!("the way {way}"));
                let waits = Waits::new();
                let _held = (waits.locked.lock(), waits.written.write(), waits.read.read());
                let accounts = Accounts::default();
                let (token, running) = (CancelToken::new(), Flag::new());
                let task = |idx| {
                    let _running = accounts.start();
                    let _local = accounts.value(idx);
                    if idx == 0 {
                        running.raise();
                        waits.wait(way, executor);
                    } else {
                        // With one worker, the other task is suspended when this one runs.
                        while !running.is_raised() {
                            yield_now();
                        }
                        token.cancel();
                    }
                };
                let outcomes = executor.taskmap(task, 0..2).cancel_token(&token).settled();
                let kinds: Vec<_> = outcomes.iter().map(|outcome| outcome.as_ref().err().map(|e| e.kind())).collect();
                assert_eq!(kinds[0], Some(ErrorKind::Cancelled), "the way {way}: {kinds:?}");
                accounts.close();
            }
        });
    });
}

#[test]
fn tasks_of_every_backend_unwind_where_they_wait_when_another_thread_cancels() {
    within_deadline(|| {
        on_every_backend(|executor| {
            for way in 0..Waits::COUNT {
                doing(&format!("the way {way}"));
                let waits = Waits::new();
                let _held = (waits.locked.lock(), waits.written.write(), waits.read.read());
                let accounts = Accounts::default();
                let (token, running) = (CancelToken::new(), Flag::new());
                let task = |_value| {
                    let _running = accounts.start();
                    running.raise();
                    waits.wait(way, executor);
                };
                let map = executor.taskmap(task, accounts.values(3)).cancel_token(&token);
                let error = cancelled_when(&token, &running, || map.try_run()).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Cancelled, "the way {way}");
                accounts.close();
            }
        });
    });
}

#[test]
fn a_task_that_joins_a_handle_unwinds_and_the_other_task_goes_on() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let other = fibers(1);
            let go_on = std::sync::Arc::new(Flag::new());
            let theirs = std::sync::Arc::clone(&go_on);
            let handle = other.submit(move || {
                while !theirs.is_raised() {
                    yield_now();
                }
                7
            });
            let (token, running) = (CancelToken::new(), Flag::new());
            let (sender, receiver) = mpsc::channel();
            sender.send(handle).unwrap();
            let receiver = std::sync::Mutex::new(receiver);
            let task = |_| {
                let handle = receiver.lock().unwrap().recv().unwrap();
                running.raise();
                handle.join().map_err(|error| error.kind())
            };
            let map = executor.taskmap(task, 0..1).cancel_token(&token);
            let error = cancelled_when(&token, &running, || map.try_run()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Cancelled);
            go_on.raise();
            other.shutdown();
        });
    });
}

#[test]
fn cancelling_what_has_ended_changes_nothing() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let token = CancelToken::new();
            let map = || executor.taskmap(|x| yield_taskmap(|y| x * y, 0..3), 0..3).cancel_token(&token);
            let results = map().try_run().unwrap();
            token.cancel();
            token.cancel();
            assert_eq!(results, [[0, 0, 0], [0, 1, 2], [0, 2, 4]]);
            assert_eq!(map().try_run().unwrap_err().kind(), ErrorKind::Cancelled);
            assert_eq!(executor.map(|x| x + 1, 0..3), [1, 2, 3]);
        });
    });
}

#[test]
fn a_result_that_came_before_the_cancellation_counts() {
    within_deadline(|| {
        on_fibers(|executor, _| {
            let token = CancelToken::new();
            let ended = AtomicUsize::new(0);
            let task = |idx: usize| {
                if idx < 4 {
                    ended.fetch_add(1, Ordering::AcqRel);
                    return idx;
                }
                while ended.load(Ordering::Acquire) < 4 {
                    yield_now();
                }
                // The others have returned or are about to, without another yield point.
                token.cancel();
                endless()
            };
            let outcomes = executor.taskmap(task, 0..5).cancel_token(&token).settled();
            let outcomes: Vec<_> = outcomes.into_iter().map(|outcome| outcome.map_err(|error| error.kind())).collect();
            assert_eq!(outcomes, [Ok(0), Ok(1), Ok(2), Ok(3), Err(ErrorKind::Cancelled)]);
        });
    });
}

#[test]
fn several_threads_cancel_at_once() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let accounts = Accounts::default();
            let (token, running) = (CancelToken::new(), Flag::new());
            let leaf = |_value| {
                let _running = accounts.start();
                running.raise();
                yield_taskmap(|_| endless(), 0..2);
            };
            let outcome = thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        running.spin("a leaf runs");
                        token.cancel();
                        token.cancel();
                    });
                }
                executor.taskmap(leaf, accounts.values(3)).cancel_token(&token).try_run()
            });
            assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Cancelled);
            accounts.close();
        });
    });
}

#[test]
fn cancelling_a_map_further_down_leaves_the_others_alone() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let outer = |x: usize| {
                let token = CancelToken::new();
                let inner = |y: usize| {
                    if x == 1 {
                        token.cancel();
                        endless()
                    }
                    x * y
                };
                taskmap(inner, 0..3).cancel_token(&token).try_run().map_err(|error| error.kind())
            };
            let results = executor.map(outer, 0..3);
            assert_eq!(results, [Ok(vec![0, 0, 0]), Err(ErrorKind::Cancelled), Ok(vec![0, 2, 4])]);
        });
    });
}

const RACES: usize = if cfg!(debug_assertions) { 1_000 } else { 10_000 };

/// Calls `race` many times, with a token that another thread cancels at about the same time.
fn race_with_a_canceller(rounds: usize, race: impl Fn(usize, &CancelToken)) {
    let (tokens, received) = mpsc::channel::<(usize, CancelToken)>();
    thread::scope(|scope| {
        scope.spawn(move || {
            for (delay, token) in received {
                (0..delay).for_each(|_| std::hint::spin_loop());
                token.cancel();
            }
        });
        for round in 0..rounds {
            let token = CancelToken::new();
            tokens.send((round * 7 % 400, token.clone())).unwrap();
            race(round, &token);
        }
        drop(tokens);
    });
}

#[test]
fn cancelling_races_with_the_completion_of_a_map_and_each_task_has_one_outcome() {
    within_deadline(|| {
        for candidate in candidates()
            .filter(|one| ["fibers x", "serial x 1", "flat, level 0 x 2"].iter().any(|name| one.name.starts_with(name)))
        {
            race_with_a_canceller(RACES / 5, |round, token| {
                let accounts = Accounts::default();
                let returned: Vec<_> = (0..4).map(|_| AtomicUsize::new(0)).collect();
                let task = |(idx, value): (usize, _)| {
                    let _running = accounts.start();
                    for _ in 0..(idx + round) % 3 {
                        yield_taskmap(|_| checkpoint(), 0..2);
                    }
                    returned[idx].fetch_add(1, Ordering::AcqRel);
                    value
                };
                let items = accounts.values(4).into_iter().enumerate();
                let map = candidate.executor.taskmap(task, items).cancel_token(token);
                for (idx, outcome) in map.settled().into_iter().enumerate() {
                    match outcome {
                        Ok(value) => assert_eq!((*value.tag, returned[idx].load(Ordering::Acquire)), (idx, 1)),
                        Err(error) => {
                            assert_eq!(
                                (error.kind(), returned[idx].load(Ordering::Acquire)),
                                (ErrorKind::Cancelled, 0)
                            );
                        }
                    }
                }
                accounts.close();
            });
        }
    });
}

#[test]
fn cancelling_races_with_the_completion_of_a_single_task() {
    within_deadline(|| {
        for candidate in candidates().filter(|one| one.name.starts_with("fibers x")) {
            race_with_a_canceller(RACES / 2, |_, token| {
                let returned = Flag::new();
                let outcome = candidate.executor.taskmap(|()| returned.raise(), [()]).cancel_token(token).try_run();
                assert_eq!(outcome.is_ok(), returned.is_raised());
            });
        }
    });
}

#[test]
fn cancelling_is_transitive_through_the_calls_of_other_executors() {
    within_deadline(|| {
        let (outermost, innermost) = (fibers(1), fibers(2));
        on_every_backend(|middle| {
            for on_thread in [false, true] {
                let accounts = Accounts::default();
                let (token, running) = (CancelToken::new(), Flag::new());
                let leaf = |_value| {
                    let _running = accounts.start();
                    running.raise();
                    if on_thread { endless() } else { sleep(HOUR) }
                };
                let below = |_| innermost.map(leaf, accounts.values(3));
                let nest = |_| middle.map(|_| yield_taskmap(below, 0..2), 0..2);
                let map = outermost.taskmap(nest, 0..2).cancel_token(&token);
                let error = cancelled_when(&token, &running, || map.try_run()).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Cancelled);
                accounts.close();
            }
        });
    });
}

#[test]
fn cancelling_is_transitive_through_scopes_and_maps_with_policies_on_other_executors() {
    within_deadline(|| {
        let (outermost, innermost) = (fibers(2), fibers(1));
        on_every_backend(|middle| {
            let accounts = Accounts::default();
            let (token, running) = (CancelToken::new(), Flag::new());
            let leaf = |_value| {
                let _running = accounts.start();
                running.raise();
                endless()
            };
            let in_scope = || yield_scope(|s| s.spawn(|| innermost.map(leaf, accounts.values(2))).join().is_ok());
            let nest = |_| middle.taskmap(|_| in_scope(), 0..2).name("middle").deadline(HOUR).settled().len();
            let map = outermost.taskmap(nest, 0..2).cancel_token(&token);
            let error = cancelled_when(&token, &running, || map.try_run()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Cancelled);
            accounts.close();
        });
    });
}

#[test]
fn a_swallowed_cancellation_is_raised_again_at_every_further_yield() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let token = CancelToken::new();
            let swallows = AtomicUsize::new(0);
            let task = |_: usize| {
                token.cancel();
                assert!(is_cancelled());
                let yields: [&dyn Fn(); 8] = [
                    &checkpoint,
                    &yield_now,
                    &|| drop(yield_taskmap(|x| x, 0..3)),
                    &|| yield_taskwrap(|| ()),
                    &|| sleep(HOUR),
                    &|| block_on(future::pending()),
                    &|| drop(taskmap(|x| x, 0..3).settled()),
                    &|| yield_scope(|s| drop(s.spawn(|| ()))),
                ];
                for once in yields {
                    assert_eq!(kind_of(caught(once).unwrap_err()), ErrorKind::Cancelled);
                    swallows.fetch_add(1, Ordering::AcqRel);
                }
                yield_taskwrap(|| ());
                unreachable!("a cancelled task does not pass a yield point");
            };
            let error = executor.taskmap(task, 0..1).cancel_token(&token).try_run().map(drop).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
            assert_eq!(swallows.load(Ordering::Acquire), 8);
        });
    });
}

#[test]
fn a_task_that_swallows_its_cancellation_and_returns_has_a_result() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let token = CancelToken::new();
            let task = |x| {
                token.cancel();
                let kind = kind_of(caught(|| yield_taskmap(|x: u8| x, [1])).unwrap_err());
                (x, kind)
            };
            let outcome = executor.taskmap(task, [3]).cancel_token(&token).settled().remove(0);
            assert_eq!(outcome.unwrap(), (3, ErrorKind::Cancelled));
        });
    });
}

#[test]
fn a_panic_in_place_of_a_cancellation_is_a_panic() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let token = CancelToken::new();
            let task = |_: u8| {
                token.cancel();
                if caught(checkpoint).is_err() {
                    expected(5);
                }
            };
            let error = executor.taskmap(task, [1]).cancel_token(&token).try_run().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Panicked);
            assert_eq!(expected_panic(|| panic::resume_unwind(error.into_panic().unwrap())), 5);
        });
    });
}

#[test]
fn a_cancellation_does_not_run_the_panic_hook() {
    static SEEN: AtomicUsize = AtomicUsize::new(0);
    static ONCE: Once = Once::new();

    silence_expected_panics();
    ONCE.call_once(|| {
        let former = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            SEEN.fetch_add(usize::from(panic.payload().is::<Cancelled>()), Ordering::AcqRel);
            former(panic);
        }));
    });
    within_deadline(|| {
        on_every_backend(|executor| {
            let (token, running) = (CancelToken::new(), Flag::new());
            let nest = |_| {
                yield_taskmap(
                    |_| {
                        running.raise();
                        endless()
                    },
                    0..2,
                )
            };
            let map = executor.taskmap(nest, 0..2).cancel_token(&token);
            let outcome = cancelled_when(&token, &running, || map.try_run());
            assert_eq!(outcome.map(|_: Vec<Vec<()>>| ()).unwrap_err().kind(), ErrorKind::Cancelled);
            assert_eq!(SEEN.load(Ordering::Acquire), 0);
        });
    });
}

/// Calls a function when dropped.
struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Checks what `in_destructor` finds in a destructor of a task that unwinds from a cancellation.
#[track_caller]
fn while_a_task_unwinds(executor: &dyn Executor, in_destructor: impl Fn() -> usize + Sync, found: usize) {
    let (token, seen) = (CancelToken::new(), AtomicUsize::new(usize::MAX));
    let task = |_| {
        let _on_drop = OnDrop(|| seen.store(in_destructor(), Ordering::Release));
        token.cancel();
        endless()
    };
    let outcome = executor.taskmap(task, 0..1).cancel_token(&token).try_run();
    assert_eq!(outcome.map(|_: Vec<()>| ()).unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(seen.load(Ordering::Acquire), found);
}

#[test]
fn maps_in_destructors_of_a_cancelled_task_run_to_their_end() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let nest = || yield_taskmap(|x: usize| yield_taskmap(|y| x * y, 0..4).into_iter().sum::<usize>(), 0..4);
            while_a_task_unwinds(executor, || nest().into_iter().sum(), 36);
            let join = || yield_join(|| yield_taskwrap(|| 1), || yield_starmap(|x: usize| x, [(2,)])[0]);
            while_a_task_unwinds(executor, || join().0 + join().1, 3);
            while_a_task_unwinds(executor, || executor.map(|x| x, 0..4).into_iter().sum(), 6);
            let leaf = |_| {
                checkpoint();
                yield_now();
                1
            };
            while_a_task_unwinds(executor, || yield_taskmap(leaf, 0..3).len(), 3);
        });
    });
}

#[test]
fn maps_with_a_policy_in_destructors_of_a_cancelled_task_run_to_their_end() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let map = || taskmap(|x: usize| x + 1, 0..4).name("clean up");
            let settled = || map().settled().into_iter().filter(Result::is_ok).count();
            while_a_task_unwinds(executor, settled, 4);
            while_a_task_unwinds(executor, || map().run().len(), 4);
            while_a_task_unwinds(executor, || map().max_in_flight(2).try_run().map_or(0, |results| results.len()), 4);
            while_a_task_unwinds(executor, || map().race(|&x| x == 3).map_or(0, |(idx, _)| idx), 2);
            while_a_task_unwinds(executor, || try_yield_taskmap(Ok::<usize, ()>, 0..4).map_or(0, |all| all.len()), 4);
        });
    });
}

#[test]
fn scopes_and_streams_in_destructors_of_a_cancelled_task_run_to_their_end() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let scope = || {
                let ran = AtomicUsize::new(0);
                yield_scope(|s| {
                    for _ in 0..3 {
                        drop(s.spawn(|| ran.fetch_add(1, Ordering::AcqRel)));
                    }
                });
                ran.into_inner()
            };
            while_a_task_unwinds(executor, scope, 3);
            let stream = || {
                let mut sum = 0;
                taskmap(|x: usize| x, 0..4).for_each_completed(|_, x| {
                    sum += x;
                    ControlFlow::Continue(())
                });
                sum
            };
            while_a_task_unwinds(executor, stream, 6);
        });
    });
}

#[test]
fn destructors_that_yield_run_at_every_level_of_a_cancelled_nest() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let accounts = Accounts::default();
            let (token, running) = (CancelToken::new(), Flag::new());
            let cleaned = AtomicUsize::new(0);
            let level = |inner: &(dyn Fn() + Sync)| {
                let _running = accounts.start();
                let _clean = OnDrop(|| {
                    cleaned.fetch_add(yield_taskmap(|x| x, 0..3).len(), Ordering::AcqRel);
                });
                inner();
            };
            let leaf = |_| {
                level(&|| {
                    running.raise();
                    endless()
                });
            };
            let nest = |_| level(&|| drop(yield_taskmap(|_| level(&|| drop(yield_taskmap(leaf, 0..2))), 0..2)));
            let map = executor.taskmap(nest, 0..2).cancel_token(&token);
            let error = cancelled_when(&token, &running, || map.try_run()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Cancelled);
            accounts.close();
            assert_eq!(cleaned.load(Ordering::Acquire), 3 * accounts.started());
        });
    });
}

#[test]
fn outside_a_task_nothing_is_cancelled_and_a_checkpoint_does_nothing() {
    within_deadline(|| {
        checkpoint();
        assert!(!is_cancelled());
        let token = CancelToken::new();
        token.cancel();
        assert!(SerialExecutor::new().taskmap(|_| (), 0..1).cancel_token(&token).try_run().is_err());
        checkpoint();
        assert!(!is_cancelled());
        sleep(Duration::ZERO);
    });
}

#[test]
fn a_task_knows_whether_it_is_cancelled() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let token = CancelToken::new();
            let task = |_| {
                let before = is_cancelled();
                token.cancel();
                (before, is_cancelled())
            };
            assert_eq!(executor.taskmap(task, 0..1).cancel_token(&token).settled().remove(0).unwrap(), (false, true));
            assert_eq!(executor.map(|_| is_cancelled(), 0..2), [false, false]);
        });
    });
}

#[test]
fn an_executor_is_as_good_after_a_cancellation_as_before() {
    within_deadline(|| {
        on_every_backend(|executor| {
            for round in 0..10 {
                let token = CancelToken::new();
                let leaf = |x: usize| {
                    if x == round % 4 {
                        token.cancel();
                    }
                    checkpoint();
                };
                let nest = |_: usize| yield_taskmap(leaf, 0..4);
                assert!(executor.taskmap(nest, 0..3).cancel_token(&token).try_run().is_err());
                assert_eq!(executor.map(|x| yield_taskmap(|y| x * y, 0..3), 0..2), [[0, 0, 0], [0, 1, 2]]);
            }
        });
    });
}
