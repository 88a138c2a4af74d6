//! Tasks that are started one by one, and have all ended when their scope is left.

use crate::accounting::Accounts;
use crate::backends::{candidates, fibers, on_every_backend, on_fibers, on_fibers_that_interleave};
use crate::deadline::{Flag, within_deadline};
use crate::panicking::{caught, expected, expected_panic, number_of};
use std::panic;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;
use yieldtasks::{
    CancelToken, ErrorKind, ExecutorExt, Scope, checkpoint, sleep, yield_now, yield_scope, yield_taskmap,
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

#[test]
fn tasks_of_a_scope_borrow_and_their_handles_give_results() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let words = ["fiber".to_owned(), "worker".to_owned(), String::new()];
            let mut written = [0; 3];
            let total = executor.run(|| {
                yield_scope(|s| {
                    let lengths: Vec<_> = words.iter().map(|word| s.spawn(|| word.len())).collect();
                    for (idx, place) in written.iter_mut().enumerate() {
                        drop(s.spawn(move || *place = yield_taskmap(|x| x + idx, 0..3)[2]));
                    }
                    lengths.into_iter().map(|handle| handle.join().unwrap()).sum::<usize>()
                })
            });
            assert_eq!((total, written), (11, [2, 3, 4]));
        });
    });
}

#[test]
fn outside_a_task_a_scope_runs_on_the_global_executor() {
    within_deadline(|| {
        let mut place = 0;
        let result = yield_scope(|s| {
            drop(s.spawn(|| place = 3));
            s.spawn(|| yield_taskwrap(|| 4)).join().unwrap()
        });
        assert_eq!((place, result), (3, 4));
    });
}

#[test]
fn an_empty_scope_gives_the_result_of_its_body() {
    within_deadline(|| {
        on_every_backend(|executor| {
            assert_eq!(executor.run(|| yield_scope(|_| 5)), 5);
            assert_eq!(expected_panic(|| executor.run(|| yield_scope(|_| expected(5)))), 5);
        });
    });
}

#[test]
fn a_scope_is_left_when_tasks_nobody_joined_have_ended() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let accounts = Accounts::default();
            for _ in 0..5 {
                let result = executor.run(|| {
                    yield_scope(|s| {
                        for tag in 0..8 {
                            let (value, accounts) = (accounts.value(tag), &accounts);
                            drop(s.spawn(move || {
                                let _running = accounts.start();
                                yield_taskmap(|_| yield_now(), 0..3);
                                value
                            }));
                        }
                    });
                    (accounts.started(), accounts.ended())
                });
                assert_eq!(result.0, result.1);
                accounts.close();
            }
            assert_eq!(accounts.started(), 40);
        });
    });
}

#[test]
fn the_body_of_a_scope_goes_on_while_its_tasks_run() {
    within_deadline(|| {
        on_fibers(|executor, _| {
            let go_on = Flag::new();
            executor.run(|| {
                yield_scope(|s| {
                    let handle = s.spawn(|| {
                        while !go_on.is_raised() {
                            yield_now();
                        }
                        1
                    });
                    go_on.raise();
                    assert_eq!(handle.join().unwrap(), 1);
                });
            });
        });
    });
}

#[test]
fn a_panic_that_is_joined_is_a_value_and_nothing_else() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let number = executor.run(|| {
                yield_scope(|s| {
                    let error = s.spawn(|| expected(6)).join().unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::Panicked);
                    number_of(error.into_panic().unwrap())
                })
            });
            assert_eq!(number, 6);
        });
    });
}

#[test]
fn a_panic_that_nobody_joined_is_raised_where_the_scope_ends() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let accounts = Accounts::default();
            let scope = || {
                yield_scope(|s| {
                    for number in 0..6 {
                        let (value, accounts) = (accounts.value(number), &accounts);
                        let task = move || {
                            let (_running, _value) = (accounts.start(), value);
                            yield_taskmap(|x| x, 0..2);
                            if number > 2 {
                                expected(number);
                            }
                        };
                        let handle = s.spawn(task);
                        if number == 4 {
                            assert!(handle.join().is_err());
                        }
                    }
                });
            };
            assert_eq!(expected_panic(|| executor.run(scope)), 3, "the task that was spawned first");
            assert_eq!(accounts.started(), 6, "a panic of a task cancels nobody");
            accounts.close();
        });
    });
}

#[test]
fn a_panic_of_the_body_cancels_the_tasks_and_goes_on_when_they_have_ended() {
    within_deadline(|| {
        on_every_backend(|executor| {
            // A backend that runs tasks inline would never come back from one that does not end.
            let accounts = Accounts::default();
            let ends = executor.run(|| {
                let here = thread::current().id();
                yield_scope(|s| s.spawn(move || thread::current().id() == here).join().unwrap())
            });
            let scope = || {
                yield_scope(|s| {
                    for tag in 0..4 {
                        let (value, accounts) = (accounts.value(tag), &accounts);
                        drop(s.spawn(move || {
                            let (_running, _value) = (accounts.start(), value);
                            if !ends {
                                yield_taskmap(|_| endless(), 0..2);
                            }
                        }));
                    }
                    expected(8)
                })
            };
            if !ends {
                assert_eq!(expected_panic(|| executor.run(scope)), 8);
            }
            accounts.close();
        });
    });
}

#[test]
fn a_panic_of_the_body_on_fibers_unwinds_suspended_tasks() {
    within_deadline(|| {
        on_fibers(|executor, _| {
            let accounts = Accounts::default();
            let scope = || {
                yield_scope(|s| {
                    let accounts = &accounts;
                    for _ in 0..4 {
                        drop(s.spawn(move || {
                            let _running = accounts.start();
                            sleep(HOUR);
                        }));
                    }
                    while accounts.started() < 4 {
                        yield_now();
                    }
                    expected(8)
                })
            };
            assert_eq!(expected_panic(|| executor.run(scope)), 8);
            assert_eq!(accounts.started(), 4);
            accounts.close();
        });
    });
}

#[test]
fn the_panic_of_the_body_is_raised_rather_than_one_of_a_task() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let scope = || {
                yield_scope(|s| {
                    drop(s.spawn(|| expected(1)));
                    expected(2)
                })
            };
            assert_eq!(expected_panic(|| executor.run(scope)), 2);
        });
    });
}

#[test]
fn tasks_of_a_scope_spawn_more_of_them() {
    fn grow<'s>(scope: &'s Scope<'s, '_>, counted: &'s AtomicUsize, depth: usize) {
        counted.fetch_add(1, Ordering::AcqRel);
        if depth > 0 {
            (0..2).for_each(|_| drop(scope.spawn(move || grow(scope, counted, depth - 1))));
        }
    }

    within_deadline(|| {
        on_every_backend(|executor| {
            let counted = AtomicUsize::new(0);
            executor.run(|| yield_scope(|s| grow(s, &counted, 5)));
            assert_eq!(counted.into_inner(), 63);
        });
    });
}

#[test]
fn handles_are_joined_by_other_tasks_of_the_scope() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let sum = executor.run(|| {
                yield_scope(|s| {
                    let first = s.spawn(|| yield_taskwrap(|| 1));
                    let second = s.spawn(move || first.join().unwrap() + 2);
                    s.spawn(move || second.join().unwrap() + 3).join().unwrap()
                })
            });
            assert_eq!(sum, 6);
        });
    });
}

#[test]
fn scopes_nest() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let log = Mutex::new(Vec::new());
            let result = executor.run(|| {
                yield_scope(|outer| {
                    let inner = outer.spawn(|| {
                        yield_scope(|inner| {
                            drop(inner.spawn(|| log.lock().unwrap().push("inner")));
                            drop(outer.spawn(|| log.lock().unwrap().push("outer from inside")));
                            yield_scope(|innermost| innermost.spawn(|| 3).join().unwrap())
                        })
                    });
                    inner.join().unwrap()
                })
            });
            let mut log = log.into_inner().unwrap();
            log.sort_unstable();
            assert_eq!((result, log), (3, vec!["inner", "outer from inside"]));
            let maps = executor
                .map(|x| yield_scope(|s| s.spawn(move || yield_taskmap(|y| x * y, 0..2)).join()).unwrap(), 0..3);
            assert_eq!(maps, [[0, 0], [0, 1], [0, 2]]);
        });
    });
}

#[test]
fn a_task_of_a_scope_is_cancelled_by_its_handle_alone() {
    within_deadline(|| {
        for candidate in candidates() {
            let accounts = Accounts::default();
            let kinds = candidate.executor.run(|| {
                let here = thread::current().id();
                // A backend that runs tasks inline has run the task when the handle is there.
                let inline = yield_scope(|s| s.spawn(move || thread::current().id() == here).join().unwrap());
                yield_scope(|s| {
                    let accounts = &accounts;
                    let cancelled = s.spawn(move || {
                        let _running = accounts.start();
                        if !inline {
                            endless();
                        }
                    });
                    let other = s.spawn(|| yield_taskmap(|x| x, 0..3).len());
                    cancelled.cancel();
                    cancelled.cancel();
                    let kind = cancelled.join().map_err(|error| error.kind());
                    (inline || kind == Err(ErrorKind::Cancelled), other.join().unwrap())
                })
            });
            // On fibers the tasks run on the same thread and not inline.
            assert!(kinds.0 || candidate.name.starts_with("fibers"), "{kinds:?}");
            assert_eq!(kinds.1, 3);
            accounts.close();
        }
        on_fibers(|executor, _| {
            let accounts = Accounts::default();
            let kind = executor.run(|| {
                yield_scope(|s| {
                    let handle = s.spawn(|| {
                        let _running = accounts.start();
                        sleep(HOUR);
                    });
                    while accounts.started() == 0 {
                        yield_now();
                    }
                    assert!(!handle.is_finished());
                    let handle = handle.join_timeout(Duration::from_millis(1)).map(|_| ()).unwrap_err();
                    handle.cancel();
                    handle.join().unwrap_err().kind()
                })
            });
            assert_eq!(kind, ErrorKind::Cancelled);
            accounts.close();
        });
    });
}

#[test]
fn a_cancelled_map_ends_the_tasks_of_scopes_below_it() {
    within_deadline(|| {
        on_fibers_that_interleave(|executor, _| {
            for join in [false, true] {
                let accounts = Accounts::default();
                let token = CancelToken::new();
                let nest = |idx: usize| {
                    if idx == 1 {
                        while accounts.started() < 3 {
                            yield_now();
                        }
                        token.cancel();
                        endless();
                    }
                    yield_scope(|s| {
                        let accounts = &accounts;
                        let spawn = |_| {
                            s.spawn(move || {
                                let _running = accounts.start();
                                yield_taskwrap(|| sleep(HOUR));
                            })
                        };
                        let handles: Vec<_> = (0..3).map(spawn).collect();
                        if join {
                            handles.into_iter().for_each(|handle| drop(handle.join()));
                        }
                    });
                };
                let outcomes = executor.taskmap(nest, 0..2).cancel_token(&token).settled();
                let kinds: Vec<_> = outcomes.into_iter().map(|outcome| outcome.map_err(|error| error.kind())).collect();
                assert_eq!(kinds, [Err(ErrorKind::Cancelled), Err(ErrorKind::Cancelled)], "joined: {join}");
                accounts.close();
            }
        });
    });
}

#[test]
fn a_scope_in_a_destructor_of_a_panicking_task_runs_its_tasks() {
    struct RunsScope<'a>(&'a AtomicUsize);

    impl Drop for RunsScope<'_> {
        fn drop(&mut self) {
            yield_scope(|s| {
                for _ in 0..3 {
                    drop(s.spawn(|| self.0.fetch_add(yield_taskmap(|x| x, 0..2).len(), Ordering::AcqRel)));
                }
                assert_eq!(s.spawn(|| 4).join().unwrap(), 4);
            });
        }
    }

    within_deadline(|| {
        on_every_backend(|executor| {
            let ran = AtomicUsize::new(0);
            let map = |x: usize| {
                let _scope = RunsScope(&ran);
                if x == 0 { expected(2) } else { x }
            };
            assert_eq!(expected_panic(|| executor.map(map, 0..1)), 2);
            assert_eq!(ran.into_inner(), 6);
        });
    });
}

#[test]
fn a_scope_on_another_executor_takes_its_tasks_there() {
    within_deadline(|| {
        let outer = fibers(1);
        on_every_backend(|executor| {
            let log = Mutex::new(Vec::new());
            outer.run(|| {
                executor.run(|| {
                    yield_scope(|s| {
                        (0..4).for_each(|x| {
                            drop(s.spawn({
                                let log = &log;
                                move || log.lock().unwrap().push(yield_taskmap(|y| y + x, 0..2)[0])
                            }))
                        })
                    });
                });
            });
            let mut log = log.into_inner().unwrap();
            log.sort_unstable();
            assert_eq!(log, [0, 1, 2, 3]);
        });
    });
}

#[test]
fn results_that_panic_when_dropped_do_no_harm() {
    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            if !thread::panicking() {
                expected(1);
            }
        }
    }

    within_deadline(|| {
        on_every_backend(|executor| {
            let _ = caught(|| {
                executor.run(|| {
                    yield_scope(|s| {
                        for _ in 0..3 {
                            drop(s.spawn(|| Bomb));
                        }
                        let raise = || -> u8 { panic::resume_unwind(Box::new(Bomb)) };
                        let error = s.spawn(raise).join().unwrap_err();
                        assert_eq!(expected_panic(|| drop(error.into_panic())), 1);
                    });
                });
            });
            assert_eq!(executor.map(|x| x + 1, 0..2), [1, 2]);
        });
    });
}
