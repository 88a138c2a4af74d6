//! A deadline ends a map and everything below it, in time, with all destructors run.

use crate::accounting::Accounts;
use crate::backends::{fibers, on_every_backend, on_fibers};
use crate::deadline::{Flag, within_deadline};
use crate::panicking::{caught, message_of};
use std::ops::ControlFlow;
use std::thread;
use std::time::{Duration, Instant};
use yieldtasks::{
    CancelToken, Cancelled, ErrorKind, ExecutorExt, checkpoint, is_cancelled, sleep, taskmap, yield_join, yield_scope,
    yield_taskmap,
};

const HOUR: Duration = Duration::from_secs(3600);
const SOON: Duration = Duration::from_millis(10);
/// Tells a nest that was stopped from one that ran to its end, on a machine however busy.
const END: Duration = Duration::from_secs(5);

/// Runs until it is stopped.
fn endless() -> ! {
    loop {
        checkpoint();
        thread::yield_now();
    }
}

#[test]
fn a_nest_of_leaves_that_check_ends_soon_after_its_deadline() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let accounts = Accounts::default();
            // Five seconds and more each, one after the other or side by side.
            let leaf = |_value| {
                let _running = accounts.start();
                for _ in 0..5_000 {
                    thread::park_timeout(Duration::from_millis(1));
                    checkpoint();
                }
            };
            let nest = |_value| yield_taskmap(leaf, accounts.values(4)).len();
            let start = Instant::now();
            let map = executor.taskmap(nest, accounts.values(2)).deadline(Duration::from_millis(50));
            let error = map.try_run().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
            assert!(start.elapsed() < END, "it took {:?}", start.elapsed());
            accounts.close();
            assert_eq!(executor.map(|x| yield_taskmap(|y| x + y, 0..2), 0..2), [[0, 1], [1, 2]]);
        });
    });
}

#[test]
fn a_deep_nest_of_suspended_tasks_unwinds_at_its_deadline_with_all_destructors() {
    fn deepen(accounts: &Accounts, depth: usize) {
        let _running = accounts.start();
        let _local = accounts.value(depth);
        match depth {
            0 => sleep(HOUR),
            1 => drop(yield_join(|| deepen(accounts, 0), || deepen(accounts, 0))),
            2 => yield_scope(|s| (0..2).for_each(|_| drop(s.spawn(|| deepen(accounts, 1))))),
            3 => drop(taskmap(|_value| deepen(accounts, 2), accounts.values(2)).name("three").settled()),
            _ => drop(yield_taskmap(|_value| deepen(accounts, depth - 1), accounts.values(2))),
        }
    }

    within_deadline(|| {
        on_every_backend(|executor| {
            let accounts = Accounts::default();
            let start = Instant::now();
            let map = executor.taskmap(|_value| deepen(&accounts, 5), accounts.values(2)).deadline(SOON);
            let error = map.try_run().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
            assert!(start.elapsed() < END, "it took {:?}", start.elapsed());
            accounts.close();
        });
    });
}

#[test]
fn a_deep_nest_on_one_worker_is_suspended_as_a_whole_when_its_time_is_up() {
    fn deepen(accounts: &Accounts, depth: usize) {
        let _running = accounts.start();
        let _local = accounts.value(depth);
        if depth == 0 {
            sleep(HOUR);
        }
        yield_taskmap(|_value| deepen(accounts, depth - 1), accounts.values(3));
    }

    within_deadline(|| {
        on_fibers(|executor, _| {
            let accounts = Accounts::default();
            let map = executor.taskmap(|_value| deepen(&accounts, 4), accounts.values(3)).deadline(5 * SOON);
            let outcomes = map.settled();
            assert!(outcomes.iter().all(|o| o.as_ref().is_err_and(|e| e.kind() == ErrorKind::DeadlineExceeded)));
            assert!(accounts.started() > 0);
            drop(outcomes);
            accounts.close();
        });
    });
}

#[test]
fn with_no_time_at_all_nothing_starts() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let accounts = Accounts::default();
            let map = || {
                let f = |_value| drop(accounts.start());
                executor.taskmap(f, accounts.values(5)).name("expected").deadline(Duration::ZERO)
            };
            assert_eq!(map().try_run().unwrap_err().kind(), ErrorKind::DeadlineExceeded);
            let settled = map().settled();
            assert!(settled.into_iter().all(|o| o.unwrap_err().kind() == ErrorKind::DeadlineExceeded));
            assert_eq!(map().race(|()| true), None);
            assert!(caught(|| map().run()).is_err());
            assert!(caught(|| map().stream_ordered(|_, ()| ControlFlow::Continue(()))).is_err());
            assert!(caught(|| map().for_each_completed(|_, ()| ControlFlow::Continue(()))).is_err());
            assert_eq!(accounts.started(), 0);
            accounts.close();
        });
    });
}

#[test]
fn a_map_that_ends_in_time_has_all_results() {
    within_deadline(|| {
        on_every_backend(|executor| {
            for deadline in [HOUR, Duration::MAX] {
                let map = || executor.taskmap(|x| yield_taskmap(|y| x * y, 0..3).len() + x, 0..3).deadline(deadline);
                assert_eq!(map().run(), [3, 4, 5]);
                assert_eq!(map().try_run().unwrap(), [3, 4, 5]);
                assert_eq!(map().settled().into_iter().filter_map(Result::ok).collect::<Vec<_>>(), [3, 4, 5]);
            }
        });
    });
}

#[test]
fn results_that_came_before_the_time_was_up_count() {
    within_deadline(|| {
        on_fibers(|executor, _| {
            let task = |x| {
                if x == 1 {
                    sleep(HOUR)
                }
            };
            let outcomes = executor.taskmap(task, 0..4).deadline(20 * SOON).settled();
            let kinds: Vec<_> = outcomes.into_iter().map(|outcome| outcome.map_err(|error| error.kind())).collect();
            assert_eq!(kinds, [Ok(()), Err(ErrorKind::DeadlineExceeded), Ok(()), Ok(())]);
        });
    });
}

#[test]
fn a_shorter_deadline_inside_ends_the_inner_map_alone() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let outer = |x: usize| {
                let inner = taskmap(|_| if x == 1 { endless() } else { x }, 0..3);
                let deadline = if x == 1 { SOON } else { HOUR };
                inner.deadline(deadline).try_run().map_err(|error| error.kind())
            };
            let results = executor.taskmap(outer, 0..3).deadline(HOUR).try_run().unwrap();
            assert_eq!(results, [Ok(vec![0; 3]), Err(ErrorKind::DeadlineExceeded), Ok(vec![2; 3])]);
        });
    });
}

#[test]
fn a_shorter_deadline_outside_ends_the_inner_maps_as_well() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let accounts = Accounts::default();
            let went_on = Flag::new();
            let leaf = |_value| {
                let _running = accounts.start();
                endless()
            };
            let outer = |_value| {
                let _inner: Result<Vec<()>, _> = taskmap(leaf, accounts.values(2)).deadline(HOUR).try_run();
                went_on.raise();
            };
            let error = executor.taskmap(outer, accounts.values(2)).deadline(SOON).try_run().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
            assert!(!went_on.is_raised(), "the outer task unwinds as well");
            accounts.close();
        });
    });
}

#[test]
fn a_deadline_reaches_the_tasks_of_other_executors() {
    within_deadline(|| {
        let (outermost, innermost) = (fibers(1), fibers(1));
        on_every_backend(|middle| {
            let accounts = Accounts::default();
            let leaf = |_value| {
                let _running = accounts.start();
                sleep(HOUR);
            };
            let nest = |_| middle.map(|_| innermost.map(leaf, accounts.values(2)), 0..2);
            let error = outermost.taskmap(nest, 0..2).deadline(SOON).try_run().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
            accounts.close();
        });
    });
}

#[test]
fn a_late_map_that_is_run_panics_with_a_message_that_names_it() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let run = || executor.taskmap(|_| endless(), 0..2).name("expected").deadline(SOON).run();
            let payload = caught(run).map(|_: Vec<()>| ()).unwrap_err();
            let message = message_of(&*payload);
            assert!(
                message.contains("expected[0]") && message.contains("late") && message.contains("time"),
                "{message}"
            );
            // Inside a task it is a panic like any other.
            let caught_inside = executor.run(|| {
                let run = || taskmap(|_| endless(), 0..2).name("expected").deadline(SOON).run();
                message_of(&*caught(run).map(|_: Vec<()>| ()).unwrap_err())
            });
            assert!(caught_inside.contains("expected[0]"), "{caught_inside}");
        });
    });
}

#[test]
fn a_late_task_unwinds_with_a_payload_that_says_so() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let task = |_| {
                let payload = caught(|| endless()).unwrap_err();
                assert!(is_cancelled());
                payload.downcast_ref::<Cancelled>().map(Cancelled::kind)
            };
            let outcome = executor.taskmap(task, 0..1).deadline(SOON).settled().remove(0);
            // On a busy machine, the time may be up before the task starts.
            let kind = outcome.unwrap_or_else(|error| Some(error.kind()));
            assert_eq!(kind, Some(ErrorKind::DeadlineExceeded));
        });
    });
}

#[test]
fn a_task_finds_out_by_the_clock_that_it_is_late() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let started = Flag::new();
            let task = |_| {
                started.raise();
                let start = Instant::now();
                while !is_cancelled() {
                    thread::yield_now();
                }
                start.elapsed()
            };
            // On a busy machine, the time may be up before the task starts.
            match executor.taskmap(task, 0..1).deadline(SOON).settled().remove(0) {
                Ok(waited) => assert!(waited < END, "it took {waited:?}"),
                Err(error) => assert!(!started.is_raised() && error.kind() == ErrorKind::DeadlineExceeded, "{error}"),
            }
        });
    });
}

#[test]
fn whichever_comes_first_of_a_token_and_a_deadline_says_why() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let token = CancelToken::new();
            let task = |_| {
                token.cancel();
                endless()
            };
            let map = executor.taskmap(task, 0..2).deadline(HOUR).cancel_token(&token);
            assert_eq!(map.try_run().map(|_: Vec<()>| ()).unwrap_err().kind(), ErrorKind::Cancelled);
            let token = CancelToken::new();
            let map = executor.taskmap(|_| endless(), 0..2).deadline(SOON).cancel_token(&token);
            let error = map.try_run().map(|_: Vec<()>| ()).unwrap_err();
            assert_eq!((error.kind(), token.is_cancelled()), (ErrorKind::DeadlineExceeded, false));
        });
    });
}

#[test]
fn the_time_of_a_map_begins_when_it_is_run() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let map = executor.taskmap(|x| x + 1, 0..2).deadline(Duration::from_secs(20));
            let early = executor.taskmap(|_| endless(), 0..1).deadline(SOON);
            assert!(early.try_run().map(|_: Vec<()>| ()).is_err());
            assert_eq!(map.try_run().unwrap(), [1, 2]);
        });
    });
}

#[test]
fn deadlines_of_many_maps_at_once_end_each_its_own() {
    within_deadline(|| {
        on_fibers(|executor, _| {
            let inner = |x: u32| {
                let length = if x.is_multiple_of(2) { SOON } else { HOUR };
                let task = |_| if x.is_multiple_of(2) { sleep(HOUR) } else { sleep(3 * SOON) };
                taskmap(task, 0..2).deadline(length).try_run().is_ok()
            };
            let results = executor.map(inner, 0..40);
            assert!(results.into_iter().enumerate().all(|(x, in_time)| in_time == (x % 2 == 1)));
        });
    });
}
