#![expect(unsafe_code, reason = "batches are run, and arrived at, by pointers")]
//! What a fiber does between its switches: it runs the tasks that it is resumed for.

use super::{FiberRef, Input, Resumer, Step};
use crate::batch::{Header, Serve};
use crate::runtime::Worker;
use crate::runtime::coroutine::Yielder;
use std::ptr::{self, NonNull};

/// What batches a fiber has run of late.
///
/// A fiber that is resumed again and again for batches of one kind waits for the next in the midst of the function that runs them, which
/// saves a call and its return for each. But when the next is of another kind, that function returns on a fiber that was switched to
/// in between, and the processor, which pairs calls and returns, mispredicts two of them. That costs as much as two forks, and so is
/// risked only where kinds seldom change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Habit {
    Mixed,
    Alike,
}

/// How a call of [`Header::serve`] ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Served {
    /// So many tasks of the batch have ended, for which nobody has arrived.
    Ended(usize),
    /// That was handed in, and what came next is for somebody else.
    Resumed(Input),
}

/// So many batches of one kind in a row make a habit.
const HABITUAL: u32 = 32;

/// Batches of one kind in a row.
struct Streak {
    kind: Option<Serve>,
    len: u32,
}

impl Streak {
    fn note(&mut self, kind: Serve) -> Habit {
        if self.kind.is_some_and(|former| ptr::fn_addr_eq(former, kind)) {
            self.len += 1;
        } else {
            *self = Self { kind: Some(kind), len: 0 };
        }
        if self.len >= HABITUAL { Habit::Alike } else { Habit::Mixed }
    }
}

/// What a fiber does from its first to its last resume.
pub(super) fn body(fiber: FiberRef, yielder: &Yielder<Input, Step>, mut input: Input) {
    fiber.get().yielder.set(yielder);
    let mut streak = Streak { kind: None, len: 0 };
    loop {
        let (batch, served) = if let Some(batch) = input.direct() {
            // SAFETY: a parent passes its batch, which is live.
            let habit = streak.note(unsafe { batch.as_ref() }.kind());
            // SAFETY: the fiber has begun with that batch.
            (batch, unsafe { Header::serve(batch, fiber, habit) })
        } else if let Some(batch) = input.for_loop() {
            // SAFETY: as above.
            (batch, unsafe { fiber.serve_for_loop(batch) })
        } else {
            return;
        };
        input = match served {
            // SAFETY: the fiber has begun with that batch, and so many tasks have ended.
            Served::Ended(ended) => unsafe { fiber.hand_in(batch, ended) },
            Served::Resumed(input) => {
                streak.len = 0;
                input
            }
        };
    }
}

impl FiberRef {
    /// Runs tasks of a batch for the loop, unless it was abandoned since the first of them was claimed.
    ///
    /// # Safety
    ///
    /// As for [`Header::serve`].
    #[inline(never)]
    unsafe fn serve_for_loop(self, batch: NonNull<Header>) -> Served {
        // SAFETY: live, says the caller.
        let header = unsafe { batch.as_ref() };
        if header.is_abandoned() {
            let mut next = || self.claim_next_of(batch);
            Served::Ended(header.give_up(self.first(), None, self.record(), &mut next))
        } else {
            // SAFETY: as the caller says.
            unsafe { Header::serve(batch, self, Habit::Mixed) }
        }
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

    /// Claims the second task of a batch of two for the fiber, which runs and has claimed the first, if it is the worker's newest task
    /// and nothing else goes first.
    #[inline]
    pub(crate) fn claim_last_of(self, batch: NonNull<Header>) -> bool {
        self.home().claim_last_of(batch)
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
        self.home().count_tasks(ended);
        // SAFETY: these tasks have not arrived; the batch is not touched again.
        unsafe { Header::arrive(batch, ended) };
        // Not before: what a detached task owned may be dropped, and wait for something on this fiber.
        fiber.resumer.set(Resumer::Parent);
        Step::finished(0)
    }

    /// The fiber's worker, for the fiber when it runs. One that never ran is told to end while its worker is dropped.
    #[inline]
    pub(in crate::runtime) fn home<'a>(self) -> &'a Worker {
        // SAFETY: a worker outlives the tasks of its fibers.
        unsafe { self.get().home.as_ref() }
    }
}
