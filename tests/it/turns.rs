//! A task that never stops making batches or giving way does not keep the others from their turn.

use crate::backends::{WORKERS, fibers, on_every_backend};
use crate::deadline::{Flag, within_deadline};
use std::future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;
use yieldtasks::{
    ErrorKind, Executor, ExecutorExt, FiberExecutor, FlatExecutor, block_on, checkpoint, sync, yield_join, yield_now,
    yield_scope, yield_taskmap,
};

/// Maps until the flag is raised.
fn map_until(flag: &Flag) {
    while !flag.is_raised() {
        assert_eq!(yield_taskmap(|x| x, 0..3), [0, 1, 2]);
    }
}

/// Runs as a long leaf should until the flag is raised.
fn checkpoint_until(flag: &Flag) {
    while !flag.is_raised() {
        checkpoint();
    }
}

#[test]
fn a_submitted_task_gets_in_between_the_maps_of_a_loop() {
    within_deadline(|| {
        for workers in WORKERS {
            let executor = fibers(workers);
            executor.run(|| {
                let flag = Arc::new(Flag::new());
                let theirs = Arc::clone(&flag);
                let handle = executor.submit(move || theirs.raise());
                map_until(&flag);
                handle.join().unwrap();
            });
        }
    });
}

#[test]
fn a_submitted_task_gets_in_between_the_maps_of_several_loops_on_each_worker() {
    within_deadline(|| {
        for workers in WORKERS {
            let executor = fibers(workers);
            let flag = Arc::new(Flag::new());
            let submit = |task: fn(&Flag)| {
                let flag = Arc::clone(&flag);
                executor.submit(move || task(&flag))
            };
            let loops: Vec<_> = (0..4 * workers).map(|_| submit(map_until)).collect();
            submit(Flag::raise).join().unwrap();
            loops.into_iter().for_each(|map_loop| map_loop.join().unwrap());
        }
    });
}

#[test]
fn a_task_that_yielded_gets_in_between_the_maps_of_a_loop() {
    within_deadline(|| {
        for workers in WORKERS {
            let (waiting, answered) = (Flag::new(), Flag::new());
            let answer = || {
                while !waiting.is_raised() {
                    yield_now();
                }
                answered.raise();
            };
            let ask = || {
                waiting.raise();
                map_until(&answered);
            };
            fibers(workers).run(|| yield_join(answer, ask));
        }
    });
}

#[test]
fn fibers_that_yield_take_turns_whatever_else_they_do() {
    const TASKS: usize = 7;
    const TURNS: usize = 400;
    within_deadline(|| {
        let rounds: Vec<_> = (0..TASKS).map(|_| AtomicUsize::new(0)).collect();
        let behind = AtomicUsize::new(0);
        let events: Vec<_> = (0..TASKS).map(|_| sync::Event::new()).collect();
        let step = |task: usize| {
            let round = rounds[task].fetch_add(1, Ordering::Relaxed) + 1;
            // Those that have ended are no longer behind.
            let of_others = || rounds.iter().map(|round| round.load(Ordering::Relaxed)).filter(|&round| round < TURNS);
            behind.fetch_max(of_others().map(|other| round.abs_diff(other)).max().unwrap_or(0), Ordering::Relaxed);
        };
        fibers(1).map(
            |task| {
                for turn in 0..TURNS {
                    // Each of them now and then, at turns of its own: a child that yields below a parent that has yielded, a wait that
                    // another ends, and a look.
                    match (turn + 3 * task) % 11 {
                        0 => _ = yield_join(yield_now, yield_now),
                        5 => _ = yield_taskmap(|_| yield_now(), 0..3),
                        7 => checkpoint(),
                        _ => {}
                    }
                    if turn == 100 + task {
                        events[task].set();
                        events[(task + 1) % TASKS].wait();
                    }
                    step(task);
                    yield_now();
                }
            },
            0..TASKS,
        );
        assert!(rounds.iter().all(|round| round.load(Ordering::Relaxed) == TURNS));
        // Without turns, one task would end before the next has begun.
        let behind = behind.into_inner();
        assert!(behind < 60, "a task was {behind} turns behind another");
    });
}

#[test]
fn a_task_of_the_parallel_level_that_yields_lets_its_siblings_run() {
    within_deadline(|| {
        for workers in WORKERS {
            let executor: Box<dyn Executor> = Box::new(FlatExecutor::new(workers).unwrap());
            let last_runs = Flag::new();
            executor.map(
                |idx| {
                    if idx == 2 {
                        last_runs.raise();
                    }
                    while !last_runs.is_raised() {
                        yield_now();
                    }
                },
                0..3,
            );
        }
    });
}

#[test]
fn tasks_that_give_way_for_ever_are_stopped_by_a_deadline() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let endless = |_: usize| -> u8 {
                loop {
                    yield_now();
                }
            };
            let nest = executor.taskmap(|_| yield_taskmap(endless, 0..2), 0..2).deadline(Duration::from_millis(20));
            assert_eq!(nest.try_run().unwrap_err().kind(), ErrorKind::DeadlineExceeded);
        });
    });
}

/// Two tasks pass a message to and fro, so that one of them is always ready, until the flag is raised.
fn pass_to_and_fro_until(flag: &Flag) {
    let (ping, pinged) = sync::channel(1);
    let (pong, ponged) = sync::channel(1);
    yield_join(
        || {
            while !flag.is_raised() && ping.send(()).is_ok() && ponged.recv().is_ok() {}
            drop(ping);
        },
        || while pinged.recv().is_ok() && pong.send(()).is_ok() {},
    );
}

#[test]
fn fibers_that_keep_each_other_ready_leave_a_turn_to_one_that_yielded() {
    within_deadline(|| {
        for workers in WORKERS {
            let flag = Flag::new();
            let answer = || {
                (0..200).for_each(|_| yield_now());
                flag.raise();
            };
            fibers(workers).run(|| yield_join(|| pass_to_and_fro_until(&flag), answer));
        }
    });
}

#[test]
fn fibers_that_keep_each_other_ready_leave_a_turn_to_new_tasks() {
    within_deadline(|| {
        for workers in WORKERS {
            let executor = fibers(workers);
            let flag = Arc::new(Flag::new());
            executor.run(|| {
                let theirs = Arc::clone(&flag);
                let handle = executor.submit(move || theirs.raise());
                pass_to_and_fro_until(&flag);
                handle.join().unwrap();
            });
            let flag = Flag::new();
            executor.run(|| {
                yield_scope(|s| {
                    s.spawn(|| flag.raise());
                    pass_to_and_fro_until(&flag);
                });
            });
        }
    });
}

#[test]
fn fibers_that_keep_each_other_ready_leave_a_turn_where_fibers_are_few() {
    within_deadline(|| {
        // One for the root, one each for the tasks of both joins, and none for what is submitted.
        let executor = FiberExecutor::builder().workers(1).max_fibers(5).build().unwrap();
        let flag = Flag::new();
        let answer = || {
            executor.submit(|| ()).detach();
            (0..200).for_each(|_| yield_now());
            flag.raise();
        };
        executor.run(|| yield_join(|| pass_to_and_fro_until(&flag), answer));
    });
}

/// Checks that a task that waits in that way goes on beside one that does nothing but check.
fn gets_in_between_checkpoints(wait: fn()) {
    within_deadline(move || {
        for workers in WORKERS {
            let flag = Flag::new();
            let answer = || {
                wait();
                flag.raise();
            };
            fibers(workers).run(|| yield_join(answer, || checkpoint_until(&flag)));
        }
    });
}

#[test]
fn a_task_that_yielded_gets_in_between_the_checkpoints_of_a_loop() {
    gets_in_between_checkpoints(|| (0..200).for_each(|_| yield_now()));
}

#[test]
fn a_task_that_was_woken_before_it_waited_gets_in_between_the_checkpoints_of_a_loop() {
    gets_in_between_checkpoints(|| {
        let mut polls = 0..200;
        block_on(future::poll_fn(|context| {
            context.waker().wake_by_ref();
            if polls.next().is_some() { Poll::Pending } else { Poll::Ready(()) }
        }));
    });
}

#[test]
fn a_future_that_wakes_itself_leaves_a_turn_to_others() {
    within_deadline(|| {
        for workers in WORKERS {
            let flag = Flag::new();
            let restless = future::poll_fn(|context| {
                context.waker().wake_by_ref();
                if flag.is_raised() { Poll::Ready(()) } else { Poll::Pending }
            });
            fibers(workers).run(|| yield_join(|| block_on(restless), || flag.raise()));
        }
    });
}
