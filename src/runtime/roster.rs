#![expect(unsafe_code, reason = "members are pointers that are good under the lock")]
//! Who belongs to a worker: its fibers and its stacks, for those who look at them from other threads.
//!
//! The roster is changed when a fiber is made or retired, a slab mapped, or the worker begins and ends; never in the course of a
//! task. Whoever holds its lock can rely on this: the worker has not ended, nor has any fiber in the list been retired. A
//! survey holds it, and a handler on the worker's thread reads what the lock guards on the survey's behalf.

use super::counters::Counters;
use super::fiber::FiberRef;
use super::stack::StackSpace;
use super::{Shared, Worker};
use crate::stats::WorkerStats;
use parking_lot::Mutex;
use std::ptr::NonNull;
use std::time::Duration;

/// The roster of one worker.
#[derive(Debug, Default)]
pub(super) struct Roster {
    members: Mutex<Members>,
}

#[derive(Debug, Default)]
pub(super) struct Members {
    /// The worker and its thread, while it runs.
    worker: Option<(NonNull<Worker>, libc::pthread_t)>,
    /// All its fibers, idle ones included.
    fibers: Vec<FiberRef>,
    /// The most fibers that it had at a time.
    most_fibers: usize,
    /// Bytes that are reserved for its stacks.
    reserved: usize,
    /// The most bytes of a stack that were ever touched, as far as they have been looked for.
    height: usize,
    /// What the worker counted, after its end.
    last: Option<WorkerStats>,
}

// SAFETY: the pointers block the auto trait. Worker and fibers are looked into on the worker's thread, but for their atomics,
// which any thread may read as long as they exist, which the lock sees to.
unsafe impl Send for Members {}

/// What the stacks of a worker take.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct StackFigures {
    pub(super) reserved: usize,
    pub(super) resident: usize,
    pub(super) height: usize,
}

impl Roster {
    /// Notes that a worker runs on the calling thread.
    pub(super) fn open(&self, worker: &Worker) {
        // SAFETY: always is.
        let thread = unsafe { libc::pthread_self() };
        self.members.lock().worker = Some((NonNull::from(worker), thread));
    }

    /// Notes that the worker and its fibers are about to be gone.
    pub(super) fn close(&self, worker: &Worker) {
        let mut members = self.members.lock();
        let last = Some(members.stats_of(worker));
        *members = Members { last, height: members.height, ..Members::default() };
    }

    /// Notes a new fiber.
    pub(super) fn enter(&self, fiber: FiberRef) {
        let mut members = self.members.lock();
        fiber.place().set(members.fibers.len());
        members.fibers.push(fiber);
        members.most_fibers = members.most_fibers.max(members.fibers.len());
    }

    /// Notes that a fiber is about to be gone.
    pub(super) fn leave(&self, fiber: FiberRef) {
        let mut members = self.members.lock();
        let place = fiber.place().get();
        members.fibers.swap_remove(place);
        if let Some(moved) = members.fibers.get(place) {
            moved.place().set(place);
        }
    }

    /// Notes a mapping of stacks.
    pub(super) fn enter_slab(&self, bytes: usize) {
        self.members.lock().reserved += bytes;
    }

    /// Looks how much of a stack has been touched, before its memory is given back.
    pub(super) fn note_height(&self, space: StackSpace) {
        let mut members = self.members.lock();
        members.height = space.height_above(members.height);
    }

    /// What the worker counted, the fibers that are live, and the most it had at a time.
    pub(super) fn stats(&self) -> WorkerStats {
        let members = self.members.lock();
        match (members.worker, &members.last) {
            // SAFETY: the worker has not ended while the lock is held.
            (Some((worker, _)), _) => members.stats_of(unsafe { worker.as_ref() }),
            (None, Some(last)) => last.clone(),
            (None, None) => WorkerStats::default(),
        }
    }

    /// What the stacks take. Asks the system about the pages of each fiber's stack; those of no fiber have none in memory.
    pub(super) fn measure(&self) -> StackFigures {
        self.members.lock().measure()
    }

    /// Calls `f` with the worker, its thread and its fibers, unless it has ended or not begun.
    pub(super) fn with_worker<R>(&self, f: impl FnOnce(&Counted, libc::pthread_t, &[FiberRef]) -> R) -> Option<R> {
        let members = self.members.lock();
        let (worker, thread) = members.worker?;
        Some(f(&Counted(worker), thread, &members.fibers))
    }
}

/// A worker of which another thread may look at the counters.
#[derive(Debug)]
pub(super) struct Counted(pub(super) NonNull<Worker>);

impl Counted {
    pub(super) fn counters(&self) -> &Counters {
        // SAFETY: made under the lock of the roster, and lent for as long. Counters may be read by any thread.
        unsafe { self.0.as_ref() }.counters()
    }
}

impl Members {
    fn stats_of(&self, worker: &Worker) -> WorkerStats {
        let shared: &Shared = worker.shared();
        let counters = worker.counters();
        let [busy, searching, parked] = counters.clock.read(shared.nanoseconds()).map(Duration::from_nanos);
        WorkerStats {
            tasks: counters.tasks.get(),
            steals: counters.steals.get(),
            failed_steals: counters.failed_steals.get(),
            parks: counters.parks.get(),
            switches: counters.switches.get() + counters.direct_starts.get(),
            ready_resumes: counters.ready_resumes.get(),
            busy,
            searching,
            parked,
            live_fibers: self.fibers.iter().filter(|fiber| fiber.is_live()).count(),
            peak_fibers: self.most_fibers,
        }
    }

    fn measure(&mut self) -> StackFigures {
        let mut resident = 0;
        for fiber in &self.fibers {
            let seen = fiber.space().measure();
            resident += seen.resident;
            self.height = self.height.max(seen.height);
        }
        StackFigures { reserved: self.reserved, resident, height: self.height }
    }
}
