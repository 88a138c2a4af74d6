#![expect(unsafe_code, reason = "the running fiber suspends itself")]
//! Letting others go first: what a running fiber does of its own accord.

use super::Worker;
use crate::batch::Header;
use crate::control::{stop_if_due, stop_if_told};
use crate::runtime::fiber::{FiberRef, Step};
use std::ptr::NonNull;
use std::thread;

/// Of so many calls of `yield_now`, one looks whether there is work from outside. It lies where others write.
const YIELDS_PER_LOOK: u64 = 16;
/// Of so many such looks, one sends the worker to other workers although fibers of its own have yielded.
const LOOKS_PER_SEARCH: u8 = 128;

impl Worker {
    /// See [`checkpoint`](crate::checkpoint).
    #[inline]
    pub(crate) fn checkpoint(&self) {
        let is_governed = self.current_fiber().record().control().is_some();
        if is_governed || self.has_others() {
            self.look_up();
        }
    }

    /// Lets ready and yielded fibers go first.
    pub(crate) fn give_way(&self) {
        if self.nest.is_none() && self.has_others() && !thread::panicking() {
            self.yielded.push(self.current_fiber());
            self.suspend();
        }
    }

    /// Stops the running task if it is to stop, and lets ready fibers go first, or else one that has yielded.
    #[cold]
    #[inline(never)]
    fn look_up(&self) {
        stop_if_due();
        if self.nest.is_none() && self.has_others() && !thread::panicking() {
            self.take_from_inbox();
            let yielded = if self.ready.is_empty() { self.yielded.pop() } else { None };
            let fiber = self.current_fiber();
            // Ready, so that it goes on before new tasks start.
            self.push_ready(fiber);
            // SAFETY: the current fiber is the one that runs.
            unsafe { fiber.suspend(yielded.map_or(Step::SUSPENDED, |next| self.hand_turn_to(next))) };
            stop_if_told();
        }
    }

    /// See [`yield_now`](crate::yield_now).
    #[inline(always)] // See there.
    pub(crate) fn yield_now(&self) {
        if thread::panicking() {
            return;
        }
        let fiber = self.current_fiber();
        // The switches are counted anyway. A count of its own would be a store that the loads below seem to wait for.
        let is_due = self.counters.switches.get().is_multiple_of(YIELDS_PER_LOOK);
        // One branch for what seldom is.
        let others = self.ready_word()
            | self.deque.bytes_in_use()
            | fiber.record().control_pointer().addr()
            | self.yielded.distance_of_guest(fiber);
        let step = if is_due || others != 0 {
            self.find_turn(fiber, is_due)
        } else {
            // SAFETY: the guest has a fiber after it.
            Some(self.hand_turn_to(unsafe { self.yielded.advance(fiber).unwrap_unchecked() }))
        };
        if let Some(step) = step {
            // SAFETY: the current fiber is the one that runs.
            unsafe { fiber.suspend(step) };
        }
    }

    /// Lets ready and yielded fibers and new tasks go first, whatever stops the task of the running fiber: what runs inline on
    /// that fiber may be a task that nothing stops.
    pub(crate) fn give_turn(&self) {
        let fiber = self.current_fiber();
        if let Some(step) = self.find_turn_of_any(fiber, false) {
            // SAFETY: the current fiber is the one that runs.
            unsafe { fiber.suspend(step) };
        }
    }

    /// Stops the running task if it is to stop. Returns by which step `fiber`, which runs it, lets others go first, if there are any.
    #[cold]
    #[inline(never)]
    fn find_turn(&self, fiber: FiberRef, is_due: bool) -> Option<Step> {
        if let Some(why) = fiber.record().stopped() {
            why.unwind();
        }
        self.find_turn_of_any(fiber, is_due)
    }

    /// As [`find_turn`](Self::find_turn), whatever stops the running task.
    fn find_turn_of_any(&self, fiber: FiberRef, is_due: bool) -> Option<Step> {
        self.yields.set(self.yields.get().wrapping_add(1));
        let looks = is_due || u64::from(self.yields.get()).is_multiple_of(YIELDS_PER_LOOK);
        if looks {
            self.looks.set(self.looks.get().wrapping_add(1));
            self.is_time_to_search.set(self.looks.get().is_multiple_of(LOOKS_PER_SEARCH));
        }
        let is_clear = !self.has_ready() && self.deque.is_empty() && !(looks && self.is_anything_brought());
        if is_clear && !self.is_time_to_search.get() {
            // The loop need not find out again whose turn it is.
            self.yielded.rotate(fiber).map(|next| self.hand_turn_to(next))
        } else if self.has_nothing_below() {
            None
        } else {
            self.yielded.push(fiber);
            Some(Step::SUSPENDED)
        }
    }

    /// The step by which the running fiber, which has yielded, hands its turn to `next`.
    #[inline]
    fn hand_turn_to(&self, next: FiberRef) -> Step {
        // Here and not in the loop, which has to find its registers first: if `next` yields in turn, it asks for it at once.
        self.set_current(next);
        Step::handed(next)
    }

    /// Claims the newest task if it is of that batch, and no fiber is ready, which would go first, or has yielded, which would
    /// have its turn.
    #[inline]
    pub(crate) fn claim_next_of(&self, batch: NonNull<Header>) -> Option<usize> {
        if self.has_others() { None } else { self.deque.pop_of(batch) }
    }

    /// As [`claim_next_of`](Self::claim_next_of), for the last task of a batch of which this worker has claimed all before it.
    #[inline]
    pub(crate) fn claim_last_of(&self, batch: NonNull<Header>) -> bool {
        !self.has_others() && self.deque.pop_last_of(batch)
    }

    /// Whether there are fibers that may go on instead of the running one.
    #[inline]
    pub(super) fn has_others(&self) -> bool {
        self.ready_word() | self.yielded.last_address() != 0
    }
}
