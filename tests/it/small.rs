//! Programs of a few tasks. Small enough for Miri, which runs them on the twins of fibers.

use crate::deadline::within_deadline;
use crate::panicking::{expected, expected_panic};
use std::ops::ControlFlow::Continue;
use yieldtasks::sync::{Mutex, channel};
use yieldtasks::{
    ExecutorExt, FiberExecutor, Interleave, Pinning, checkpoint, yield_join, yield_now, yield_scope, yield_taskmap,
    yield_taskwrap,
};

/// Runs a program on executors of either kind, with one worker and two.
fn on_small_executors(program: impl Fn(&FiberExecutor) + Send + 'static) {
    within_deadline(move || {
        for (workers, interleave) in [(1, Interleave::Free), (2, Interleave::Free), (2, Interleave::Nested)] {
            let builder = FiberExecutor::builder().workers(workers).interleave(interleave);
            program(&builder.pinning(Pinning::None).stack_size(64 * 1024).build().unwrap());
        }
    });
}

#[test]
fn nested_maps_borrow_and_give_their_results() {
    on_small_executors(|executor| {
        let words = ["fiber".to_owned(), "worker".to_owned()];
        let lengths = executor.map(|word| yield_taskmap(|x| word.len() + x, 0..2), &words);
        assert_eq!(lengths, [[5, 6], [6, 7]]);
    });
}

#[test]
fn joined_tasks_take_turns() {
    fn fib(n: u64) -> u64 {
        if n < 2 {
            yield_now();
            return n;
        }
        let (a, b) = yield_join(|| fib(n - 1), || fib(n - 2));
        a + b
    }
    on_small_executors(|executor| assert_eq!(executor.run(|| fib(5)), 5));
}

#[test]
fn detached_tasks_end_in_results_and_in_panics() {
    on_small_executors(|executor| {
        let task = |n| if n == 1 { expected(n) } else { yield_taskwrap(|| n) };
        let handles: Vec<_> = (0..3).map(|n| executor.submit(move || task(n))).collect();
        let results: Vec<_> = handles.into_iter().map(|handle| handle.join().ok()).collect();
        assert_eq!(results, [Some(0), None, Some(2)]);
    });
}

#[test]
fn a_panic_stops_a_map() {
    on_small_executors(|executor| {
        let number = expected_panic(|| executor.map(|n| yield_taskmap(|_| expected(n), 0..2), 3..5));
        assert!((3..5).contains(&number));
    });
}

#[test]
fn tasks_of_a_scope_are_cancelled() {
    on_small_executors(|executor| {
        let endless = || -> usize {
            loop {
                checkpoint();
                yield_now();
            }
        };
        let results = executor.run(|| {
            yield_scope(|s| {
                let [first, second] = [s.spawn(endless), s.spawn(|| 2)];
                first.cancel();
                [first.join().ok(), second.join().ok()]
            })
        });
        assert_eq!(results, [None, Some(2)]);
    });
}

#[test]
fn a_stream_reads_results_as_they_come() {
    on_small_executors(|executor| {
        let mut sum = 0;
        executor.taskmap(|x| yield_taskwrap(|| x), 0..4).max_in_flight(2).for_each_completed(|_, x| {
            sum += x;
            Continue(())
        });
        assert_eq!(sum, 6);
    });
}

#[test]
fn tasks_wait_for_messages_and_for_locks() {
    on_small_executors(|executor| {
        let total = Mutex::new(0);
        let (sender, receiver) = channel(1);
        executor.run(|| {
            yield_join(
                || (0..3).for_each(|n| sender.send(n).unwrap()),
                || {
                    for n in receiver.iter().take(3) {
                        *total.lock() += n;
                        yield_now();
                    }
                },
            )
        });
        assert_eq!(total.into_inner(), 3);
    });
}

#[test]
fn executors_of_a_call_start_and_end_with_it() {
    within_deadline(|| {
        let executor = FiberExecutor::builder().workers(2).persist(false).stack_size(64 * 1024).build().unwrap();
        for _ in 0..2 {
            assert_eq!(executor.map(|x| yield_taskmap(|y| x + y, 0..2).len(), 0..2), [2, 2]);
        }
    });
}
