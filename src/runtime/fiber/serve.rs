#![expect(unsafe_code, reason = "batches are run, and arrived at, by pointers")]
//! What a fiber does between its switches: it runs the tasks that it is resumed for.

use super::{FiberRef, Input, Resumer, Step};
use crate::batch::Header;
use crate::runtime::Worker;
use crate::runtime::coroutine::Yielder;
use std::ptr::NonNull;

/// What a fiber does from its first to its last resume.
pub(super) fn body(fiber: FiberRef, yielder: &Yielder<Input, Step>, mut input: Input) {
    fiber.get().yielder.set(yielder);
    loop {
        input = if let Some(batch) = input.direct() {
            // SAFETY: a parent passes its batch, with which the fiber has begun.
            unsafe { Header::serve(batch, fiber) }
        } else if let Some(batch) = input.for_loop() {
            // SAFETY: the loop passes a batch with which the fiber has begun.
            unsafe { fiber.serve_for_loop(batch) }
        } else {
            return;
        }
    }
}

impl FiberRef {
    /// Runs tasks of a batch for the loop, unless it was abandoned since they were claimed.
    ///
    /// # Safety
    ///
    /// As for [`Header::serve`].
    unsafe fn serve_for_loop(self, batch: NonNull<Header>) -> Input {
        // SAFETY: live, says the caller.
        let header = unsafe { batch.as_ref() };
        if !header.is_abandoned() {
            // SAFETY: as the caller says.
            return unsafe { Header::serve(batch, self) };
        }
        let ended = header.give_up(self.first(), None, self.record(), &mut || self.claim_next_of(batch));
        // SAFETY: so many were claimed, and nobody has arrived for them.
        unsafe { self.hand_in(batch, ended) }
    }

    /// The index of the first task that the fiber runs of its batch.
    #[inline]
    pub(crate) fn first(self) -> usize {
        self.get().first.get()
    }

    /// Claims the worker's newest task for the fiber, which runs, if it is one of that batch and nothing else goes first.
    #[inline]
    pub(crate) fn claim_next_of(self, batch: NonNull<Header>) -> Option<usize> {
        self.home().claim_next_of(batch)
    }

    /// Tells who has resumed the fiber, which runs, that so many tasks of the batch have ended, and suspends it until there is something
    /// new to do.
    ///
    /// # Safety
    ///
    /// The fiber has begun with that batch, and so many tasks have ended or will not start; nobody has arrived for them.
    #[inline(always)] // A return less per level of a nest.
    pub(crate) unsafe fn hand_in(self, batch: NonNull<Header>, ended: usize) -> Input {
        let step = match self.get().resumer.get() {
            Resumer::Parent => Step::finished(ended),
            // SAFETY: as the caller says.
            Resumer::Loop => unsafe { self.arrive(batch, ended) },
        };
        // SAFETY: the yielder was noted when the fiber first ran, and its address does not change.
        let yielder = unsafe { &*self.get().yielder.get() };
        yielder.suspend(step)
    }

    /// Arrives for tasks of a batch that were run for the loop, and readies the fiber for being idle.
    ///
    /// # Safety
    ///
    /// As for [`hand_in`](Self::hand_in).
    #[inline(never)]
    unsafe fn arrive(self, batch: NonNull<Header>, ended: usize) -> Step {
        let fiber = self.get();
        fiber.record.end();
        fiber.first.set(0);
        fiber.resumer.set(Resumer::Parent);
        self.home().count_tasks(ended);
        // SAFETY: these tasks have not arrived; the batch is not touched again.
        unsafe { Header::arrive(batch, ended) };
        Step::finished(0)
    }

    /// The fiber's worker, for the fiber when it runs. One that never ran is told to end while its worker is dropped.
    #[inline]
    pub(in crate::runtime) fn home<'a>(self) -> &'a Worker {
        // SAFETY: a worker outlives the tasks of its fibers.
        unsafe { self.get().home.as_ref() }
    }
}
