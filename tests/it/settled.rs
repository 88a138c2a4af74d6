//! Outcomes as values: all of them, or the first failure.

use crate::accounting::Accounts;
use crate::backends::{on_every_backend, on_fibers};
use crate::deadline::{Flag, within_deadline};
use crate::panicking::{Expected, caught, expected, expected_panic, number_of};
use std::panic;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex};
use std::thread;
use yieldtasks::{
    ErrorKind, ExecutorExt, ThreadPerTaskExecutor, checkpoint, taskmap, try_yield_taskmap, yield_now, yield_taskmap,
    yield_taskwrap,
};

#[test]
fn all_outcomes_come_in_input_order_whatever_becomes_of_the_others() {
    #[derive(Debug, PartialEq)]
    struct Custom(Vec<u8>);

    within_deadline(|| {
        on_every_backend(|executor| {
            let task = |x: usize| -> usize {
                match x {
                    1 => panic!("expected {x}"),
                    2 => panic!("expected"),
                    3 => panic::resume_unwind(Box::new(Custom(vec![3]))),
                    _ => yield_taskmap(|y| x * y, 0..3)[1],
                }
            };
            let mut outcomes = executor.taskmap(task, 0..6).settled();
            assert_eq!(outcomes.len(), 6);
            let custom = outcomes.remove(3).unwrap_err();
            assert_eq!(custom.kind(), ErrorKind::Panicked);
            assert!(!custom.message().is_empty());
            assert_eq!(*custom.into_panic().unwrap().downcast::<Custom>().unwrap(), Custom(vec![3]));
            let literal = outcomes.remove(2).unwrap_err();
            assert_eq!((literal.kind(), literal.message()), (ErrorKind::Panicked, "expected"));
            assert_eq!(*literal.into_panic().unwrap().downcast::<&str>().unwrap(), "expected");
            let text = outcomes.remove(1).unwrap_err();
            assert_eq!((text.kind(), text.message()), (ErrorKind::Panicked, "expected 1"));
            assert_eq!(*text.into_panic().unwrap().downcast::<String>().unwrap(), "expected 1");
            assert_eq!(outcomes.into_iter().map(Result::unwrap).collect::<Vec<_>>(), [0, 4, 5]);
        });
    });
}

#[test]
fn every_task_runs_though_all_panic() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let accounts = Accounts::default();
            let task = |value: crate::accounting::Value<'_>| -> () {
                let _running = accounts.start();
                expected(*value.tag)
            };
            let outcomes = executor.taskmap(task, accounts.values(20)).settled();
            assert_eq!(accounts.started(), 20);
            let numbers: Vec<_> =
                outcomes.into_iter().map(|o| number_of(o.unwrap_err().into_panic().unwrap())).collect();
            assert_eq!(numbers, (0..20).collect::<Vec<_>>());
            accounts.close();
        });
    });
}

#[test]
fn results_of_no_size_count() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let odd_panic = |x: usize| {
                if x % 2 == 1 {
                    expected(x)
                }
            };
            let outcomes = executor.taskmap(odd_panic, 0..6).settled();
            assert_eq!(outcomes.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true, false, true, false]);
            assert_eq!(executor.taskmap(|_| (), 0..6).try_run().unwrap(), [(); 6]);
            assert_eq!(executor.taskmap(|_| (), 0..6).race(|()| true).map(|(_, unit)| unit), Some(()));
            assert_eq!(executor.run(|| try_yield_taskmap(|_| Ok::<(), ()>(()), 0..6)), Ok(vec![(); 6]));
        });
    });
}

#[test]
fn a_map_of_nothing_has_no_outcomes() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let map = || executor.taskmap(|x: u8| x, []).name("nothing");
            assert!(map().run().is_empty());
            assert!(map().try_run().unwrap().is_empty());
            assert!(map().max_in_flight(3).try_run().unwrap().is_empty());
            assert!(map().settled().is_empty());
            assert!(map().race(|_| true).is_none());
            assert_eq!(executor.run(|| try_yield_taskmap(|x: u8| Err::<u8, u8>(x), [])), Ok(vec![]));
        });
    });
}

#[test]
fn results_of_the_siblings_of_a_failed_task_are_there_and_each_is_dropped_once() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let accounts = Accounts::default();
            let task = |value: crate::accounting::Value<'_>| {
                let tag = *value.tag;
                let below = yield_taskmap(|x| accounts.value(x), 0..2);
                if tag == 3 { expected(tag) } else { below }
            };
            let outcomes = executor.taskmap(task, accounts.values(8)).settled();
            assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 7);
            drop(outcomes);
            assert!(executor.taskmap(task, accounts.values(8)).try_run().is_err());
            accounts.close();
        });
    });
}

#[test]
fn without_a_failure_all_results_come_in_input_order() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let map = || executor.taskmap(|x| yield_taskwrap(|| x * 2), 0..20);
            let doubled: Vec<_> = (0..20).map(|x| x * 2).collect();
            assert_eq!(map().run(), doubled);
            assert_eq!(map().name("named").run(), doubled);
            assert_eq!(map().try_run().unwrap(), doubled);
            assert_eq!(map().settled().into_iter().map(Result::unwrap).collect::<Vec<_>>(), doubled);
        });
    });
}

#[test]
fn a_failure_cancels_its_siblings_and_is_the_error() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let accounts = Accounts::default();
            let task = |value: crate::accounting::Value<'_>| {
                let _running = accounts.start();
                if *value.tag == 0 {
                    expected(7);
                }
                yield_taskmap(
                    |_| loop {
                        checkpoint();
                        thread::yield_now();
                    },
                    0..2,
                )
            };
            let outcome = executor.taskmap(task, accounts.values(6)).try_run();
            let error = outcome.map(|_: Vec<Vec<()>>| ()).unwrap_err();
            assert_eq!((error.kind(), error.path().iter().last().unwrap().index()), (ErrorKind::Panicked, 0));
            assert_eq!(number_of(error.into_panic().unwrap()), 7);
            accounts.close();
        });
    });
}

#[test]
fn run_raises_the_panic_with_its_payload_and_cancels_the_siblings() {
    within_deadline(|| {
        on_every_backend(|executor| {
            for limit in [1, 2, 100] {
                let map = executor.taskmap(|x| if x == 4 { expected(x) } else { x }, 0..8).max_in_flight(limit);
                assert_eq!(expected_panic(|| map.run()), 4);
            }
            let named = executor.taskmap(|x| if x == 4 { expected(x) } else { x }, 0..8).name("named");
            assert_eq!(expected_panic(|| named.run()), 4);
        });
    });
}

#[test]
fn of_several_failures_the_one_with_the_lowest_index_is_the_error() {
    within_deadline(|| {
        on_fibers(|executor, _| {
            for _ in 0..20 {
                let started = AtomicUsize::new(0);
                let task = |idx: usize| -> Result<(), usize> {
                    started.fetch_add(1, Ordering::AcqRel);
                    // Spins, since a yield point would be where the task is cancelled.
                    if idx >= 3 {
                        return Ok(());
                    }
                    Err(idx)
                };
                let failed = executor.run(|| try_yield_taskmap(task, 0..10)).unwrap_err();
                assert!(failed < 3);
            }
        });
    });
}

#[test]
fn of_the_calls_that_failed_the_one_with_the_lowest_index_wins() {
    within_deadline(|| {
        on_every_backend(|executor| {
            for round in 0..10 {
                let failed = Mutex::new(Vec::new());
                let task = |idx: usize| {
                    yield_taskmap(|_| yield_now(), 0..idx % 3);
                    if (idx + round).is_multiple_of(4) {
                        failed.lock().unwrap().push(idx);
                        return Err(idx);
                    }
                    Ok(idx)
                };
                let outcome = executor.run(|| try_yield_taskmap(task, 0..12));
                assert_eq!(outcome.err(), failed.into_inner().unwrap().into_iter().min());
                let panicked = Mutex::new(Vec::new());
                let task = |idx: usize| {
                    yield_taskmap(|_| yield_now(), 0..idx % 3);
                    if (idx + round).is_multiple_of(4) {
                        panicked.lock().unwrap().push(idx);
                        expected(idx);
                    }
                };
                let error = executor.taskmap(task, 0..12).try_run().unwrap_err();
                let number = number_of(error.into_panic().unwrap());
                assert_eq!(Some(number), panicked.into_inner().unwrap().into_iter().min());
            }
        });
    });
}

#[test]
fn an_error_cancels_the_other_calls_and_everything_is_dropped_once() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let (accounts, errors) = (Accounts::default(), Accounts::default());
            let task = |value: crate::accounting::Value<'_>| {
                let _running = accounts.start();
                if *value.tag == 0 {
                    return Err(errors.value(0));
                }
                loop {
                    checkpoint();
                    thread::yield_now();
                }
            };
            let outcome = executor.run(|| try_yield_taskmap(task, accounts.values(6)));
            assert_eq!(*outcome.map(|_: Vec<()>| ()).unwrap_err().tag, 0);
            accounts.close();
            errors.close();
        });
    });
}

#[test]
fn a_panic_of_a_call_that_may_fail_is_raised_again() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let task = |x: usize| if x == 2 { expected(x) } else { Ok::<usize, usize>(x) };
            assert_eq!(expected_panic(|| executor.run(|| try_yield_taskmap(task, 0..4))), 2);
        });
    });
}

#[test]
fn an_error_of_a_nested_call_stops_that_call_alone() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let inner = |x: usize| try_yield_taskmap(|y| if (x, y) == (1, 2) { Err(y) } else { Ok(x * y) }, 0..3);
            let results = executor.map(inner, 0..3);
            assert_eq!(results, [Ok(vec![0, 0, 0]), Err(2), Ok(vec![0, 2, 4])]);
            let all = executor.run(|| try_yield_taskmap(inner, 0..3));
            assert_eq!(all, Err(2));
        });
    });
}

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic::panic_any(Expected(1));
    }
}

#[test]
fn payloads_whose_destructors_panic_do_no_harm() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let all_panic = |_: usize| -> usize { panic::resume_unwind(Box::new(Bomb)) };
            let error = executor.taskmap(all_panic, 0..4).try_run().unwrap_err();
            let bomb = error.into_panic().unwrap();
            assert_eq!(expected_panic(|| drop(bomb)), 1);
            assert_eq!(executor.map(|x| x + 1, 0..3), [1, 2, 3]);
        });
    });
}

#[test]
fn several_payloads_whose_destructors_panic_do_no_harm() {
    within_deadline(|| {
        let executor = ThreadPerTaskExecutor::new();
        // All panic, since none is cancelled before the others have started.
        let all_panic = |barrier: &Barrier| {
            barrier.wait();
            panic::resume_unwind(Box::new(Bomb))
        };
        let barrier = Barrier::new(4);
        let error = executor.taskmap(|_| -> usize { all_panic(&barrier) }, 0..4).try_run().unwrap_err();
        assert_eq!(expected_panic(|| drop(error.into_panic())), 1);
        let raced = caught(|| executor.taskmap(|_| -> usize { all_panic(&barrier) }, 0..4).race(|_| true));
        assert_eq!(expected_panic(|| drop(raced)), 1);
        let tried =
            caught(|| executor.run(|| try_yield_taskmap(|_| -> Result<usize, ()> { Ok(all_panic(&barrier)) }, 0..4)));
        assert_eq!(expected_panic(|| drop(tried)), 1);
    });
}

#[test]
fn a_map_that_is_dropped_without_being_run_drops_its_parts_and_runs_nothing() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let (accounts, ran) = (Accounts::default(), Flag::new());
            let owned = accounts.value(0);
            let function = |_value: crate::accounting::Value<'_>| {
                let _owned = &owned;
                ran.raise();
            };
            drop(executor.taskmap(&function, accounts.values(5)).name("never").max_in_flight(2));
            drop(taskmap(&function, accounts.values(5)));
            let by_value = move |_value: crate::accounting::Value<'_>| {
                let _owned = &owned;
            };
            drop(executor.taskmap(by_value, accounts.values(5)));
            assert!(!ran.is_raised());
            accounts.close();
        });
    });
}
