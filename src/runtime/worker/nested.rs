//! What a worker runs that nests ([`Interleave::Nested`](crate::Interleave::Nested)): while fibers of its own wait for their
//! children, nothing but what descends from them.
//!
//! # The rule
//!
//! A fiber that waits for tasks of its own, by a map, a join, a stream, a scope or its handles, or a call of another executor,
//! *holds* its worker, and so does one that has called `yield_now`. A fiber that waits for anything else (`block_on`, `sleep`,
//! `sync`, `unblock`, the handle of a submitted task) does not, unless it does so in a task that runs on the stack of its
//! parent, which waits for that task. The rule is:
//!
//! > From the moment a fiber begins to hold its worker until it goes on, the worker's thread runs nothing but tasks that
//! > descend from the one on that fiber, or that a descendant of it waits for by a handle.
//!
//! That is what the thread does while a plain function call is under way. So what the fiber has left on the thread (a locked
//! mutex, a borrow, a scoped value) is met only by what would meet it in a serial program too, and the thread's values nest,
//! last in, first out.
//!
//! The fibers of a worker that hold it form a *chain*, from the *innermost* outwards, see [`chain`].
//!
//! # What the worker may start
//!
//! - *Of its own deque* the tasks of the innermost fiber's batch. The deque holds batches of fibers in the chain, in the order
//!   of the chain, since only they push (what comes from elsewhere goes to [`kin`](super::super::kin)), and each waits until its
//!   batch has ended. So if the innermost has tasks there, they are the newest, and one comparison of the newest job with
//!   [`Hold::Children`] finds out. Below all of them there may be the rest of one job that the worker stole while nothing held it.
//! - *Of kin* what descends from the innermost, by the chain of records.
//! - *Of another worker's deque* its oldest task, one at a time, if it descends from the innermost: a parent takes back what
//!   descends from the children that were stolen from it (leapfrogging; Wagner and Calder, PPoPP 1993). To find out, the thief
//!   claims the task, so that its batch is live, follows the records of those who wait for it, and gives it back if it is
//!   no kin, all under the lock that thieves hold ([`deque`](super::super::deque)). A look costs as much as a theft, so a thief
//!   remembers what it has seen.
//! - If nothing holds it: anything, by the usual search.
//!
//! A ready fiber that does not hold goes on only if it descends from the innermost. Otherwise it is put off until the
//! innermost has gone on.
//!
//! # Sleeping
//!
//! A worker that is held and finds nothing is no use for new work, so it is not among the sleepers. It starves, as a worker
//! without fibers does: until one of its own fibers is ready, or another thread brings kin, and not longer than a nap, after
//! which it looks at the other deques again. Naps grow up to [`LONGEST_NAP`]. Nobody has to wake it for what it may find there:
//! a fiber that starts puts nothing under others', so who stole a child does the work itself unless somebody takes it.
//! A look hides a task for a moment. Someone who was about to sleep may have missed it, so who gives it back notifies.
//!
//! # Why it ends
//!
//! Suppose that nothing moves any more, and no task waits for anything but its own and locks of the system. A worker that is
//! held by nothing has nothing to start, so all tasks have started or lie in the deque of a worker that is stuck. Take a
//! fiber that holds, the innermost of its worker. One of the tasks it waits for has not ended. If that has not started, it
//! lies in the own deque, on top, or among kin, and the worker takes it: a contradiction. Or it is what is left of
//! a job that was stolen, at the bottom of the thief's deque: the oldest there, so the worker finds it when it looks next.
//! So it has started, on another worker. What runs there, or is innermost there, descends from it by the rule. Follow this
//! from worker to worker: each step leads down the nest, so it comes to an end, which is a worker whose thread is blocked,
//! by a task that descends from all those before it. It waits for a lock. Who holds the lock is itself blocked, or waits, and
//! leads to a blocked task below it. So there is a circle of locks, each wanted below a holder of the one before. If the circle
//! is one lock, then a task wants what its ancestor holds, and a serial run does not end either. On one worker all who
//! hold a lock are in one chain, so this is the case. Otherwise the program takes its locks in different orders, and can
//! deadlock on threads.
//!
//! # What is not promised
//!
//! A fiber that waits by other means is covered by whatever its worker runs meanwhile. If that blocks the thread, for a lock of
//! the system that an ancestor of the fiber has, none of them goes on: such a lock must not be held across maps below which
//! tasks sleep or wait for messages.
//!
//! Let a fiber wait by other means, for a lock of `sync`, a message or a time. If it can go on, and its worker is held by tasks
//! that it does not descend from, it waits for these to go on. If they in turn, or tasks below them, wait for what this
//! fiber would do next, none of them goes on. An example: a task sleeps with a lock of `sync` in its hands, while a second one maps on the same
//! worker, and a child of the second wants that lock. Neither going on nor waiting is right in general: the second task may
//! hold a lock of the system that the first wants next. Joining a handle is an exception, since it says what is waited for.

mod chain;

use super::{Next, Phase, Worker};
use crate::batch::Header;
use crate::control::notes_so_far;
use crate::record::Record;
use crate::runtime::deque::{Job, Look};
use crate::runtime::fiber::FiberRef;
use crate::runtime::fiber_pool::KEPT_FIBERS;
pub(in crate::runtime) use chain::Hold;
pub(in crate::runtime::worker) use chain::Nest;
use std::hint;
use std::ptr::NonNull;
use std::thread;
use std::time::Duration;

/// How often a worker that is held looks around before its first nap.
const LOOKS_BEFORE_NAP: u32 = 8;
/// After so many looks it looks again at jobs of others that it knows: another may have come to lie in the same place.
const LOOKS_TO_FORGET: u32 = 32;
/// How long its first nap is. Each is twice as long as the one before.
const FIRST_NAP: Duration = Duration::from_micros(20);
/// How long it sleeps at most before it looks at other workers again.
const LONGEST_NAP: Duration = Duration::from_millis(2);

impl Worker {
    /// Notes that the running fiber is about to suspend for tasks of its own, those of `batch` if they are one.
    pub(crate) fn hold(&self, batch: Option<NonNull<Header>>) {
        if let Some(nest) = &self.nest {
            nest.enter(self.current_fiber(), Hold::Children(batch));
        }
    }

    /// Notes that the running fiber is about to suspend in a task that runs on the stack of its parent, which therefore waits for
    /// it, unless that is noted already.
    pub(crate) fn hold_above(&self) {
        if self.current_fiber().hold() == Hold::Not {
            self.hold(None);
        }
    }

    /// Whether the worker nests, and a fiber of its own waits for tasks that descend from it.
    pub(super) fn is_held(&self) -> bool {
        self.nest.as_ref().is_some_and(|nest| nest.innermost().is_some())
    }

    /// Whether the worker nests, and has nothing at hand that could descend from the running fiber.
    pub(super) fn has_nothing_below(&self) -> bool {
        self.nest.is_some() && !self.has_ready() && self.shared.kin.is_empty()
    }

    /// The next fiber to resume, if one may be.
    pub(super) fn next_to_resume(&self) -> Option<FiberRef> {
        let Some(nest) = &self.nest else {
            // In this order, because the loop comes here when no fiber is ready, or when ready ones have had their turns.
            return self.yielded.pop().or_else(|| self.next_ready());
        };
        let fiber = self.next_ready_within(nest).or_else(|| self.next_turn(nest));
        nest.begin();
        fiber
    }

    /// Decides what runs next on a worker that nests; `None` when the runtime has ended.
    pub(super) fn next_nested(&self, nest: &Nest) -> Option<Next> {
        let next = self.find_next(nest);
        nest.begin();
        next
    }

    fn find_next(&self, nest: &Nest) -> Option<Next> {
        loop {
            if let Some(fiber) = self.yielded.pop() {
                nest.enter_innermost(fiber, Hold::Turn);
            }
            if let Some(fiber) = self.next_ready_within(nest) {
                return Some(Next::Resume(fiber));
            }
            if self.fibers.is_short()
                && let Some(next) = self.next_without_fiber()
            {
                return Some(next);
            }
            let Some(holder) = nest.innermost() else {
                if let Some((batch, idx)) = self.deque.pop() {
                    return Some(Next::Start(batch, idx));
                }
                let job = match self.take_injected() {
                    Some(job) => Some(job),
                    None => self.search()?,
                };
                match job {
                    Some(job) => return Some(self.begin(job)),
                    None => continue,
                }
            };
            if let Hold::Children(Some(batch)) = holder.hold()
                && let Some((batch, idx)) = self.deque.pop_within(batch)
            {
                return Some(Next::Start(batch, idx));
            }
            // Before the looks, so that what comes after them is noticed.
            let seen = self.sights();
            if let Some(job) = self.take_kin(holder.record()) {
                return Some(self.begin(job));
            }
            if let Some(fiber) = self.next_turn(nest) {
                return Some(Next::Resume(fiber));
            }
            if let Some(job) = self.search_below(nest, holder.record(), seen) {
                return Some(self.begin(job));
            }
        }
    }

    /// A ready fiber that may go on: the innermost that holds, or one that descends from it.
    fn next_ready_within(&self, nest: &Nest) -> Option<FiberRef> {
        nest.recall_if_new(notes_so_far(), self);
        while let Some(fiber) = self.next_ready() {
            match (fiber.hold(), nest.innermost()) {
                (Hold::Not, Some(innermost)) if !fiber.record().is_below(innermost.record()) => nest.put_off(fiber),
                (Hold::Not, _) => return Some(fiber),
                _ => fiber.set_hold(Hold::Ready),
            }
        }
        let innermost = nest.innermost().filter(|fiber| fiber.hold() == Hold::Ready)?;
        nest.leave(innermost, self);
        Some(innermost)
    }

    /// The innermost fiber if it has called `yield_now`.
    fn next_turn(&self, nest: &Nest) -> Option<FiberRef> {
        if let Some(fiber) = self.yielded.pop() {
            nest.enter_innermost(fiber, Hold::Turn);
        }
        let innermost = nest.innermost().filter(|fiber| fiber.hold() == Hold::Turn)?;
        nest.leave(innermost, self);
        Some(innermost)
    }

    /// Changes when there may be something new for a worker that is held.
    fn sights(&self) -> (usize, usize) {
        (self.shared.kin.pushed(), notes_so_far())
    }

    #[expect(unsafe_code, reason = "what waits is compared by its record")]
    fn take_kin(&self, holder: &Record) -> Option<Job<Header>> {
        // SAFETY: the holder waits on this worker.
        unsafe { self.shared.kin.take_below(holder) }
    }

    /// Looks for what descends from the holder at other workers, and naps in between. `None` if something else may have come
    /// up.
    fn search_below(&self, nest: &Nest, holder: &Record, seen: (usize, usize)) -> Option<Job<Header>> {
        self.enter_phase(Phase::Searching);
        let found = self.look_and_nap_below(nest, holder, seen);
        self.enter_phase(Phase::Busy);
        found
    }

    /// See [`search_below`](Self::search_below).
    fn look_and_nap_below(&self, nest: &Nest, holder: &Record, seen: (usize, usize)) -> Option<Job<Header>> {
        let has_news = || self.has_ready() || self.sights() != seen;
        let mut nap = FIRST_NAP;
        let mut looks = 0_u32;
        loop {
            if has_news() {
                return None;
            }
            if let Some(job) = self.steal_below(nest, holder) {
                return Some(job);
            }
            looks += 1;
            if looks.is_multiple_of(LOOKS_TO_FORGET) {
                nest.forget();
            }
            if looks < LOOKS_BEFORE_NAP {
                (0..1 << looks).for_each(|_| hint::spin_loop());
                thread::yield_now();
                continue;
            }
            self.fibers.trim(self, KEPT_FIBERS, has_news);
            self.enter_phase(Phase::Parked);
            self.shared.idle.starve(self.index, nap, has_news);
            self.enter_phase(Phase::Searching);
            nap = LONGEST_NAP.min(nap * 2);
        }
    }

    /// Tries every other worker once.
    #[expect(unsafe_code, reason = "a claimed task is looked into by a raw pointer")]
    fn steal_below(&self, nest: &Nest, holder: &Record) -> Option<Job<Header>> {
        let seats = self.shared.workers();
        let start = self.next_random() % seats;
        let mut given_back = false;
        let mut others = (0..seats).map(|step| (start + step) % seats).filter(|&victim| victim != self.index);
        let found = others.find_map(|victim| {
            let is_below = |batch: NonNull<Header>| {
                // SAFETY: a task of the batch has been claimed and has not ended, so the batch is live.
                let header = unsafe { batch.as_ref() };
                // SAFETY: it has been shared.
                unsafe { header.origin() }.is_below(holder)
            };
            match self.shared.stealer(victim).steal_if(nest.known(victim), is_below) {
                Look::Taken(job) => Some(job),
                Look::GivenBack(oldest) => {
                    nest.remember(victim, oldest);
                    given_back = true;
                    None
                }
                Look::Nothing => None,
            }
        });
        if given_back {
            self.shared.idle.notify_from_outside(None);
        }
        let counters = &self.counters;
        if found.is_some() { &counters.steals } else { &counters.failed_steals }.add(1);
        found
    }
}
