//! A task that has started stays on its thread: thread-locals, `Rc` and guards on the stack are safe across yields.

use crate::backends::{on_every_backend, on_fibers, on_fibers_that_interleave};
use crate::deadline::within_deadline;
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::thread::{self, ThreadId};
use yieldtasks::{ExecutorExt, yield_join, yield_now, yield_taskmap, yield_taskwrap};

const ROUNDS: u64 = if cfg!(debug_assertions) { 8 } else { 40 };

thread_local! {
    /// A number that no other thread has.
    static OWN: u64 = {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        NEXT.fetch_add(1, Ordering::Relaxed)
    };
    static COUNT: Cell<u64> = const { Cell::new(0) };
    static LIST: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// Yields in one of several ways, such that the worker runs other tasks meanwhile.
fn yield_somehow(way: u64) {
    match way % 5 {
        0 => yield_now(),
        1 => drop(yield_taskmap(|_| yield_now(), 0..3)),
        2 => drop(yield_join(yield_now, || ())),
        3 => yield_taskwrap(yield_now),
        _ => drop(yield_taskmap(|_| yield_taskmap(|_| (), 0..2), 0..2)),
    }
}

#[test]
fn a_task_is_on_the_same_thread_after_every_yield() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let check = |task: u64| {
                let here = thread::current().id();
                for round in 0..ROUNDS {
                    yield_somehow(task + round);
                    assert_eq!(thread::current().id(), here);
                }
            };
            executor.map(check, 0..12);
            executor.run(|| yield_taskmap(|_| yield_taskmap(check, 0..6), 0..3));
        });
    });
}

#[test]
fn thread_locals_read_after_a_yield_are_those_of_the_same_thread() {
    #[inline(always)]
    fn own() -> u64 {
        OWN.with(|own| *own)
    }

    within_deadline(|| {
        on_every_backend(|executor| {
            let check = |task: u64| {
                let before = own();
                let mut sum = 0;
                for round in 0..ROUNDS {
                    COUNT.set(COUNT.get() + 1);
                    yield_somehow(task + round);
                    sum += own();
                    LIST.with_borrow_mut(|list| list.push(own()));
                    yield_somehow(round);
                    assert!(LIST.with_borrow(|list| list.iter().all(|&number| number == before)));
                }
                assert_eq!(sum, before * ROUNDS);
            };
            executor.run(|| yield_taskmap(|_| yield_taskmap(check, 0..8), 0..3));
        });
    });
}

#[test]
fn thread_locals_written_around_yields_lose_no_update() {
    within_deadline(|| {
        on_fibers(|executor, workers| {
            let counts = Mutex::new(std::collections::HashMap::<ThreadId, u64>::new());
            let check = |task: u64| {
                for round in 0..ROUNDS {
                    COUNT.set(COUNT.get() + 1);
                    yield_somehow(task + round);
                    COUNT.set(COUNT.get() + 1);
                    *counts.lock().unwrap().entry(thread::current().id()).or_default() += 2;
                }
            };
            executor.map(check, 0..20);
            let counts = counts.into_inner().unwrap();
            assert!(counts.len() <= workers);
            assert_eq!(counts.values().sum::<u64>(), 40 * ROUNDS);
            if executor.persist() {
                let seen = executor.map(|_| (thread::current().id(), COUNT.get()), 0..50);
                assert!(seen.iter().all(|(thread, count)| *count == counts.get(thread).copied().unwrap_or_default()));
            }
        });
    });
}

#[test]
fn reference_counts_without_atomics_survive_yields() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let counts = executor.map(
                |task: u64| {
                    let shared = Rc::new(Cell::new(0));
                    let mut clones = Vec::new();
                    for round in 0..ROUNDS {
                        clones.push(Rc::clone(&shared));
                        yield_somehow(task + round);
                        shared.set(shared.get() + 1);
                        if round % 3 == 0 {
                            clones.pop();
                        }
                    }
                    (shared.get(), Rc::strong_count(&shared) - 1 == clones.len())
                },
                0..12,
            );
            assert_eq!(counts, [(ROUNDS, true); 12]);
        });
    });
}

#[test]
fn guards_may_be_held_across_yields() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let locks: Vec<Mutex<u64>> = (0..10).map(|_| Mutex::new(0)).collect();
            executor.map(
                |lock: &Mutex<u64>| {
                    // The standard library's guard is not `Send`: it is to be dropped on the thread that took it.
                    let mut guard: MutexGuard<'_, u64> = lock.lock().unwrap();
                    let cell = RefCell::new(0);
                    let mut borrow = cell.borrow_mut();
                    for round in 0..ROUNDS {
                        yield_somehow(round);
                        *guard += 1;
                        *borrow += *guard;
                    }
                    assert_eq!(*borrow, ROUNDS * (ROUNDS + 1) / 2);
                },
                &locks,
            );
            assert!(locks.into_iter().all(|lock| lock.into_inner().unwrap() == ROUNDS));
        });
    });
}

#[test]
fn values_on_the_stack_keep_their_addresses_across_yields() {
    within_deadline(|| {
        on_every_backend(|executor| {
            executor.map(
                |task: u64| {
                    let numbers: [u64; 100] = std::array::from_fn(|idx| idx as u64 * task);
                    let address = (&raw const numbers).addr();
                    for round in 0..ROUNDS {
                        yield_somehow(round);
                        assert_eq!((&raw const numbers).addr(), address);
                        assert!(numbers.iter().enumerate().all(|(idx, &number)| number == idx as u64 * task));
                    }
                },
                0..8,
            );
        });
    });
}

#[test]
fn a_suspended_task_has_its_fiber_to_itself() {
    within_deadline(|| {
        on_fibers_that_interleave(|executor, _| {
            let started = AtomicU64::new(0);
            let frames = executor.map(
                |_| {
                    let local = 0_u8;
                    started.fetch_add(1, Ordering::AcqRel);
                    while started.load(Ordering::Acquire) < 50 {
                        yield_now();
                    }
                    (&raw const local).addr()
                },
                0..50,
            );
            let mut frames: Vec<_> = frames;
            frames.sort_unstable();
            assert!(frames.windows(2).all(|pair| pair[1] - pair[0] > 16 * 1024), "fifty live tasks, fifty stacks");
        });
    });
}

#[test]
fn all_workers_take_part_and_no_other_thread_does() {
    within_deadline(|| {
        on_fibers(|executor, workers| {
            let started = AtomicU64::new(0);
            let threads = executor.map(
                |_| {
                    started.fetch_add(1, Ordering::AcqRel);
                    // Without giving way to other fibers: so each worker gets one of these tasks.
                    crate::deadline::spin_until("every worker has a task", || {
                        started.load(Ordering::Acquire) >= workers as u64
                    });
                    thread::current().id()
                },
                0..workers,
            );
            let threads: HashSet<_> = threads.into_iter().collect();
            assert_eq!(threads.len(), workers);
            assert!(!threads.contains(&thread::current().id()));
        });
    });
}
