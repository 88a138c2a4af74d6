//! A panic of a child reaches its parent, and nobody else is the worse for it.

use crate::backends::{candidates, on_every_backend, on_fibers, on_fibers_that_interleave};
use crate::deadline::{Flag, within_deadline};
use crate::panicking::{Expected, caught, expected, expected_panic, message_of, number_of};
use std::panic;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;
use yieldtasks::{ExecutorExt, SerialExecutor, yield_join, yield_now, yield_starmap, yield_taskmap, yield_taskwrap};

#[test]
fn the_original_payload_arrives_from_every_function() {
    #[derive(Debug, PartialEq)]
    struct Typed(Vec<u8>);

    let raise = || -> String { panic::resume_unwind(Box::new(Typed(vec![1, 2, 3]))) };
    within_deadline(move || {
        on_every_backend(|executor| {
            let check = |call: &(dyn Fn() + Sync)| {
                let payload = caught(call).unwrap_err();
                assert_eq!(*payload.downcast::<Typed>().unwrap(), Typed(vec![1, 2, 3]));
            };
            check(&|| drop(executor.map(|_| raise(), 0..3)));
            check(&|| drop(executor.starmap(|_: u8, _: u8| raise(), [(1, 2)])));
            check(&|| drop(executor.run(raise)));
            executor.run(|| {
                check(&|| drop(yield_taskmap(|_| raise(), 0..3)));
                check(&|| drop(yield_starmap(|_: u8| raise(), [(1,)])));
                check(&|| drop(yield_taskwrap(raise)));
                check(&|| drop(yield_join(raise, String::new)));
                check(&|| drop(yield_join(String::new, raise)));
            });
        });
    });
}

#[test]
fn messages_arrive_as_they_were_written() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let payload = caught(|| executor.map(|x: u32| -> u32 { panic!("expected {x}") }, [7])).unwrap_err();
            assert_eq!(message_of(&*payload), "expected 7");
            let payload = caught(|| executor.run(|| yield_taskwrap(|| panic!("expected")))).unwrap_err();
            assert_eq!(payload.downcast_ref::<&str>(), Some(&"expected"));
        });
    });
}

#[test]
fn of_several_panics_the_one_with_the_lowest_index_arrives() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let rounds = if cfg!(debug_assertions) { 20 } else { 100 };
            for round in 0..rounds {
                let panicked = Mutex::new(Vec::new());
                let f = |idx: usize| {
                    yield_taskmap(|_| yield_now(), 0..idx % 3);
                    if (idx + round).is_multiple_of(4) {
                        panicked.lock().unwrap().push(idx);
                        expected(idx);
                    }
                };
                let arrived = expected_panic(|| executor.map(f, 0..12));
                assert_eq!(Some(arrived), panicked.into_inner().unwrap().into_iter().min());
            }
        });
    });
}

#[test]
fn when_all_siblings_panic_the_first_of_them_arrives() {
    within_deadline(|| {
        on_fibers_that_interleave(|executor, _| {
            let started = AtomicUsize::new(0);
            let all_have_started = |idx: usize| {
                started.fetch_add(1, Ordering::AcqRel);
                while started.load(Ordering::Acquire) < 10 {
                    yield_now();
                }
                expected(idx)
            };
            assert_eq!(expected_panic(|| executor.map(all_have_started, (0..10).rev())), 9);
        });
    });
}

#[test]
fn a_panic_in_a_child_reaches_the_parent_after_its_siblings() {
    struct Ends<'a>(&'a AtomicUsize);

    impl Drop for Ends<'_> {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::AcqRel);
        }
    }

    within_deadline(|| {
        on_every_backend(|executor| {
            for panicking in [0, 3, 7] {
                let (started, ended) = (AtomicUsize::new(0), AtomicUsize::new(0));
                let f = |idx: usize| {
                    started.fetch_add(1, Ordering::AcqRel);
                    let _ends = Ends(&ended);
                    if idx == panicking {
                        expected(idx);
                    }
                    (0..20).for_each(|_| drop(yield_taskmap(|x| x + 1, 0..3)));
                };
                assert_eq!(expected_panic(|| executor.map(f, 0..8)), panicking);
                assert_eq!(started.load(Ordering::Acquire), ended.load(Ordering::Acquire));
            }
        });
    });
}

#[test]
fn a_panic_while_a_sibling_is_suspended_waits_for_the_sibling() {
    within_deadline(|| {
        on_fibers_that_interleave(|executor, _| {
            let (suspended, panics) = (Flag::new(), Flag::new());
            let ended = Flag::new();
            let sibling = || {
                yield_taskmap(
                    |_| {
                        suspended.raise();
                        while !panics.is_raised() {
                            yield_now();
                        }
                    },
                    0..2,
                );
                (0..10).for_each(|_| yield_taskwrap(yield_now));
                ended.raise();
            };
            let panicking = || {
                while !suspended.is_raised() {
                    yield_now();
                }
                panics.raise();
                expected(4)
            };
            assert_eq!(expected_panic(|| executor.run(|| yield_join(sibling, panicking))), 4);
            assert!(ended.is_raised());
        });
    });
}

#[test]
fn each_level_catches_its_own_panics() {
    fn level(depth: usize) -> usize {
        let children = caught(|| {
            yield_taskmap(
                |idx| {
                    let below = if depth == 0 { 0 } else { level(depth - 1) };
                    if idx == 2 { expected(depth) } else { below }
                },
                0..3,
            )
        });
        1 + number_of(children.unwrap_err())
    }

    within_deadline(|| on_every_backend(|executor| assert_eq!(executor.run(|| level(3)), 4)));
}

#[test]
fn a_panic_passes_through_levels_that_do_not_catch_it() {
    fn deepen(depth: usize) {
        if depth == 0 {
            expected(42);
        }
        yield_taskmap(|_| yield_join(|| deepen(depth - 1), || yield_taskwrap(|| ())), 0..2);
    }

    within_deadline(|| on_every_backend(|executor| assert_eq!(expected_panic(|| executor.run(|| deepen(4))), 42)));
}

#[test]
fn siblings_that_have_not_started_never_start_after_a_panic() {
    within_deadline(|| {
        for candidate in
            candidates().filter(|candidate| candidate.workers == 1 && candidate.name != "thread per task x 1")
        {
            let started = AtomicUsize::new(0);
            let f = |idx: usize| {
                started.fetch_add(1, Ordering::Relaxed);
                if idx == 0 { expected(idx) } else { idx }
            };
            assert_eq!(expected_panic(|| candidate.executor.map(f, 0..1000)), 0);
            assert_eq!(started.load(Ordering::Relaxed), 1);
        }
        let right = Flag::new();
        let join = || yield_join(|| expected(1), || right.raise());
        assert_eq!(expected_panic(|| SerialExecutor::new().run(join)), 1);
        assert!(!right.is_raised());
    });
}

#[test]
fn a_panic_stops_a_batch_that_many_workers_run() {
    // Run to its end, the batch would take minutes.
    const TASKS: usize = 500_000;
    within_deadline(|| {
        on_fibers(|executor, _| {
            let started = AtomicUsize::new(0);
            let f = |idx: usize| {
                if started.fetch_add(1, Ordering::Relaxed) == 20 {
                    expected(idx);
                }
                thread::park_timeout(Duration::from_millis(1));
            };
            expected_panic(|| executor.map(f, 0..TASKS));
            assert!(started.load(Ordering::Relaxed) < TASKS / 10);
        });
    });
}

#[test]
fn an_executor_is_as_good_after_a_panic_as_before() {
    within_deadline(|| {
        on_every_backend(|executor| {
            for round in 0..30 {
                let f = |idx: usize| yield_taskmap(|x| if x == round % 3 { expected(x) } else { x }, 0..idx);
                assert_eq!(expected_panic(|| executor.map(f, 0..4)), round % 3);
                assert_eq!(executor.map(|x| yield_taskmap(|y| x * y, 0..3), 0..2), [[0, 0, 0], [0, 1, 2]]);
            }
        });
    });
}

#[test]
fn a_panic_of_the_input_iterator_passes_through_before_anything_starts() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let started = Flag::new();
            let input = (0..10).map(|x| if x == 5 { expected(x) } else { x });
            let map = |_: usize| started.raise();
            assert_eq!(expected_panic(|| executor.map(map, input.clone())), 5);
            assert_eq!(expected_panic(|| executor.run(|| yield_taskmap(map, input))), 5);
            assert!(!started.is_raised());
        });
    });
}

/// A payload whose destructor panics.
struct Bomb(usize);

impl Drop for Bomb {
    fn drop(&mut self) {
        panic::panic_any(Expected(self.0));
    }
}

#[test]
fn payloads_that_panic_when_dropped_do_no_harm() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let all_panic = |idx: usize| -> usize { panic::resume_unwind(Box::new(Bomb(idx))) };
            for _ in 0..5 {
                let payload = caught(|| executor.map(all_panic, 0..10)).unwrap_err();
                let bomb = payload.downcast::<Bomb>().unwrap_or_else(|_| panic!("another payload"));
                let number = bomb.0;
                assert_eq!(expected_panic(|| drop(bomb)), number);
            }
            assert_eq!(executor.map(|x| x + 1, 0..3), [1, 2, 3]);
        });
    });
}

#[test]
fn a_panic_in_a_function_called_once_leaves_its_captures_dropped_and_others_usable() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let log = Mutex::new(Vec::new());
            let left = || log.lock().unwrap().push("left");
            let joined = caught(|| executor.run(|| yield_join(left, || expected(1))));
            assert_eq!(number_of(joined.unwrap_err()), 1);
            assert!(log.into_inner().unwrap().len() <= 1);
        });
    });
}
