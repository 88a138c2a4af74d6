#![expect(unsafe_code, reason = "tasks are run behind an erased type")]
//! A batch with its types.

use super::header::{Cause, Header, Table};
use super::{Payload, Tasks};
use crate::runtime::Worker;
use std::panic::{self, AssertUnwindSafe};
use std::ptr::NonNull;

/// The tasks of one call, in the frame of the caller.
#[repr(C)] // The header comes first, so that a pointer to it is a pointer to the whole.
pub(crate) struct Siblings<B> {
    header: Header,
    tasks: B,
}

impl<B: Tasks> Siblings<B> {
    const TABLE: &'static Table = &Table { run_from: run_from::<B>, run_one: run_one::<B> };

    #[inline]
    pub(crate) fn new(len: usize, tasks: B) -> Self {
        Self { header: Header::new(Self::TABLE, len), tasks }
    }

    /// The erased batch. Whoever gets it may use it until it has arrived for its tasks; the caller keeps `self` in place
    /// until all have.
    #[inline]
    pub(crate) fn header(&self) -> NonNull<Header> {
        NonNull::from(self).cast()
    }

    /// The tasks with their results in them, after all have ended.
    ///
    /// # Panics
    ///
    /// Raises the panic of the panicking task with the lowest index again.
    #[inline]
    pub(crate) fn ended(&mut self) -> &mut B {
        if self.header.has_failed() {
            self.raise();
        }
        &mut self.tasks
    }

    #[cold]
    fn raise(&mut self) -> ! {
        match self.header.take_cause() {
            Some(Cause::Panicked(payload)) => panic::resume_unwind(payload),
            Some(Cause::Dropped) | None => panic!("the executor dropped a task of this batch without running it"),
        }
    }

    /// The tasks, and the panic that kept them from running.
    pub(crate) fn into_parts(mut self) -> (B, Option<Payload>) {
        let payload = match self.header.take_cause() {
            Some(Cause::Panicked(payload)) => Some(payload),
            Some(Cause::Dropped) | None => None,
        };
        (self.tasks, payload)
    }

    /// Runs `first` and then what `next` claims; returns how many tasks ended. Claimed tasks of a failed batch count as
    /// ended without having started.
    ///
    /// # Safety
    ///
    /// `first` and all that `next` gives are claimed indices of this batch.
    #[inline]
    unsafe fn run(&self, first: usize, mut next: impl FnMut() -> Option<usize>) -> usize {
        let mut ended = 0;
        let mut idx = first;
        loop {
            let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
                loop {
                    if !self.header.has_failed() {
                        // SAFETY: claimed, says the caller.
                        unsafe { self.tasks.run_task(idx) };
                    }
                    ended += 1;
                    // A job ends with the last task of the batch, or somebody else has the tasks after its end. Another
                    // job of the batch, if this worker has one, is left to the loop.
                    if idx + 1 == self.header.len() {
                        return;
                    }
                    match next() {
                        Some(claimed) => idx = claimed,
                        None => return,
                    }
                }
            }));
            let Err(payload) = outcome else {
                return ended;
            };
            self.header.fail(idx, payload);
            ended += 1;
            match next() {
                Some(claimed) => idx = claimed,
                None => return ended,
            }
        }
    }
}

/// See [`Table::run_from`].
unsafe fn run_from<B: Tasks>(header: NonNull<Header>, first: usize, worker: &Worker) -> usize {
    let siblings = header.cast::<Siblings<B>>();
    // SAFETY: the table was made for `B`, and the batch is live until the caller arrives.
    let siblings = unsafe { siblings.as_ref() };
    // SAFETY: `first` is claimed, and the deque gives each index of a batch once.
    unsafe { siblings.run(first, || worker.claim_next_of(header)) }
}

/// See [`Table::run_one`].
unsafe fn run_one<B: Tasks>(header: NonNull<Header>, idx: usize) {
    let siblings = header.cast::<Siblings<B>>();
    // SAFETY: the table was made for `B`, and the batch is live until the caller arrives.
    let siblings = unsafe { siblings.as_ref() };
    // SAFETY: `idx` is claimed.
    unsafe { siblings.run(idx, || None) };
}
