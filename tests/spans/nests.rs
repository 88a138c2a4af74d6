//! The current span in random nests, after everything that may switch to another task.

use crate::backends::on_every_backend;
use crate::collector::{Node, collect, expect_here, here, task_of};
use crate::deadline::within_deadline;
use std::future;
use std::task::Poll;
use std::time::Duration;
use tracing::{info, info_span};
use yieldtasks::{
    Executor, ExecutorExt, block_on, checkpoint, sleep, unblock, yield_join, yield_now, yield_scope, yield_taskmap,
};

/// A generator of random numbers (splitmix, Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % limit
    }

    fn branch(&mut self) -> u64 {
        self.below(u64::MAX)
    }
}

/// Waits for a future that is ready the second time it is asked.
fn wait_a_little() {
    let mut asked = false;
    block_on(future::poll_fn(move |context| {
        if asked {
            return Poll::Ready(());
        }
        asked = true;
        context.waker().wake_by_ref();
        Poll::Pending
    }));
}

/// The body of a task that is in the span `own`.
fn walk(seed: u64, depth: u32, own: &Node) {
    let mut random = Random(seed);
    for _ in 0..3 {
        let step = random.below(if depth == 0 { 6 } else { 11 });
        let (first, second) = (random.branch(), random.branch());
        match step {
            0 => yield_now(),
            1 => wait_a_little(),
            2 => sleep(Duration::from_micros(random.below(50))),
            3 => checkpoint(),
            4 => info!("an event"),
            5 => unblock(|| expect_here(own.serial, "going to another thread")),
            6 => map(first, depth, own.serial, random.below(4)),
            7 => {
                // A guard that is held while the fiber is suspended.
                let span = info_span!("guarded");
                let _guard = span.enter();
                let guarded = here().unwrap();
                assert_eq!(guarded.parent, Some(own.serial));
                map(first, depth, guarded.serial, 2);
                expect_here(guarded.serial, "a map under a guard");
                let inner = info_span!("inner").entered();
                yield_now();
                assert_eq!(here().unwrap().parent, Some(guarded.serial));
                drop(inner);
                wait_a_little();
                expect_here(guarded.serial, "a wait under a guard");
            }
            8 => info_span!("scoped").in_scope(|| {
                let scoped = here().unwrap();
                map(first, depth, scoped.serial, 3);
                expect_here(scoped.serial, "a map in a scope");
            }),
            9 => {
                let (caller, depth) = (own.serial, depth - 1);
                yield_join(|| walk(first, depth, &task_of(caller, 0)), || walk(second, depth, &task_of(caller, 1)));
            }
            _ => yield_scope(|scope| {
                for (index, seed) in [first, second].into_iter().enumerate() {
                    scope.spawn(move || {
                        let task = here().unwrap();
                        assert_eq!((task.name, task.parent), ("task", Some(own.serial)));
                        assert_eq!(task.field("index"), index.to_string());
                        walk(seed, depth - 1, &task);
                    });
                }
            }),
        }
        expect_here(own.serial, &format!("step {step}"));
    }
}

fn map(seed: u64, depth: u32, caller: usize, len: u64) {
    let child = |index: u64| walk(seed ^ index, depth - 1, &task_of(caller, index as usize));
    yield_taskmap(child, 0..len);
}

fn random_nests(executor: &dyn Executor) {
    for seed in 0..2 {
        collect(|root| {
            let child = |index: u64| walk(seed * 1000 + index, 3, &task_of(root, index as usize));
            executor.map(child, 0..6);
        });
    }
}

#[test]
fn the_current_span_is_that_of_the_running_task_after_every_step_of_random_nests() {
    within_deadline(|| on_every_backend(random_nests));
}

#[test]
fn nests_on_one_executor_from_several_threads_keep_their_spans_apart() {
    within_deadline(|| {
        let executor = crate::backends::fibers(2);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| random_nests(&executor));
            }
        });
    });
}
