//! How many jobs lie in a list under a lock, for those who look from outside of it.
//!
//! Two numbers, both changed under the lock: how many there are, and how many there have been. A worker that may take some
//! of the jobs only reads the latter first, then looks for a job of its own, and then sleeps until the latter has changed.
//! So an answer that the list is empty must not be older than the number that was read before: whoever adds a job
//! changes the number last and releases, and whoever reads it acquires. Then either the look sees the job, or the number has
//! changed since it was read. The lock orders the rest.

use crate::primitives::{AtomicUsize, Ordering};

#[derive(Debug)]
pub(super) struct Tally {
    /// How many there are.
    len: AtomicUsize,
    /// How many there have been.
    added: AtomicUsize,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self { len: AtomicUsize::new(0), added: AtomicUsize::new(0) }
    }

    /// Whether there was none at some moment during the call.
    pub(super) fn is_empty(&self) -> bool {
        // ORDERING: Relaxed. A hint on the way; before parking, a fence precedes it (see `idle`), or a look at `added` does.
        self.len.load(Ordering::Relaxed) == 0
    }

    /// How many have been added: changes when there may be something new.
    pub(super) fn added(&self) -> usize {
        // ORDERING: Acquire, so that a look that follows sees what was added; pairs with `add`.
        self.added.load(Ordering::Acquire)
    }

    /// Counts a job in. Called under the lock, after the job was put into the list.
    pub(super) fn add(&self) {
        // ORDERING: Relaxed under the lock; the caller passes a fence before it looks who sleeps.
        self.len.fetch_add(1, Ordering::Relaxed);
        // ORDERING: Release publishes the length; pairs with `added`.
        self.added.fetch_add(1, Ordering::Release);
    }

    /// Counts a job out. Called under the lock.
    pub(super) fn remove(&self) {
        self.len.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(all(test, yieldtasks_loom))]
mod models {
    use super::*;
    use crate::primitives::Mutex;
    use crate::runtime::idle::Idle;
    use loom::sync::Arc;
    use loom::thread;
    use std::time::Duration;

    struct Place {
        jobs: Mutex<Vec<usize>>,
        tally: Tally,
        idle: Idle,
    }

    impl Place {
        fn push(&self, job: usize) {
            let mut jobs = self.jobs.lock();
            jobs.push(job);
            self.tally.add();
            drop(jobs);
            self.idle.nudge_starving();
        }

        fn take(&self, job: usize) -> bool {
            if self.tally.is_empty() {
                return false;
            }
            let mut jobs = self.jobs.lock();
            let at = jobs.iter().position(|&other| other == job);
            if let Some(at) = at {
                jobs.swap_remove(at);
                self.tally.remove();
            }
            at.is_some()
        }
    }

    /// A worker takes the job 1 of those that are pushed.
    fn explore(jobs: &'static [usize]) {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(move || {
            let place = Arc::new(Place { jobs: Mutex::new(Vec::new()), tally: Tally::new(), idle: Idle::new(1) });
            let worker = {
                let place = Arc::clone(&place);
                thread::spawn(move || {
                    loop {
                        let seen = place.tally.added();
                        if place.take(1) {
                            break;
                        }
                        while place.tally.added() == seen {
                            place.idle.starve(0, Duration::MAX, || place.tally.added() != seen);
                        }
                    }
                })
            };
            jobs.iter().for_each(|&job| place.push(job));
            worker.join().unwrap();
            assert!(jobs.iter().all(|&job| job == 1 || place.take(job)));
            assert!(place.tally.is_empty());
        });
    }

    #[test]
    fn loom_a_worker_that_takes_some_jobs_only_misses_none_of_them() {
        explore(&[1]);
        explore(&[1, 2]);
        explore(&[2, 1]);
    }
}
