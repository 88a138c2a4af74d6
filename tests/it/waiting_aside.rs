//! Tasks that sleep, and tasks that hand blocking code to a helper: their worker goes on.

use crate::backends::{fibers, on_every_backend, on_fibers, on_fibers_that_interleave};
use crate::deadline::{Flag, spin_until, within_deadline};
use crate::panicking::{expected, expected_panic};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use yieldtasks::{
    CancelToken, ErrorKind, ExecutorExt, TaskPath, sleep, taskmap, unblock, yield_join, yield_now, yield_taskmap,
};

#[test]
fn sleepers_of_one_worker_wake_in_the_order_of_their_times() {
    within_deadline(|| {
        let order = Mutex::new(Vec::new());
        let nap = |idx: u32| {
            sleep(Duration::from_millis(50) * (7 - idx));
            order.lock().unwrap().push(idx);
        };
        fibers(1).map(nap, 0..7);
        assert_eq!(order.into_inner().unwrap(), [6, 5, 4, 3, 2, 1, 0]);
    });
}

#[test]
fn a_sleep_is_not_shorter_than_it_should_be() {
    within_deadline(|| {
        let nap = |duration| {
            let began = Instant::now();
            sleep(duration);
            assert!(began.elapsed() >= duration);
        };
        let durations = [Duration::ZERO, Duration::from_nanos(1), Duration::from_millis(3)];
        durations.into_iter().for_each(nap);
        on_every_backend(|executor| drop(executor.map(nap, durations)));
    });
}

#[test]
fn sleepers_share_their_worker() {
    within_deadline(|| {
        on_fibers(|executor, _| {
            let began = Instant::now();
            executor.map(|_| sleep(Duration::from_millis(100)), 0..1000);
            // One after another they would take 25 seconds, even on four workers.
            assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        });
    });
}

#[test]
fn a_worker_with_a_sleeper_runs_other_tasks() {
    within_deadline(|| {
        on_fibers_that_interleave(|executor, _| {
            let token = CancelToken::new();
            let sleeps = || taskmap(|_| sleep(Duration::MAX), 0..3).cancel_token(&token).try_run().unwrap_err();
            let works = || {
                let rows = yield_taskmap(|x| yield_taskmap(|y| x + y, 0..20).len(), 0..20);
                token.cancel();
                rows.len()
            };
            let (error, rows) = executor.run(|| yield_join(sleeps, works));
            assert_eq!((error.kind(), rows), (ErrorKind::Cancelled, 20));
        });
    });
}

#[test]
fn a_deadline_ends_a_sleep() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let map = executor.taskmap(|_| yield_taskmap(|_| sleep(Duration::MAX), 0..2), 0..2);
            let error = map.deadline(Duration::from_millis(5)).try_run().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
        });
    });
}

#[test]
fn the_only_worker_goes_on_while_a_helper_blocks() {
    within_deadline(|| {
        on_fibers(|executor, _| {
            let worked = Flag::new();
            let blocks = || {
                unblock(|| {
                    worked.spin("the worker goes on");
                    6
                })
            };
            let works = || {
                let total = yield_taskmap(|x| yield_taskmap(|y| x * y, 0..4).iter().sum::<u32>(), 0..4);
                worked.raise();
                total.iter().sum::<u32>()
            };
            assert_eq!(executor.run(|| yield_join(blocks, works)), (6, 36));
        });
    });
}

#[test]
fn as_many_helpers_block_as_there_are_tasks_that_want_one() {
    const BLOCKED: usize = 20;
    within_deadline(|| {
        on_fibers(|executor, _| {
            let arrived = AtomicUsize::new(0);
            let meet = |idx: usize| {
                unblock(|| {
                    arrived.fetch_add(1, Ordering::AcqRel);
                    spin_until("all are there", || arrived.load(Ordering::Acquire) == BLOCKED);
                    idx
                })
            };
            assert_eq!(executor.map(meet, 0..BLOCKED), (0..BLOCKED).collect::<Vec<_>>());
        });
    });
}

#[test]
fn a_helper_borrows_from_the_task_and_gives_its_result() {
    within_deadline(|| {
        let words = vec!["fiber".to_owned(), "worker".to_owned()];
        on_every_backend(|executor| {
            let lengths = executor.map(
                |word: &String| {
                    let mut seen = Vec::new();
                    let len = unblock(|| {
                        seen.push(word.as_str());
                        word.len()
                    });
                    (seen, len)
                },
                &words,
            );
            assert_eq!(lengths, [(vec!["fiber"], 5), (vec!["worker"], 6)]);
        });
    });
}

#[test]
fn outside_tasks_blocking_code_runs_where_it_is() {
    within_deadline(|| {
        let here = thread::current().id();
        assert_eq!(unblock(|| thread::current().id()), here);
        assert_eq!(expected_panic(|| unblock(|| expected(1))), 1);
    });
}

#[test]
fn on_a_fiber_blocking_code_runs_on_another_thread() {
    within_deadline(|| {
        on_fibers(|executor, _| {
            let threads = executor.map(|_| (thread::current().id(), unblock(|| thread::current().id())), 0..10);
            assert!(threads.iter().all(|(worker, helper)| worker != helper));
        });
    });
}

#[test]
fn a_panic_of_a_helper_is_raised_in_its_task() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let caught = executor.map(|x| expected_panic(|| unblock(|| expected(x))), 0..5);
            assert_eq!(caught, [0, 1, 2, 3, 4]);
            let error = executor.taskmap(|x: usize| unblock(|| expected(x)), [7]).name("helped").try_run().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Panicked);
            assert_eq!(error.path().to_string(), "helped[0]");
        });
    });
}

#[test]
fn a_nest_goes_on_below_blocking_code() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let nested = executor.map(
                |x: u64| {
                    unblock(|| {
                        let below = yield_taskmap(|y| unblock(|| yield_taskmap(|z| x + y + z, 0..2)), 0..2);
                        below.into_iter().flatten().sum::<u64>()
                    })
                },
                0..6,
            );
            assert_eq!(nested, [4, 8, 12, 16, 20, 24]);
        });
    });
}

#[test]
fn blocking_code_is_a_part_of_its_task() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let paths = executor.taskmap(|_| unblock(|| TaskPath::current().to_string()), 0..3).name("part").run();
            assert_eq!(paths, ["part[0]", "part[1]", "part[2]"]);
        });
    });
}

#[test]
fn a_cancellation_waits_for_blocking_code_and_then_unwinds_its_task() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let token = CancelToken::new();
            let (ended, went_on) = (Flag::new(), Flag::new());
            let blocks = |_| {
                unblock(|| {
                    token.cancel();
                    ended.raise();
                });
                yield_now();
                went_on.raise();
            };
            let error = executor.taskmap(blocks, [()]).cancel_token(&token).try_run().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Cancelled);
            assert!(ended.is_raised() && !went_on.is_raised());
        });
    });
}
