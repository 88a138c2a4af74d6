//! An executor without work uses no processor time.

use crate::backends::fibers;
use crate::deadline::{doing, wait_until, within_deadline};
use crate::processes::{alone, threads_named};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use yieldtasks::{Executor, ExecutorExt, FiberExecutor, Pinning, sync, yield_now, yield_taskmap, yield_taskwrap};

/// Waits for a length of time, which is the subject here.
fn wait(length: Duration) {
    let (_alive, never) = mpsc::channel::<()>();
    assert_eq!(never.recv_timeout(length), Err(mpsc::RecvTimeoutError::Timeout));
}

/// Checks that a second comes in which no worker is switched in, charged with time or about to run. On a busy machine a
/// worker may take some time to get there; one that keeps looking around never does.
fn sleeps(name: &str, workers: usize) {
    let quiet_second = || {
        let before = threads_named(name);
        assert_eq!(before.len(), workers);
        if before.iter().any(|thread| thread.state != "S") {
            return false;
        }
        wait(Duration::from_secs(1));
        threads_named(name) == before
    };
    wait_until("the workers sleep for a second", quiet_second, || wait(Duration::from_millis(5)));
}

fn named(name: &str, workers: usize) -> FiberExecutor {
    FiberExecutor::builder().workers(workers).thread_name(name).build().unwrap()
}

#[test]
fn an_idle_second_costs_no_switch_and_no_tick() {
    within_deadline(|| {
        alone(&[], || {
            for workers in [1, 2, 4] {
                let name = format!("idle{workers}");
                doing(&name);
                let executor = named(&name, workers);
                // Never worked, worked a little, and worked with everything there is.
                sleeps(&name, workers);
                executor.map(|x| x, 0..1);
                sleeps(&name, workers);
                executor.map(|_| yield_taskmap(|_| (0..10).for_each(|_| yield_now()), 0..50), 0..50);
                let handles: Vec<_> = (0..20).map(|x| executor.submit(move || yield_taskwrap(|| x))).collect();
                handles.into_iter().for_each(|handle| drop(handle.join()));
                sleeps(&name, workers);
            }
        });
    });
}

#[test]
fn workers_sleep_while_their_only_fibers_wait_for_another_executor() {
    within_deadline(|| {
        alone(&[], || {
            for workers in [1, 2] {
                let name = format!("waits{workers}");
                let executor = named(&name, workers);
                let other = fibers(1);
                let (go_on, gate) = mpsc::channel::<()>();
                let handle = other.submit(move || gate.recv().is_err());
                let waiting = executor.submit(move || {
                    let result = handle.join();
                    yield_taskmap(|x| x, 0..3).len() + usize::from(result.unwrap())
                });
                sleeps(&name, workers);
                drop(go_on);
                assert_eq!(waiting.join().unwrap(), 4);
            }
        });
    });
}

#[test]
fn other_workers_sleep_while_one_is_busy() {
    within_deadline(|| {
        alone(&[], || {
            let executor =
                FiberExecutor::builder().workers(4).thread_name("one-busy").pinning(Pinning::None).build().unwrap();
            let (go_on, gate) = mpsc::channel::<()>();
            let handle = executor.submit(move || gate.recv().is_err());
            // The busy one waits for the channel, and so is as quiet as the others.
            sleeps("one-busy", 4);
            drop(go_on);
            assert!(handle.join().unwrap());
            executor.shutdown();
        });
    });
}

#[test]
fn workers_sleep_while_readers_wait_for_a_writer() {
    within_deadline(|| {
        alone(&[], || {
            for workers in [1, 2] {
                let name = format!("reads{workers}");
                let executor = named(&name, workers);
                let lock = Arc::new(sync::RwLock::new(0));
                let first = lock.write();
                let submit = |writes: bool| {
                    let lock = Arc::clone(&lock);
                    executor.submit(move || if writes { *lock.write() += 1 } else { drop(lock.read()) })
                };
                // The second writer has the lock when the readers are told that the first is done.
                let second = Arc::clone(&lock);
                let (go_on, gate) = mpsc::channel::<()>();
                let other = fibers(1);
                let second = other.submit(move || {
                    let _guard = second.write();
                    gate.recv().is_err()
                });
                sleeps(&name, workers);
                let readers: Vec<_> = (0..4).map(|_| submit(false)).collect();
                sleeps(&name, workers);
                drop(first);
                sleeps(&name, workers);
                drop(go_on);
                second.join().unwrap();
                submit(true).join().unwrap();
                readers.into_iter().for_each(|reader| reader.join().unwrap());
            }
        });
    });
}
