//! Locks and signals that suspend the task that waits for them.

use crate::backends::{WORKERS, fibers, on_backends_where_siblings_wait, on_every_backend, on_fibers};
use crate::deadline::{Flag, spin_until, wait_until, within_deadline};
use crate::panicking::{caught, expected, expected_panic};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;
use yieldtasks::sync::{self, Event, Mutex, RwLock, Semaphore};
use yieldtasks::{CancelToken, ErrorKind, ExecutorExt, taskmap, yield_join, yield_now, yield_taskmap};

/// Waits for siblings, which may need this worker to go on.
#[track_caller]
fn yield_until(what: &str, condition: impl Fn() -> bool) {
    wait_until(what, condition, yield_now);
}

#[test]
fn a_mutex_held_across_a_map_keeps_the_others_out() {
    within_deadline(|| {
        on_fibers(|executor, _| {
            let lock = Mutex::new(0_usize);
            let inside = AtomicUsize::new(0);
            let enter = |idx: usize| {
                let mut guard = lock.lock();
                assert_eq!(inside.fetch_add(1, Ordering::AcqRel), 0);
                let before = *guard;
                let children = yield_taskmap(|x| yield_taskmap(|y| x + y, 0..3).len(), 0..4);
                yield_now();
                *guard = before + children.len();
                assert_eq!(inside.fetch_sub(1, Ordering::AcqRel), 1);
                idx
            };
            assert_eq!(executor.map(enter, 0..50), (0..50).collect::<Vec<_>>());
            assert_eq!(lock.into_inner(), 200);
        });
    });
}

#[test]
fn a_mutex_held_across_a_map_is_had_by_all_tasks_of_every_backend() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let log = Mutex::new(Vec::new());
            let append = |x: usize| {
                let mut log = log.lock();
                let row = yield_taskmap(|y| x * y, 0..3);
                log.extend(row);
            };
            executor.map(append, 0..20);
            let log = log.into_inner();
            assert_eq!(log.len(), 60);
            // Nobody came in between the three of a task.
            assert!(log.chunks(3).all(|row| row[0] == 0 && row[2] == 2 * row[1]));
        });
    });
}

#[test]
fn a_child_waits_for_a_lock_that_its_uncle_holds() {
    within_deadline(|| {
        on_backends_where_siblings_wait(|executor, _| {
            let lock = Mutex::new(0);
            let (held, wanted) = (Flag::new(), Flag::new());
            let uncle = || {
                let mut guard = lock.lock();
                held.raise();
                yield_until("a child wants the lock", || wanted.is_raised());
                yield_taskmap(|_| yield_now(), 0..5);
                *guard = 1;
            };
            let parent = || {
                yield_until("the uncle holds the lock", || held.is_raised());
                yield_taskmap(
                    |_| {
                        wanted.raise();
                        let mut guard = lock.lock();
                        assert!(*guard > 0);
                        *guard += 1;
                    },
                    0..4,
                );
            };
            executor.run(|| yield_join(uncle, parent));
            assert_eq!(lock.into_inner(), 5);
        });
    });
}

#[test]
fn a_panic_of_its_holder_does_not_poison_a_mutex() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let lock = Mutex::new(0);
            let holder = |idx: usize| {
                let mut guard = lock.lock();
                yield_taskmap(|_| (), 0..3);
                *guard += 1;
                if idx == 0 {
                    expected(idx)
                }
            };
            assert_eq!(expected_panic(|| executor.map(holder, 0..3)), 0);
            assert!(lock.try_lock().is_some());
            executor.run(|| *lock.lock() += 10);
            assert!(lock.into_inner() > 10);
        });
    });
}

#[test]
fn locks_are_given_back_by_tasks_that_are_cancelled() {
    within_deadline(|| {
        on_fibers(|executor, _| {
            let (lock, semaphore, gate) = (Mutex::new(()), Semaphore::new(1), Event::new());
            let token = CancelToken::new();
            let holding = Flag::new();
            let waits = |idx: usize| {
                if idx < 3 {
                    // One of these holds both and waits for a signal that is never given; the others wait for it.
                    let _guard = lock.lock();
                    let _permit = semaphore.acquire();
                    holding.raise();
                    gate.wait();
                } else {
                    yield_until("a sibling holds the lock", || holding.is_raised());
                    token.cancel();
                    yield_now();
                }
            };
            let error = executor.taskmap(waits, 0..4).cancel_token(&token).try_run().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Cancelled);
            assert!(lock.try_lock().is_some() && semaphore.try_acquire().is_some());
        });
    });
}

#[test]
fn a_cancelled_task_stops_at_a_lock_even_if_it_is_free() {
    let free: [(&str, fn()); 6] = [
        ("a mutex", || drop(Mutex::new(()).lock())),
        ("a reader", || drop(RwLock::new(()).read())),
        ("a writer", || drop(RwLock::new(()).write())),
        ("a semaphore", || drop(Semaphore::new(1).acquire())),
        ("an event", || {
            let event = Event::new();
            event.set();
            event.wait();
        }),
        ("a channel", || {
            let (sender, receiver) = sync::channel(1);
            sender.send(1).unwrap();
            receiver.recv().unwrap();
        }),
    ];
    within_deadline(move || {
        on_every_backend(|executor| {
            for (name, lock) in free {
                let token = CancelToken::new();
                let went_on = Flag::new();
                let task = |_| {
                    token.cancel();
                    lock();
                    went_on.raise();
                };
                let outcome = executor.taskmap(task, [()]).cancel_token(&token).try_run();
                assert_eq!(outcome.map_err(|error| error.kind()), Err(ErrorKind::Cancelled), "{name}");
                assert!(!went_on.is_raised(), "{name}");
            }
        });
    });
}

#[test]
fn try_lock_gives_the_lock_if_it_is_free() {
    within_deadline(|| {
        let mut lock = Mutex::from(1);
        let guard = lock.try_lock().unwrap();
        assert!(lock.try_lock().is_none());
        assert_eq!(fibers(1).run(|| lock.try_lock().map(|guard| *guard)), None);
        drop(guard);
        *lock.get_mut() += 1;
        assert_eq!(fibers(1).run(|| lock.try_lock().map(|guard| *guard)), Some(2));
    });
}

#[test]
fn threads_and_tasks_share_a_mutex() {
    const EACH: usize = 20;
    within_deadline(|| {
        on_every_backend(|executor| {
            let lock = Mutex::new(0);
            let count = || {
                for _ in 0..EACH {
                    let mut guard = lock.lock();
                    let before = *guard;
                    thread::yield_now();
                    *guard = before + 1;
                }
            };
            thread::scope(|scope| {
                (0..3).for_each(|_| drop(scope.spawn(count)));
                executor.map(|_| count(), 0..4);
            });
            assert_eq!(lock.into_inner(), 7 * EACH);
        });
    });
}

#[test]
fn a_thread_waits_for_a_lock_that_a_task_holds_and_the_other_way_round() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let lock = Mutex::new(0);
            let (held, wanted) = (Flag::new(), Flag::new());
            thread::scope(|scope| {
                scope.spawn(|| {
                    held.spin("the task holds the lock");
                    wanted.raise();
                    *lock.lock() += 1;
                });
                executor.run(|| {
                    let mut guard = lock.lock();
                    held.raise();
                    yield_until("the thread wants the lock", || wanted.is_raised());
                    yield_taskmap(|x| x, 0..3);
                    *guard = 10;
                });
            });
            let guard = lock.lock();
            let (entered, handle_ended) = (Flag::new(), Flag::new());
            thread::scope(|scope| {
                scope.spawn(|| {
                    executor.run(|| {
                        entered.raise();
                        *lock.lock() *= 2;
                    });
                    handle_ended.raise();
                });
                entered.spin("the task wants the lock");
                assert!(!handle_ended.is_raised());
                drop(guard);
            });
            assert_eq!(*lock.lock(), 22);
        });
    });
}

#[test]
fn readers_share_and_writers_do_not() {
    within_deadline(|| {
        on_backends_where_siblings_wait(|executor, _| {
            let lock = RwLock::new(0);
            let inside = AtomicIsize::new(0);
            let visit = |idx: usize| {
                if idx.is_multiple_of(5) {
                    let mut guard = lock.write();
                    assert_eq!(inside.fetch_sub(100, Ordering::AcqRel), 0);
                    yield_taskmap(|_| yield_now(), 0..3);
                    *guard += 1;
                    inside.fetch_add(100, Ordering::AcqRel);
                } else {
                    let guard = lock.read();
                    let before = *guard;
                    assert!(inside.fetch_add(1, Ordering::AcqRel) >= 0);
                    yield_taskmap(|_| yield_now(), 0..3);
                    assert_eq!(*guard, before);
                    inside.fetch_sub(1, Ordering::AcqRel);
                }
            };
            executor.map(visit, 0..60);
            assert_eq!(lock.into_inner(), 12);
        });
    });
}

#[test]
fn all_readers_are_inside_at_the_same_time() {
    within_deadline(|| {
        on_backends_where_siblings_wait(|executor, _| {
            let lock = RwLock::new(7);
            let inside = AtomicUsize::new(0);
            let read = |_| {
                let guard = lock.read();
                inside.fetch_add(1, Ordering::AcqRel);
                yield_until("all read", || inside.load(Ordering::Acquire) == 20);
                *guard
            };
            assert_eq!(executor.map(read, 0..20), [7; 20]);
            assert!(lock.try_write().is_some());
        });
    });
}

#[test]
fn a_panic_does_not_poison_a_rw_lock() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let mut lock = RwLock::from(1);
            let panics = |_| {
                let mut guard = lock.write();
                yield_taskmap(|_| (), 0..2);
                *guard += 1;
                expected(1)
            };
            assert_eq!(expected_panic(|| executor.map(panics, [()])), 1);
            assert_eq!(executor.run(|| *lock.read()), 2);
            let reader = lock.try_read().unwrap();
            assert!(lock.try_write().is_none() && lock.try_read().is_some());
            drop(reader);
            *lock.get_mut() = 3;
            assert_eq!(*lock.try_write().unwrap(), 3);
        });
    });
}

#[test]
fn a_semaphore_lets_so_many_in() {
    within_deadline(|| {
        on_fibers(|executor, _| {
            for permits in [1, 3] {
                let semaphore = Semaphore::new(permits);
                let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
                let enter = |_| {
                    let _permit = semaphore.acquire();
                    let now = inside.fetch_add(1, Ordering::AcqRel) + 1;
                    most.fetch_max(now, Ordering::AcqRel);
                    yield_taskmap(|_| yield_now(), 0..3);
                    inside.fetch_sub(1, Ordering::AcqRel);
                };
                executor.map(enter, 0..40);
                assert!((1..=permits).contains(&most.into_inner()));
                let all: Vec<_> = (0..permits).map_while(|_| semaphore.try_acquire()).collect();
                assert_eq!(all.len(), permits);
                assert!(semaphore.try_acquire().is_none());
            }
        });
    });
}

#[test]
fn as_many_as_there_are_permits_are_inside_at_the_same_time() {
    within_deadline(|| {
        on_backends_where_siblings_wait(|executor, _| {
            let semaphore = Semaphore::new(2);
            let inside = AtomicUsize::new(0);
            let meet = |_| {
                let _permit = semaphore.acquire();
                inside.fetch_add(1, Ordering::AcqRel);
                yield_until("both are inside", || inside.load(Ordering::Acquire) >= 2);
            };
            executor.map(meet, 0..6);
            assert_eq!(inside.into_inner(), 6);
        });
    });
}

#[test]
fn new_permits_let_waiting_tasks_in() {
    within_deadline(|| {
        on_backends_where_siblings_wait(|executor, _| {
            let semaphore = Semaphore::new(0);
            let wanted = AtomicUsize::new(0);
            let task = |idx: usize| {
                if idx == 0 {
                    yield_until("all want a permit", || wanted.load(Ordering::Acquire) == 9);
                    semaphore.add_permits(3);
                } else {
                    wanted.fetch_add(1, Ordering::AcqRel);
                    let _permit = semaphore.acquire();
                    yield_now();
                }
            };
            executor.map(task, 0..10);
        });
    });
}

#[test]
fn threads_and_tasks_share_a_semaphore() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let semaphore = Semaphore::new(2);
            let (inside, broken) = (AtomicUsize::new(0), AtomicBool::new(false));
            let enter = || {
                for _ in 0..20 {
                    let _permit = semaphore.acquire();
                    if inside.fetch_add(1, Ordering::AcqRel) >= 2 {
                        broken.store(true, Ordering::Release);
                    }
                    thread::yield_now();
                    inside.fetch_sub(1, Ordering::AcqRel);
                }
            };
            thread::scope(|scope| {
                (0..3).for_each(|_| drop(scope.spawn(enter)));
                executor.map(|_| enter(), 0..4);
            });
            assert!(!broken.into_inner());
        });
    });
}

#[test]
fn an_event_releases_all_who_wait() {
    within_deadline(|| {
        on_backends_where_siblings_wait(|executor, _| {
            let event = Event::new();
            let (waiting, released) = (AtomicUsize::new(0), AtomicUsize::new(0));
            let task = |idx: usize| {
                if idx == 50 {
                    yield_until("all wait", || waiting.load(Ordering::Acquire) == 100);
                    assert_eq!(released.load(Ordering::Acquire), 0);
                    assert!(!event.is_set());
                    event.set();
                } else {
                    waiting.fetch_add(1, Ordering::AcqRel);
                    event.wait();
                    released.fetch_add(1, Ordering::AcqRel);
                }
            };
            executor.map(task, 0..101);
            assert_eq!(released.into_inner(), 100);
            assert!(event.is_set());
        });
    });
}

#[test]
fn an_event_that_is_set_keeps_nobody() {
    within_deadline(|| {
        let event = Event::new();
        event.set();
        event.set();
        event.wait();
        on_every_backend(|executor| drop(executor.map(|_| event.wait(), 0..20)));
    });
}

#[test]
fn an_event_set_while_tasks_come_to_wait_releases_each() {
    within_deadline(|| {
        for workers in WORKERS {
            let executor = fibers(workers);
            for _ in 0..200 {
                let event = Event::new();
                thread::scope(|scope| {
                    scope.spawn(|| event.set());
                    executor.map(|_| event.wait(), 0..8);
                });
            }
        }
    });
}

#[test]
fn threads_wait_for_an_event_that_a_task_sets_and_the_other_way_round() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let (by_task, by_thread) = (Event::new(), Event::new());
            thread::scope(|scope| {
                let threads = (0..3).map(|_| scope.spawn(|| by_task.wait())).collect::<Vec<_>>();
                scope.spawn(|| {
                    by_task.wait();
                    by_thread.set();
                });
                executor.run(|| {
                    by_task.set();
                    by_thread.wait();
                });
                threads.into_iter().for_each(|thread| thread.join().unwrap());
            });
        });
    });
}

#[test]
fn a_lock_taken_while_unwinding_is_had_if_it_is_free() {
    struct Locks<'a>(&'a Mutex<u32>);

    impl Drop for Locks<'_> {
        fn drop(&mut self) {
            *self.0.lock() += 1;
        }
    }

    within_deadline(|| {
        on_every_backend(|executor| {
            let lock = Mutex::new(0);
            let panics = |idx: usize| {
                let _locks = Locks(&lock);
                if idx == 0 {
                    expected(idx)
                }
            };
            assert!(caught(|| executor.map(panics, 0..1)).is_err());
            let started = AtomicUsize::new(0);
            let endless = |_: usize| {
                let _locks = Locks(&lock);
                started.fetch_add(1, Ordering::AcqRel);
                loop {
                    yield_now();
                }
            };
            let map = executor.taskmap(endless, 0..2).deadline(Duration::from_millis(5));
            assert_eq!(map.try_run().map(|_: Vec<()>| ()).unwrap_err().kind(), ErrorKind::DeadlineExceeded);
            assert_eq!(lock.into_inner() as usize, 1 + started.into_inner());
        });
    });
}

#[test]
fn results_are_streamed_to_a_parent_that_holds_a_lock() {
    within_deadline(|| {
        on_fibers(|executor, _| {
            let lock = Mutex::new(Vec::new());
            executor.run(|| {
                let mut guard = lock.lock();
                taskmap(|x| yield_taskmap(|y| x * y, 0..3), 0..10).for_each_completed(|_, row| {
                    guard.extend(row);
                    ControlFlow::Continue(())
                });
            });
            assert_eq!(lock.into_inner().len(), 30);
        });
    });
}

#[test]
fn a_spinning_thread_sees_what_was_done_before_an_event() {
    within_deadline(|| {
        let (event, word) = (Event::new(), AtomicUsize::new(0));
        thread::scope(|scope| {
            scope.spawn(|| {
                spin_until("the event is set", || event.is_set());
                assert_eq!(word.load(Ordering::Relaxed), 1);
            });
            fibers(1).run(|| {
                word.store(1, Ordering::Relaxed);
                event.set();
            });
        });
    });
}
