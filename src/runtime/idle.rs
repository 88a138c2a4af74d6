//! Who sleeps, who searches, and who wakes whom.
//!
//! # Protocol
//!
//! One word counts the workers that *search* (look for work at other workers) and those that *sleep* (parked or about to
//! be). The rules:
//!
//! 1. Who makes work visible passes a fence and looks at the word. If nobody searches and somebody sleeps, it wakes one
//!    sleeper, which counts as searching from that moment on. Which one is of no consequence here.
//! 2. A worker may start to search while fewer than half of the workers do.
//! 3. A searcher that finds work and was the only one passes a heavy fence, looks whether there is more, and wakes another
//!    sleeper if so: while it searched, nobody else was woken.
//! 4. A worker that finds nothing announces itself as a sleeper, giving up its place as a searcher in the same step, passes
//!    a heavy fence, looks at all places once more, and parks only if they are empty.
//!
//! No wake-up is lost: of a push and an announcement, either the pusher sees the sleeper, or the sleeper's last look sees
//! the push, because there is a fence between write and read on both sides. If the pusher sees a searcher and leaves it at
//! that, the searcher leaves the word later, by rule 3 or by its own announcement, and sees the push in the look after.
//!
//! A fiber that becomes ready wakes one particular worker, its home ([`Idle::wake`]), and the look before parking includes
//! the inbox, so the same argument holds. A worker that has no fiber for new work, and waits for one of its own, is not
//! among the sleepers, so that nobody wakes it in vain; it counts as starving, and a push into an inbox and its look at
//! that inbox have fences in between in the same way.

use crate::primitives::{AtomicUsize, LightFence, Monitor, Mutex, Ordering, fence, heavy_fence};
use crossbeam_utils::CachePadded;
use std::time::Duration;

const ONE_SLEEPING: usize = 1;
const ONE_SEARCHING: usize = 1 << (usize::BITS / 2);
const SLEEPING: usize = ONE_SEARCHING - 1;
/// Set, once and for all, where the light fence is a full one.
const FULL_FENCES: usize = 1 << (usize::BITS - 1);

/// The idle workers of an executor.
#[derive(Debug)]
pub(crate) struct Idle {
    /// Low half: workers that sleep. High half: workers that search. Changed under the lock where sleepers change, so
    /// that the low half is the length of the list. The highest bit is apart: it makes the word differ from zero, so that who
    /// makes work visible takes the way on which there is a fence.
    counts: AtomicUsize,
    /// Workers that starve: they sleep until one of their own fibers is ready, and are no use for new work.
    starving: AtomicUsize,
    /// Workers that look around, and may be handed a job meanwhile. A hint, and no part of the proof.
    waiting: CachePadded<AtomicUsize>,
    /// Indices of the workers that sleep, latest last: unless somebody asks for another, the one whose caches are warmest is woken
    /// first.
    sleepers: Mutex<Vec<usize>>,
    parkers: Box<[Parker]>,
    fence: LightFence,
}

/// What a worker does after its announcement was taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Awake {
    /// It counts as searching.
    Searching,
    /// It does not.
    Plain,
}

impl Idle {
    pub(crate) fn new(workers: usize) -> Self {
        let fence = LightFence::new();
        Self {
            counts: AtomicUsize::new(if fence.is_by_kernel() { 0 } else { FULL_FENCES }),
            starving: AtomicUsize::new(0),
            waiting: CachePadded::new(AtomicUsize::new(0)),
            sleepers: Mutex::new(Vec::with_capacity(workers)),
            parkers: (0..workers).map(|_| Parker::new()).collect(),
            fence,
        }
    }

    /// Tells that a worker's deque has new work (rule 1). Returns whether to hand a job over, because somebody waits for one: a hint,
    /// and `false` where nobody sleeps or searches.
    #[inline]
    pub(crate) fn notify(&self) -> bool {
        LightFence::in_compiler();
        // ORDERING: Relaxed after the fence, or else the bit for full fences is set and the load does not count.
        self.counts.load(Ordering::Relaxed) != 0 && self.notify_if_wanted()
    }

    #[cold]
    #[inline(never)]
    fn notify_if_wanted(&self) -> bool {
        self.fence.pass();
        // ORDERING: Relaxed after the fence; pairs with the heavy fence in `announce`.
        if wants_waking(self.counts.load(Ordering::Relaxed)) {
            self.wake_one(None);
        }
        // ORDERING: Relaxed. A hint.
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Calls `look`, which looks around, for a worker that may be handed a job meanwhile.
    pub(crate) fn while_waiting<R>(&self, look: impl FnOnce() -> R) -> R {
        // ORDERING: Relaxed here and below. A hint.
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let result = look();
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        result
    }

    /// Tells that there is new work, from a thread that may not be a worker. If somebody is to be woken, it is the worker `near`,
    /// if one is named and it sleeps.
    pub(crate) fn notify_from_outside(&self, near: Option<usize>) {
        fence(Ordering::SeqCst);
        if wants_waking(self.counts.load(Ordering::Relaxed)) {
            self.wake_one(near);
        }
    }

    #[cold]
    #[inline(never)]
    fn wake_one(&self, near: Option<usize>) {
        let woken = {
            let mut sleepers = self.sleepers.lock();
            if !wants_waking(self.counts.load(Ordering::Relaxed)) {
                return;
            }
            let at = near.and_then(|worker| sleepers.iter().position(|&sleeper| sleeper == worker));
            let woken = match at {
                Some(at) => sleepers.remove(at),
                None => sleepers.pop().expect("the count of sleepers is the length of the list"),
            };
            self.counts.fetch_add(ONE_SEARCHING - ONE_SLEEPING, Ordering::Relaxed);
            woken
        };
        self.parkers[woken].unpark(Awake::Searching);
    }

    /// Wakes `worker` if it sleeps. Called after something was put where only that worker looks.
    pub(crate) fn wake(&self, worker: usize) {
        fence(Ordering::SeqCst);
        // ORDERING: Relaxed after the fence; pairs with the one in `starve`.
        if self.starving.load(Ordering::Relaxed) > 0 {
            self.parkers[worker].nudge();
        }
        if self.counts.load(Ordering::Relaxed) & SLEEPING == 0 {
            return;
        }
        {
            let mut sleepers = self.sleepers.lock();
            let Some(at) = sleepers.iter().position(|&sleeper| sleeper == worker) else {
                return;
            };
            sleepers.swap_remove(at);
            self.counts.fetch_sub(ONE_SLEEPING, Ordering::Relaxed);
        }
        self.parkers[worker].unpark(Awake::Plain);
    }

    /// Wakes every sleeper, so that each sees that the executor is shutting down.
    pub(crate) fn wake_all(&self) {
        (0..self.parkers.len()).for_each(|worker| self.wake(worker));
    }

    /// Asks to search (rule 2). Whoever gets `true` calls [`stop_searching`](Self::stop_searching) or
    /// [`announce`](Self::announce) in the end.
    pub(crate) fn start_searching(&self) -> bool {
        let searching = searching(self.counts.load(Ordering::Relaxed));
        if 2 * searching >= self.parkers.len() {
            return false;
        }
        self.counts.fetch_add(ONE_SEARCHING, Ordering::Relaxed);
        true
    }

    /// Ends a search that found something to do (rule 3). `is_more` looks at every place where others could find more.
    pub(crate) fn stop_searching(&self, is_more: impl FnOnce() -> bool) {
        let before = self.counts.fetch_sub(ONE_SEARCHING, Ordering::Relaxed);
        if searching(before) == 1 && wants_waking(before - ONE_SEARCHING) {
            heavy_fence();
            if is_more() {
                self.wake_one(None);
            }
        }
    }

    /// Announces that `worker` is about to park (rule 4). The caller looks for work once more and then calls either
    /// [`retract`](Self::retract) or [`park`](Self::park).
    pub(crate) fn announce(&self, worker: usize, was: Awake) {
        {
            let mut sleepers = self.sleepers.lock();
            sleepers.push(worker);
            let searching = if was == Awake::Searching { ONE_SEARCHING } else { 0 };
            self.counts.fetch_add(ONE_SLEEPING.wrapping_sub(searching), Ordering::Relaxed);
        }
        heavy_fence();
    }

    /// Takes the announcement back because there is something to do.
    pub(crate) fn retract(&self, worker: usize) -> Awake {
        {
            let mut sleepers = self.sleepers.lock();
            if let Some(at) = sleepers.iter().position(|&sleeper| sleeper == worker) {
                sleepers.swap_remove(at);
                self.counts.fetch_sub(ONE_SLEEPING, Ordering::Relaxed);
                return Awake::Plain;
            }
        }
        // Somebody else took it back first, and is about to unpark this worker or has done so.
        self.park(worker)
    }

    /// Sleeps for `at_most` that long, or until somebody calls [`wake`](Self::wake), unless `is_fed` by then. The worker is
    /// no sleeper meanwhile: new work wakes others.
    pub(crate) fn starve(&self, worker: usize, at_most: Duration, is_fed: impl FnOnce() -> bool) {
        self.starving.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.parkers[worker].doze(at_most, is_fed);
        self.starving.fetch_sub(1, Ordering::Relaxed);
    }

    /// Has all workers that starve look whether there is something for them. Called after there is.
    pub(crate) fn nudge_starving(&self) {
        fence(Ordering::SeqCst);
        // ORDERING: Relaxed after the fence; pairs with the one in `starve`.
        if self.starving.load(Ordering::Relaxed) > 0 {
            self.parkers.iter().for_each(Parker::nudge);
        }
    }

    /// Whether all workers sleep or starve, but for the caller.
    pub(crate) fn is_everybody_else_at_rest(&self) -> bool {
        let sleepers = self.sleepers.lock();
        sleepers.len() + self.starving.load(Ordering::Relaxed) + 1 >= self.parkers.len()
    }

    /// Whether all workers sleep or starve.
    pub(crate) fn is_everybody_at_rest(&self) -> bool {
        let sleepers = self.sleepers.lock();
        sleepers.len() + self.starving.load(Ordering::Relaxed) >= self.parkers.len()
    }

    /// Parks the calling thread, which runs `worker`, until somebody wakes it.
    pub(crate) fn park(&self, worker: usize) -> Awake {
        self.parkers[worker].park()
    }
}

/// Whether new work should wake a sleeper: somebody sleeps and nobody searches.
#[inline]
fn wants_waking(counts: usize) -> bool {
    counts & SLEEPING != 0 && searching(counts) == 0
}

/// How many workers search.
#[inline]
fn searching(counts: usize) -> usize {
    (counts & !FULL_FENCES) / ONE_SEARCHING
}

/// Where one worker parks. Holds at most one wake-up, which only a party that took the worker off the list gives.
#[derive(Debug)]
struct Parker {
    woken: Monitor<Option<Awake>>,
}

impl Parker {
    fn new() -> Self {
        Self { woken: Monitor::new(None) }
    }

    fn unpark(&self, awake: Awake) {
        *self.woken.lock() = Some(awake);
        self.woken.notify_one();
    }

    /// Makes a thread look up that dozes here. One that parks goes on parking.
    fn nudge(&self) {
        // Who dozes has looked before it let go of the lock, and waits by then, or will look.
        drop(self.woken.lock());
        self.woken.notify_one();
    }

    /// Waits for a nudge, for `at_most` that long, unless there is something to do already.
    fn doze(&self, at_most: Duration, is_needless: impl FnOnce() -> bool) {
        let woken = self.woken.lock();
        if !is_needless() {
            drop(self.woken.wait_for(woken, at_most));
        }
    }

    fn park(&self) -> Awake {
        let mut woken = self.woken.lock();
        loop {
            if let Some(awake) = woken.take() {
                return awake;
            }
            woken = self.woken.wait(woken);
        }
    }
}

#[cfg(all(test, yieldtasks_loom))]
mod models {
    use super::*;
    use crate::primitives::Fences;
    use loom::sync::Arc;
    use loom::thread;

    /// One place of work, and as many workers as the model wants. Loom reports a lost wake-up as a deadlock.
    struct Place {
        jobs: AtomicUsize,
        idle: Idle,
    }

    impl Place {
        fn take(&self) -> bool {
            let take = |jobs: usize| jobs.checked_sub(1);
            self.jobs.fetch_update(Ordering::Acquire, Ordering::Relaxed, take).is_ok()
        }

        /// What a worker does until it has got a job.
        fn work(&self, worker: usize) {
            let mut state = Awake::Plain;
            loop {
                if state == Awake::Plain && self.idle.start_searching() {
                    state = Awake::Searching;
                }
                if self.take() {
                    if state == Awake::Searching {
                        self.idle.stop_searching(|| self.jobs.load(Ordering::Relaxed) > 0);
                    }
                    return;
                }
                self.idle.announce(worker, state);
                state = if self.jobs.load(Ordering::Relaxed) > 0 {
                    self.idle.retract(worker)
                } else {
                    self.idle.park(worker)
                };
            }
        }

        fn push(&self) {
            self.jobs.fetch_add(1, Ordering::Release);
            self.idle.notify();
        }

        fn push_from_outside(&self) {
            self.jobs.fetch_add(1, Ordering::Release);
            self.idle.notify_from_outside(Some(0));
        }
    }

    fn explore(fences: Fences, workers: usize, push: fn(&Place)) {
        let mut model = loom::model::Builder::new();
        // Deeper, which takes minutes: `LOOM_MAX_PREEMPTIONS=3`.
        model.preemption_bound = model.preemption_bound.or(Some(2));
        let check = move || {
            let place = Arc::new(Place { jobs: AtomicUsize::new(0), idle: Idle::new(workers) });
            let threads: Vec<_> = (0..workers)
                .map(|worker| {
                    let place = Arc::clone(&place);
                    thread::spawn(move || place.work(worker))
                })
                .collect();
            (0..workers).for_each(|_| push(&place));
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        };
        fences.in_model(|| model.check(check));
    }

    #[test]
    fn loom_no_push_is_missed_by_a_worker_that_goes_to_sleep() {
        explore(Fences::Full, 1, Place::push);
        explore(Fences::ByKernel, 1, Place::push);
    }

    #[test]
    fn loom_no_push_from_outside_is_missed_by_a_worker_that_goes_to_sleep() {
        explore(Fences::Full, 1, Place::push_from_outside);
    }

    #[test]
    fn loom_two_jobs_reach_two_workers_one_of_which_may_search() {
        explore(Fences::Full, 2, Place::push);
    }

    #[test]
    fn loom_a_worker_is_woken_by_what_only_it_can_take() {
        loom::model(|| {
            let place = Arc::new(Place { jobs: AtomicUsize::new(0), idle: Idle::new(2) });
            let worker = {
                let place = Arc::clone(&place);
                thread::spawn(move || {
                    while !place.take() {
                        place.idle.announce(1, Awake::Plain);
                        let awake = if place.jobs.load(Ordering::Relaxed) > 0 {
                            place.idle.retract(1)
                        } else {
                            place.idle.park(1)
                        };
                        assert_eq!(awake, Awake::Plain);
                    }
                })
            };
            place.jobs.fetch_add(1, Ordering::Release);
            place.idle.wake(1);
            worker.join().unwrap();
        });
    }

    #[test]
    fn loom_a_job_that_was_hidden_by_a_look_is_not_missed_by_a_worker_that_goes_to_sleep() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = model.preemption_bound.or(Some(3));
        model.check(|| {
            let place = Arc::new(Place { jobs: AtomicUsize::new(0), idle: Idle::new(1) });
            let worker = {
                let place = Arc::clone(&place);
                thread::spawn(move || place.work(0))
            };
            place.push();
            // Another worker looks at the job, which it cannot use, and gives it back.
            if place.take() {
                place.jobs.fetch_add(1, Ordering::Release);
                place.idle.notify_from_outside(None);
            }
            worker.join().unwrap();
        });
    }

    /// A worker that starves finds what is brought, if `tell` says so.
    fn check_starving(workers: usize, worker: usize, tell: fn(&Idle)) {
        loom::model(move || {
            let place = Arc::new(Place { jobs: AtomicUsize::new(0), idle: Idle::new(workers) });
            let starving = {
                let place = Arc::clone(&place);
                thread::spawn(move || {
                    while !place.take() {
                        place.idle.starve(worker, Duration::MAX, || place.jobs.load(Ordering::Relaxed) > 0);
                    }
                })
            };
            place.jobs.fetch_add(1, Ordering::Release);
            tell(&place.idle);
            starving.join().unwrap();
        });
    }

    #[test]
    fn loom_a_worker_that_starves_looks_at_what_others_bring() {
        check_starving(2, 1, Idle::nudge_starving);
    }

    #[test]
    fn loom_a_worker_that_starves_is_woken_by_its_own_fibers() {
        check_starving(1, 0, |idle| idle.wake(0));
    }
}
