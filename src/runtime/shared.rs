//! What the workers of a runtime share.

use super::Settings;
use super::affinity::{Placement, ProcessMask};
use super::deque::{Deque, Injector, Job, Stealer};
use super::fiber::Fiber;
use super::fiber_limit::FiberLimit;
use super::gate::Gate;
use super::idle::Idle;
use super::inbox::Inbox;
use super::kin::Kin;
use super::roster::Roster;
use super::survey::{Sight, Turn};
use super::watchdog::Watchdog;
use crate::batch::Header;
use crate::control::Asking;
use crate::current;
use crate::dump::Dump;
use crate::executor::Interleave;
use crate::stats::Stats;
use crate::waiter::Waiter;
use crossbeam_utils::CachePadded;
use parking_lot::Mutex;
use std::ptr::NonNull;
use std::time::Instant;

/// What the workers of a runtime share with each other and with the outside.
pub(crate) struct Shared {
    pub(super) gate: Gate,
    pub(super) injector: Injector<Job<Header>>,
    /// What workers gave away because others searched. As old as what thieves take, so it goes after what is from outside.
    pub(super) handed: Injector<Job<Header>>,
    /// Where jobs from outside go instead that may descend from what waits here; none unless workers nest.
    pub(super) kin: Kin,
    pub(super) idle: Idle,
    seats: Box<[CachePadded<Seat>]>,
    stack_size: usize,
    pub(super) fiber_limit: FiberLimit,
    pub(super) mask: ProcessMask,
    placement: Placement,
    interleave: Interleave,
    pub(super) owner: usize,
    /// When the runtime was started.
    epoch: Instant,
    pub(super) ending: Mutex<Ending>,
    pub(super) watchdog: Option<Watchdog>,
    /// While workers nest.
    _asking: Option<Asking>,
}

/// What other threads see of a worker. Padded, because a waker of one worker must not slow down its neighbour.
struct Seat {
    inbox: Inbox<Fiber>,
    stealer: Stealer<Header>,
    roster: Roster,
}

/// The workers that have not ended, and who waits for them.
pub(super) struct Ending {
    pub(super) workers: usize,
    pub(super) waiters: Vec<Waiter>,
}

impl Shared {
    /// What the workers share that have these deques.
    pub(super) fn new(settings: &Settings, deques: &[Deque<Header>]) -> Self {
        let seats = deques.iter().map(|deque| {
            let seat = Seat { inbox: Inbox::new(), stealer: deque.stealer(), roster: Roster::default() };
            CachePadded::new(seat)
        });
        Self {
            gate: Gate::new(),
            injector: Injector::new(),
            handed: Injector::new(),
            kin: Kin::new(),
            idle: Idle::new(deques.len()),
            seats: seats.collect(),
            stack_size: settings.stack_size,
            fiber_limit: FiberLimit::new(settings.max_fibers),
            mask: settings.mask.clone(),
            placement: settings.placement.clone(),
            interleave: settings.interleave,
            owner: settings.owner,
            epoch: Instant::now(),
            ending: Mutex::new(Ending { workers: 0, waiters: Vec::new() }),
            watchdog: settings.watchdog.map(Watchdog::new),
            _asking: (settings.interleave == Interleave::Nested).then(Asking::begin),
        }
    }

    pub(super) fn inbox(&self, worker: usize) -> &Inbox<Fiber> {
        &self.seats[worker].inbox
    }

    pub(super) fn stealer(&self, worker: usize) -> &Stealer<Header> {
        &self.seats[worker].stealer
    }

    pub(super) fn roster(&self, worker: usize) -> &Roster {
        &self.seats[worker].roster
    }

    pub(super) fn workers(&self) -> usize {
        self.seats.len()
    }

    /// The time since the runtime was started, in nanoseconds: enough for five centuries.
    pub(super) fn nanoseconds(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    pub(super) fn wake(&self, worker: usize) {
        self.idle.wake(worker);
    }

    pub(super) fn stack_size(&self) -> usize {
        self.stack_size
    }

    pub(super) fn fiber_limit(&self) -> &FiberLimit {
        &self.fiber_limit
    }

    pub(super) fn process_mask(&self) -> &ProcessMask {
        &self.mask
    }

    /// What the workers have done, and what they hold.
    pub(crate) fn stats(&self) -> Stats {
        let rosters = || self.seats.iter().map(|seat| &seat.roster);
        let mut stats = Stats {
            workers: rosters().map(Roster::stats).collect(),
            inline_batches: self.fiber_limit.inline(),
            ..Stats::default()
        };
        for figures in rosters().map(Roster::measure) {
            stats.stack_reserved += figures.reserved;
            stats.stack_resident += figures.resident;
            stats.stack_high_water = stats.stack_high_water.max(figures.height);
        }
        stats
    }

    /// What is live on each worker.
    pub(crate) fn survey(&self) -> Vec<(usize, Option<Vec<Sight>>)> {
        let mut turn = Turn::take();
        (0..self.workers()).map(|worker| (worker, turn.survey(self.roster(worker)))).collect()
    }

    pub(super) fn dump(&self) -> Dump {
        Dump::new(self.survey())
    }

    /// Counts a root out, and lets the workers end if it was the last one.
    pub(super) fn leave(&self) {
        if self.gate.leave() {
            self.idle.wake_all();
        }
    }

    /// Notes that a worker has ended.
    pub(super) fn worker_ended(&self) {
        let waiters = {
            let mut ending = self.ending.lock();
            ending.workers -= 1;
            if ending.workers == 0 {
                self.watchdog.as_ref().inspect(|watchdog| watchdog.end());
                std::mem::take(&mut ending.waiters)
            } else {
                Vec::new()
            }
        };
        waiters.into_iter().for_each(Waiter::wake);
    }

    /// Whether workers run only descendants of what waits on them.
    pub(super) fn nests(&self) -> bool {
        self.interleave == Interleave::Nested
    }

    /// The worker that has its place where the calling thread runs, if the caller is no worker. A thread that waits leaves the
    /// core to it, so to wake that one takes no interrupt of another core.
    pub(super) fn worker_near_thread(&self) -> Option<usize> {
        if current::worker().is_some() { None } else { self.placement.worker_here() }
    }

    /// Hands a job to whichever worker may take it. If somebody has to be woken, it is `near`, if one is named and it sleeps.
    ///
    /// The batch is live until its tasks have ended, so until they are taken.
    pub(super) fn inject(&self, job: Job<Header>, near: Option<usize>) {
        if self.nests() {
            let is_kin = self.kin.push(job);
            self.idle.notify_from_outside(near);
            // A worker of this runtime that waits for the job may sleep only if another thread has pushed it.
            if is_kin && !current::worker().is_some_and(|worker| worker.belongs_to(NonNull::from(self))) {
                self.idle.nudge_starving();
            }
        } else {
            self.injector.push(job);
            self.idle.notify_from_outside(near);
        }
    }
}
