//! A race has one winner, and the losers are cancelled.

use crate::accounting::{Accounts, Value};
use crate::backends::{candidates, on_every_backend, on_fibers, on_fibers_that_interleave};
use crate::deadline::{Flag, within_deadline};
use crate::panicking::{expected, expected_panic};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;
use yieldtasks::{CancelToken, ExecutorExt, checkpoint, is_cancelled, sleep, taskmap, yield_now, yield_taskmap};

const HOUR: Duration = Duration::from_secs(3600);

/// Runs until it is stopped.
fn endless() -> ! {
    loop {
        checkpoint();
        thread::yield_now();
    }
}

#[test]
fn the_winner_of_a_race_comes_with_its_index_and_value() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let accounts = Accounts::default();
            let task = |value: Value<'_>| {
                let _running = accounts.start();
                yield_taskmap(|_| checkpoint(), 0..2);
                accounts.value(*value.tag * 10)
            };
            let map = executor.taskmap(task, accounts.values(8));
            let (idx, value) = map.race(|value| *value.tag == 50).unwrap();
            assert_eq!((idx, *value.tag), (5, 50));
            drop(value);
            accounts.close();
        });
    });
}

#[test]
fn the_losers_of_a_race_are_cancelled_and_their_destructors_run() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let accounts = Accounts::default();
            // On a backend that runs one task after another, the winner is the first.
            let task = |value: Value<'_>| {
                let _running = accounts.start();
                match *value.tag {
                    0 => 0,
                    1 => endless(),
                    _ => yield_taskmap(|_value| endless(), accounts.values(2))[0],
                }
            };
            let winner = executor.taskmap(task, accounts.values(6)).race(|_| true);
            assert_eq!(winner, Some((0, 0)));
            accounts.close();
        });
    });
}

#[test]
fn a_race_on_fibers_is_won_by_whoever_gets_there_first() {
    within_deadline(|| {
        on_fibers(|executor, _| {
            let task = |idx: usize| {
                if idx != 7 {
                    sleep(HOUR);
                }
                idx
            };
            assert_eq!(executor.taskmap(task, 0..10).race(|_| true), Some((7, 7)));
        });
    });
}

#[test]
fn with_one_worker_nothing_starts_after_the_winner() {
    within_deadline(|| {
        for candidate in candidates().filter(|one| one.workers == 1 && !one.name.starts_with("thread")) {
            let started = AtomicUsize::new(0);
            let task = |idx: usize| {
                started.fetch_add(1, Ordering::Relaxed);
                idx
            };
            assert_eq!(candidate.executor.taskmap(task, 0..1000).race(|&idx| idx == 3), Some((3, 3)));
            assert_eq!(started.load(Ordering::Relaxed), 4);
        }
    });
}

#[test]
fn a_race_whose_results_nobody_accepts_has_no_winner() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let accounts = Accounts::default();
            let map = executor.taskmap(|value: Value<'_>| (accounts.start(), value).1, accounts.values(10));
            assert!(map.race(|_| false).is_none());
            assert_eq!(accounts.started(), 10, "all tasks have run");
            accounts.close();
            assert!(executor.run(|| taskmap(|x| x, 0..3).race(|_| false)).is_none());
        });
    });
}

#[test]
fn a_panic_before_there_is_a_winner_is_raised_again() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let accounts = Accounts::default();
            let task = |value: Value<'_>| {
                let _running = accounts.start();
                if *value.tag == 0 {
                    expected(9);
                }
                yield_taskmap(|_| endless(), 0..2);
            };
            assert_eq!(expected_panic(|| executor.taskmap(task, accounts.values(4)).race(|()| true)), 9);
            accounts.close();
        });
    });
}

#[test]
fn a_result_that_comes_after_a_panic_does_not_win() {
    within_deadline(|| {
        on_fibers(|executor, workers| {
            // Needs two tasks that run at the same time, or one that waits without being stopped.
            if workers == 1 {
                return;
            }
            let both = AtomicUsize::new(0);
            let task = |idx: usize| {
                both.fetch_add(1, Ordering::AcqRel);
                while both.load(Ordering::Acquire) < 2 {
                    thread::yield_now();
                }
                if idx == 0 {
                    expected(9);
                }
                while !is_cancelled() {
                    thread::yield_now();
                }
                idx
            };
            assert_eq!(expected_panic(|| executor.taskmap(task, 0..2).race(|_| true)), 9);
        });
    });
}

#[test]
fn a_panic_after_there_is_a_winner_changes_nothing() {
    within_deadline(|| {
        on_fibers_that_interleave(|executor, _| {
            let won = Flag::new();
            let task = |idx: usize| {
                if idx == 1 {
                    won.raise();
                    return idx;
                }
                while !won.is_raised() {
                    yield_now();
                }
                while !is_cancelled() {
                    thread::yield_now();
                }
                expected(9)
            };
            // With one worker, the task that panics would wait for ever for the other if it did not yield.
            assert_eq!(executor.taskmap(task, 0..2).race(|_| true), Some((1, 1)));
        });
    });
}

#[test]
fn a_panic_in_the_question_whether_a_result_is_accepted_is_raised_again() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let accounts = Accounts::default();
            let map = executor.taskmap(|value: Value<'_>| value, accounts.values(4));
            let accept = |value: &Value<'_>| if *value.tag == 2 { expected(2) } else { false };
            assert_eq!(expected_panic(|| map.race(accept)), 2);
            accounts.close();
        });
    });
}

#[test]
fn a_race_that_is_late_or_cancelled_has_no_winner() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let accounts = Accounts::default();
            let task = |_value| {
                let _running = accounts.start();
                endless()
            };
            let late = executor.taskmap(task, accounts.values(3)).deadline(Duration::from_millis(5));
            assert!(late.race(|_: &()| true).is_none());
            let token = CancelToken::new();
            let task = |_value| {
                let _running = accounts.start();
                token.cancel();
                endless()
            };
            assert!(executor.taskmap(task, accounts.values(3)).cancel_token(&token).race(|_: &()| true).is_none());
            accounts.close();
        });
    });
}

#[test]
fn races_nest() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let inner = |x: usize| taskmap(|y| x * 10 + y, 0..4).race(|&found| found % 10 == 2).map(|(_, found)| found);
            let found = executor.taskmap(inner, 0..4).race(|found| *found == Some(32));
            assert_eq!(found, Some((3, Some(32))));
        });
    });
}

#[test]
fn a_race_in_lanes_has_its_winner_too() {
    within_deadline(|| {
        on_every_backend(|executor| {
            for lanes in [1, 2, 7] {
                let winner = executor.taskmap(|x| x, 0..20).max_in_flight(lanes).race(|&x| x == 13);
                assert_eq!(winner, Some((13, 13)));
            }
        });
    });
}

#[test]
fn the_winner_comes_with_its_own_value_when_many_are_accepted() {
    within_deadline(|| {
        on_every_backend(|executor| {
            for _ in 0..20 {
                let accounts = Accounts::default();
                let map = executor.taskmap(|value: Value<'_>| accounts.value(*value.tag), accounts.values(12));
                let (idx, value) = map.race(|_| true).unwrap();
                assert_eq!(*value.tag, idx);
                drop(value);
                accounts.close();
            }
        });
    });
}
