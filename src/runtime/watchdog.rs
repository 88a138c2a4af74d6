//! The watchdog: a thread that looks now and then whether the workers get on, and warns if they do not.
//!
//! It looks at counters that the workers keep anyway, so that they pay nothing for being watched. A worker is *stalled* while a
//! ready fiber waits for it, and it has not finished a task, resumed a ready fiber or parked since the look before: a leaf that
//! runs for long, or that waits by blocking the thread. The executor is stalled while a root is in hand and all workers park, and
//! none has done anything since the look before: its tasks wait for what does not come from other tasks, or for each other.

use super::Shared;
use super::roster::Counted;
use crate::primitives::Monitor;
use std::panic::{self, AssertUnwindSafe};
use std::time::{Duration, Instant};

/// Looks per period. A stall is told when it has lasted for a period, and at most the part between two looks longer.
const LOOKS: u32 = 4;
/// No more looks than one in this time.
const SHORTEST_NAP: Duration = Duration::from_millis(1);

/// The watchdog of an executor.
#[derive(Debug)]
pub(super) struct Watchdog {
    period: Duration,
    has_ended: Monitor<bool>,
}

/// A state without progress: since when, and whether it was told.
#[derive(Debug)]
struct Stall<S> {
    signature: Option<S>,
    since: Instant,
    is_told: bool,
}

impl<S: PartialEq> Stall<S> {
    fn none() -> Self {
        Self { signature: None, since: Instant::now(), is_told: false }
    }

    /// Notes what a look has found: a signature, which progress of any kind changes, or that there is no stall. Returns
    /// whether a stall has lasted for `period` and not been told.
    fn is_due(&mut self, signature: Option<S>, period: Duration) -> bool {
        if signature.is_none() || signature != self.signature {
            *self = Self { signature, ..Self::none() };
            return false;
        }
        let is_due = !self.is_told && self.since.elapsed() >= period;
        self.is_told |= is_due;
        is_due
    }
}

impl Watchdog {
    pub(super) fn new(period: Duration) -> Self {
        Self { period, has_ended: Monitor::new(false) }
    }

    /// Lets the thread end.
    pub(super) fn end(&self) {
        *self.has_ended.lock() = true;
        self.has_ended.notify_one();
    }

    /// Watches until the end.
    pub(super) fn watch(&self, shared: &Shared) {
        let mut of_workers: Vec<_> = (0..shared.workers()).map(|_| Stall::none()).collect();
        let mut of_all = Stall::none();
        while self.nap() {
            for (worker, stall) in of_workers.iter_mut().enumerate() {
                if stall.is_due(shared.stall_of(worker), self.period) {
                    self.tell(|seconds| {
                        let dump = shared.dump();
                        tracing::warn!(
                            worker,
                            seconds,
                            %dump,
                            "a worker has neither finished a task nor parked while ready fibers wait for it: call \
                             `checkpoint` in long tasks, and wait by the means of this crate"
                        );
                    });
                }
            }
            if of_all.is_due(shared.stall_of_all(), self.period) {
                self.tell(|seconds| {
                    let dump = shared.dump();
                    tracing::warn!(seconds, %dump, "tasks have not ended, and every worker is parked");
                });
            }
        }
    }

    /// Calls what the program has set up for `tracing`.
    fn tell(&self, warn: impl FnOnce(f64)) {
        if tracing::enabled!(tracing::Level::WARN) {
            // A panic of the subscriber is its own affair.
            let _ = panic::catch_unwind(AssertUnwindSafe(|| warn(self.period.as_secs_f64())));
        }
    }

    /// Waits until it is time for another look. Returns `false` at the end.
    fn nap(&self) -> bool {
        let until = Instant::now() + (self.period / LOOKS).max(SHORTEST_NAP);
        let mut has_ended = self.has_ended.lock();
        loop {
            if *has_ended {
                return false;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            has_ended = self.has_ended.wait_for(has_ended, left);
        }
    }
}

impl Shared {
    /// What changes when a worker gets on, if a ready fiber waits for it.
    fn stall_of(&self, worker: usize) -> Option<[u64; 3]> {
        let stall = |worker_of: &Counted| {
            let counters = worker_of.counters();
            let resumes = counters.ready_resumes.get();
            let is_wanted = counters.readied.get() > resumes || !self.inbox(worker).is_empty();
            is_wanted.then(|| [counters.tasks.get(), counters.parks.get(), resumes])
        };
        self.roster(worker).with_worker(|worker_of, _, _| stall(worker_of)).flatten()
    }

    /// What changes when any worker does something, if all are parked and there is something to be done.
    fn stall_of_all(&self) -> Option<u64> {
        if !self.gate.is_in_use() || !self.idle.is_everybody_at_rest() {
            return None;
        }
        let parks = |worker| self.roster(worker).with_worker(|worker, _, _| worker.counters().parks.get());
        Some((0..self.workers()).filter_map(parks).sum())
    }
}
