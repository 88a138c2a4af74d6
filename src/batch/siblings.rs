#![expect(unsafe_code, reason = "tasks are run behind an erased type")]
//! A batch with its types.

use super::header::{Cause, Header, Table};
use super::{Payload, Tasks};
use crate::control::Cancelled;
use crate::current;
use crate::path::TaskPath;
use crate::record::{Origin, Record};
use crate::runtime::Worker;
use std::iter;
use std::panic::{self, AssertUnwindSafe};
use std::ptr::NonNull;

/// The tasks of one call, in the frame of the caller.
#[repr(C)] // The header comes first, so that a pointer to it is a pointer to the whole.
pub(crate) struct Siblings<B> {
    header: Header,
    tasks: B,
}

/// What a loop over tasks left undone.
enum Left {
    Nothing,
    /// The task it was at, which is stopped.
    Stopped,
}

impl<B: Tasks> Siblings<B> {
    const TABLE: &'static Table = &Table { run_from: run_from::<B>, run_one: run_one::<B> };

    #[inline]
    pub(crate) fn new(len: usize, tasks: B, origin: Origin) -> Self {
        debug_assert!(B::LEN.is_none_or(|known| known == len));
        Self { header: Header::new(Self::TABLE, len, origin), tasks }
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
        if self.header.has_failures() {
            self.raise();
        }
        &mut self.tasks
    }

    #[cold]
    #[inline(never)]
    fn raise(&mut self) -> ! {
        match self.header.take_cause() {
            Some(Cause::Panicked(payload, path)) => {
                if let Some(record) = current::record() {
                    record.note_raised(&*payload, path);
                }
                panic::resume_unwind(payload)
            }
            Some(Cause::Stopped(why)) => why.unwind(),
            Some(Cause::Dropped) | None => panic!("the executor dropped a task of this batch without running it"),
        }
    }

    /// The tasks, and the panic that kept them from running.
    pub(crate) fn into_parts(mut self) -> (B, Option<(Payload, TaskPath)>) {
        let panicked = match self.header.take_cause() {
            Some(Cause::Panicked(payload, path)) => Some((payload, path)),
            Some(Cause::Stopped(_) | Cause::Dropped) | None => None,
        };
        (self.tasks, panicked)
    }

    /// Runs `first`, with which the record has begun, and then what `next` claims, noted in it; returns how many tasks ended.
    /// Claimed tasks of a failed batch, or one that was stopped, count as ended without having started.
    ///
    /// # Safety
    ///
    /// `first` and all that `next` gives are claimed indices of this batch.
    #[inline]
    unsafe fn run(&self, first: usize, record: &Record, mut next: impl FnMut() -> Option<usize>) -> usize {
        // SAFETY: the batch is shared by now.
        let origin = unsafe { self.header.origin() };
        let mut ended = 0;
        let mut idx = first;
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
            loop {
                // One look at both words, for most batches have neither a failure nor a control.
                let is_plain = self.header.failure_address() | origin.control_address() == 0;
                if !is_plain && !self.header.has_failed() && origin.is_stopped() {
                    return Left::Stopped;
                }
                if is_plain || !self.header.has_failed() {
                    let _span = self.header.span.task(origin, idx);
                    // SAFETY: claimed, says the caller.
                    unsafe { self.tasks.run_task(idx) };
                }
                ended += 1;
                // A job ends with the last task of the batch, or somebody else has the tasks after its end. Another
                // job of the batch, if this worker has one, is left to the loop.
                if idx + 1 == B::LEN.unwrap_or(self.header.len()) {
                    return Left::Nothing;
                }
                match next() {
                    Some(claimed) => {
                        idx = claimed;
                        record.set_idx(idx);
                    }
                    None => return Left::Nothing,
                }
            }
        }));
        match outcome {
            Ok(Left::Nothing) => ended,
            Ok(Left::Stopped) => ended + self.give_up(idx, None, record, next),
            Err(payload) => ended + self.give_up(idx, Some(payload), record, next),
        }
    }

    /// Notes why the task `idx` has no result, and counts it and what `next` claims, none of which starts.
    #[cold]
    #[inline(never)]
    fn give_up(
        &self,
        idx: usize,
        payload: Option<Payload>,
        record: &Record,
        next: impl FnMut() -> Option<usize>,
    ) -> usize {
        // SAFETY: the batch is shared by now.
        let stopped = unsafe { self.header.origin() }.stopped();
        match (payload, stopped) {
            (Some(payload), None) => self.fail(idx, payload, record),
            (Some(payload), Some(_)) if !payload.is::<Cancelled>() => self.fail(idx, payload, record),
            (_, Some(why)) => self.header.note(idx, Cause::Stopped(why)),
            (None, None) => unreachable!("a control that was stopped remains so"),
        }
        1 + iter::from_fn(next).count()
    }

    fn fail(&self, idx: usize, payload: Payload, record: &Record) {
        let path = record.path_of(&payload);
        self.header.fail(idx, payload, path);
    }
}

/// See [`Table::run_from`].
unsafe fn run_from<B: Tasks>(header: NonNull<Header>, first: usize, record: &Record, worker: &Worker) -> usize {
    let siblings = header.cast::<Siblings<B>>();
    // SAFETY: the table was made for `B`, and the batch is live until the caller arrives.
    let siblings = unsafe { siblings.as_ref() };
    // SAFETY: `first` is claimed, and the deque gives each index of a batch once.
    unsafe { siblings.run(first, record, || worker.claim_next_of(header)) }
}

/// See [`Table::run_one`].
unsafe fn run_one<B: Tasks>(header: NonNull<Header>, idx: usize, record: &Record) {
    let siblings = header.cast::<Siblings<B>>();
    // SAFETY: the table was made for `B`, and the batch is live until the caller arrives.
    let siblings = unsafe { siblings.as_ref() };
    // SAFETY: the batch is shared by now.
    record.begin(unsafe { siblings.header.origin() }, idx);
    // SAFETY: `idx` is claimed.
    unsafe { siblings.run(idx, record, || None) };
}
