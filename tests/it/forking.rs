#![expect(unsafe_code, reason = "forking a process that has threads is what is tested")]
//! Executors and the children of a process that forks.

use crate::backends::BACKENDS;
use crate::deadline::{Flag, within_deadline};
use crate::panicking::{caught, message_of};
use crate::processes::alone;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use yieldtasks::{Executor, ExecutorExt, FiberExecutor, Pinning, global, yield_join, yield_taskmap, yield_taskwrap};

/// Runs `body` in a child of this process, and checks that it ends well, and in time.
#[track_caller]
fn in_child(body: impl FnOnce()) {
    // SAFETY: the child does more than a child of a process with threads may by the book. In this one the other threads
    // hold no lock that it needs: they wait.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "no child");
    if child == 0 {
        let status = match caught(body) {
            Ok(()) => 0,
            Err(payload) => {
                eprintln!("the child panicked: {}", message_of(&*payload));
                1
            }
        };
        // SAFETY: always is.
        unsafe { libc::_exit(status) };
    }
    let began = Instant::now();
    loop {
        let mut status = 0;
        // SAFETY: the status is there to be written.
        if unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) } == child {
            assert_eq!(status, 0, "how the child ended");
            return;
        }
        if began.elapsed() > Duration::from_secs(30) {
            // SAFETY: the child has not been waited for, so the number is its.
            unsafe { libc::kill(child, libc::SIGKILL) };
            panic!("the child hangs");
        }
        thread::sleep(Duration::from_millis(2));
    }
}

fn forking(test: impl FnOnce() + Send + 'static) {
    alone(&[("YIELDTASKS_WORKERS", "2")], || within_deadline(test));
}

fn works(executor: &dyn Executor) {
    let sums = executor.map(|x| yield_taskmap(|y| yield_taskwrap(|| x + y), 0..100).iter().sum::<u64>(), 0..100);
    assert!(sums.into_iter().eq((0..100).map(|x| 100 * x + 4950)));
    assert_eq!(executor.submit(|| yield_join(|| 1, || 2)).join().unwrap(), (1, 2));
}

#[track_caller]
fn is_inherited<R>(call: impl FnOnce() -> R) {
    let Err(payload) = caught(call) else { panic!("there was no panic") };
    assert!(message_of(&*payload).contains("forked"), "{}", message_of(&*payload));
}

#[test]
fn a_child_gets_a_global_executor_of_its_own() {
    forking(|| {
        works(global());
        let parents: *const FiberExecutor = global();
        in_child(|| {
            assert!(!std::ptr::eq(parents, global()));
            works(global());
            assert_eq!(yield_taskmap(|x| x + 1, 0..3), [1, 2, 3]);
            in_child(|| works(global()));
            works(global());
        });
        assert!(std::ptr::eq(parents, global()));
        works(global());
    });
}

#[test]
fn a_child_starts_a_global_executor_although_its_parent_had_none() {
    forking(|| {
        in_child(|| works(global()));
        works(global());
    });
}

#[test]
fn an_inherited_executor_refuses_work_and_can_be_dropped() {
    forking(|| {
        for (name, _, build) in BACKENDS.iter().filter(|(name, ..)| !name.contains("third")) {
            let executor = build(2);
            works(&*executor);
            in_child(|| {
                eprintln!("on {name}");
                is_inherited(|| executor.map(|x| x, [1, 2]));
                is_inherited(|| executor.run(|| 1));
                is_inherited(|| drop(executor.submit(|| 1)));
                is_inherited(|| executor.taskmap(|x| x, [1]).stream_ordered(|_, _: u8| ControlFlow::Continue(())));
                executor.shutdown();
                drop(executor);
                // Their threads may get the stacks of the parent's, which wait in tables of the process for ever.
                for _ in 0..20 {
                    works(&FiberExecutor::builder().workers(2).build().unwrap());
                }
            });
        }
    });
}

#[test]
fn a_child_sees_its_own_executors_and_not_those_of_its_parent() {
    forking(|| {
        let build = |persist| {
            let builder = FiberExecutor::builder().workers(2).persist(persist).pinning(Pinning::None);
            builder.watchdog(Duration::from_millis(20)).build().unwrap()
        };
        let executors = [build(true), build(false)];
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            // In the middle of a dump, as likely as not.
            scope.spawn(|| {
                while !is_over.load(Ordering::Acquire) {
                    executors[0].dump();
                }
            });
            for _ in 0..10 {
                let mut inherited = Some(&executors);
                in_child(|| {
                    for executor in inherited.take().unwrap() {
                        is_inherited(|| executor.dump());
                        is_inherited(|| executor.stats());
                    }
                    let own = build(true);
                    works(&own);
                    assert!(own.dump().silent_workers().is_empty() && own.stats().tasks() > 0);
                });
            }
            is_over.store(true, Ordering::Release);
        });
        works(&executors[0]);
    });
}

#[test]
fn a_child_of_a_busy_process_is_not_held_up_by_the_work_of_its_parent() {
    forking(|| {
        let executor = FiberExecutor::builder().workers(2).build().unwrap();
        let finished = executor.submit(|| 7);
        let (began, go_on) = (Arc::new(Flag::new()), Arc::new(Flag::new()));
        let (theirs, signal) = (Arc::clone(&began), Arc::clone(&go_on));
        let unfinished = executor.submit(move || {
            theirs.raise();
            signal.spin("the parent goes on");
            8
        });
        began.spin("the task begins");
        while !finished.is_finished() {
            thread::yield_now();
        }
        let (executor, finished, unfinished) = (Some(executor), Some(finished), Some(unfinished));
        let mut inherited = (executor, finished, unfinished);
        in_child(|| {
            let (executor, finished, unfinished) = &mut inherited;
            let (finished, unfinished) = (finished.take().unwrap(), unfinished.take().unwrap());
            assert!(finished.is_finished() && !unfinished.is_finished());
            assert_eq!(finished.join().unwrap(), 7);
            is_inherited(|| unfinished.join());
            drop(executor.take());
        });
        go_on.raise();
        let (executor, _, unfinished) = inherited;
        assert_eq!(unfinished.unwrap().join().unwrap(), 8);
        works(&executor.unwrap());
    });
}
