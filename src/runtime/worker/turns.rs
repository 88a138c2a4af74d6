#![expect(unsafe_code, reason = "the running fiber suspends itself")]
//! Letting others go first: what a running fiber does of its own accord.

use super::Worker;
use crate::batch::Header;
use crate::control::{stop_if_due, stop_if_told};
use crate::runtime::fiber::Step;
use std::ptr::NonNull;
use std::thread;

/// Of so many calls of `yield_now`, one looks whether there is work from outside. It lies where others write.
const YIELDS_PER_LOOK: u8 = 16;

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
            unsafe { fiber.suspend(yielded.map_or(Step::SUSPENDED, Step::handed)) };
            stop_if_told();
        }
    }

    /// See [`yield_now`](crate::yield_now).
    #[inline(always)] // See there.
    pub(crate) fn yield_now(&self) {
        if thread::panicking() {
            return;
        }
        if let Some(why) = self.current_fiber().record().stopped() {
            why.unwind();
        }
        self.give_turn();
    }

    /// Lets ready and yielded fibers and new tasks go first, whatever stops the task of the running fiber: what runs inline on
    /// that fiber may be a task that nothing stops.
    #[inline(always)] // See `yield_now`.
    pub(crate) fn give_turn(&self) {
        self.yields.set(self.yields.get().wrapping_add(1));
        // The switch waits for this value, so it is asked for first.
        let fiber = self.current_fiber();
        let is_clear = !self.is_time_to_search() && self.has_nothing_else();
        let step = if is_clear {
            // The loop need not find out again whose turn it is.
            match self.yielded.rotate(fiber) {
                Some(next) => Step::handed(next),
                None => return,
            }
        } else if self.has_nothing_below() {
            return;
        } else {
            self.yielded.push(fiber);
            Step::SUSPENDED
        };
        // SAFETY: the current fiber is the one that runs.
        unsafe { fiber.suspend(step) };
    }

    /// Whether there is neither a ready fiber, nor a task of this worker's own, nor one from outside or handed over, for which not every call looks.
    #[inline]
    fn has_nothing_else(&self) -> bool {
        let is_time_to_look = self.yields.get().is_multiple_of(YIELDS_PER_LOOK);
        !self.has_ready() && self.deque.is_empty() && !(is_time_to_look && self.is_anything_brought())
    }

    /// Claims the newest task if it is of that batch, and no fiber is ready, which would go first, or has yielded, which would
    /// have its turn.
    #[inline]
    pub(crate) fn claim_next_of(&self, batch: NonNull<Header>) -> Option<usize> {
        if self.has_others() { None } else { self.deque.pop_of(batch) }
    }

    /// Whether to look at other workers although fibers of this one have yielded, and would be resumed.
    #[inline]
    pub(super) fn is_time_to_search(&self) -> bool {
        self.yields.get() == 0
    }

    /// Whether there are fibers that may go on instead of the running one.
    #[inline]
    pub(super) fn has_others(&self) -> bool {
        self.ready_word() | self.yielded.last_address() != 0
    }
}
