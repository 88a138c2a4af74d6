#![expect(unsafe_code, reason = "tasks are run behind an erased type")]
//! A batch with its types.

use super::header::{Cause, Header, Serve, Table};
use super::{Payload, Tasks};
use crate::current;
use crate::path::TaskPath;
use crate::record::{Origin, Record};
use crate::runtime::{FiberRef, Habit, Served};
use std::panic::{self, AssertUnwindSafe};
use std::ptr::{self, NonNull};

/// The tasks of one call, in the frame of the caller.
#[repr(C)] // The header comes first, so that a pointer to it is a pointer to the whole.
pub(crate) struct Siblings<B> {
    header: Header,
    tasks: B,
}

/// How far a run of tasks has come.
struct Progress {
    /// The task that was claimed last.
    idx: usize,
    ended: usize,
}

/// What a run of tasks left undone.
enum Left {
    Nothing,
    /// The task that it has just claimed, because the batch is abandoned.
    Claimed,
}

impl<B: Tasks> Siblings<B> {
    const TABLE: &'static Table = &Table { serve: serve::<B>, run_one: run_one::<B> };

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
    /// Those that are claimed of a batch that is abandoned by then count as ended without having started.
    ///
    /// # Safety
    ///
    /// `first` and all that `next` gives are claimed indices of this batch, and of two tasks `next` gives the second or none.
    #[inline]
    unsafe fn run(&self, first: usize, record: &Record, next: impl Fn() -> Option<usize> + Copy) -> usize {
        let mut at = Progress { idx: first, ended: 0 };
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
            if B::LEN == Some(2) && first == 0 {
                // One after the other, rather than by a loop that finds out each time which of them it is.
                // SAFETY: claimed, says the caller.
                unsafe { self.run_task(0) };
                if let Some(left) = self.go_on(&mut at, record, next) {
                    return left;
                }
                // SAFETY: claimed, says the caller.
                unsafe { self.run_task(1) };
                at.ended += 1;
                return Left::Nothing;
            }
            loop {
                // SAFETY: claimed, says the caller.
                unsafe { self.run_task(at.idx) };
                if let Some(left) = self.go_on(&mut at, record, next) {
                    return left;
                }
            }
        }));
        let payload = match outcome {
            Ok(Left::Nothing) => return at.ended,
            Ok(Left::Claimed) => None,
            Err(payload) => Some(payload),
        };
        // A copy, so that what it has captured may stay in registers above.
        let mut next = next;
        at.ended + self.header.give_up(at.idx, payload, record, &mut next)
    }

    /// Runs a task.
    ///
    /// # Safety
    ///
    /// `idx` is claimed.
    #[inline]
    unsafe fn run_task(&self, idx: usize) {
        // SAFETY: the batch is shared by now.
        let _span = self.header.span.task(unsafe { self.header.origin() }, idx);
        // SAFETY: claimed, says the caller.
        unsafe { self.tasks.run_task(idx) };
    }

    /// Counts a task that has ended and claims the next by `next`. Returns what is left when there is none to run.
    #[inline]
    fn go_on(&self, at: &mut Progress, record: &Record, next: impl FnOnce() -> Option<usize>) -> Option<Left> {
        at.ended += 1;
        // A job ends with the last task of the batch, or somebody else has the tasks after its end. Another
        // job of the batch, if this worker has one, is left to the loop.
        if at.idx + 1 == B::LEN.unwrap_or(self.header.len()) {
            return Some(Left::Nothing);
        }
        let Some(claimed) = next() else {
            return Some(Left::Nothing);
        };
        at.idx = claimed;
        record.set_idx(claimed);
        // SAFETY: the batch is shared by now.
        let control = unsafe { self.header.origin() }.control_address();
        // One look at both words, for most batches have neither a failure nor a control.
        let is_abandoned = self.header.failure_address() | control != 0 && self.header.is_abandoned();
        is_abandoned.then_some(Left::Claimed)
    }

    /// Runs a task that nothing of the same job follows. Returns how many ended, which is one.
    ///
    /// # Safety
    ///
    /// `idx` is claimed, and the record has begun with it.
    #[inline(never)]
    unsafe fn run_alone(&self, idx: usize, record: &Record) -> usize {
        // SAFETY: claimed, says the caller.
        unsafe { self.run(idx, record, || None) }
    }
}

/// See [`Header::serve`].
unsafe fn serve<B: Tasks>(batch: NonNull<Header>, fiber: FiberRef, habit: Habit) -> Served {
    let mut batch = batch;
    let mut first = fiber.first();
    if B::LEN.is_some() {
        if first > 0 {
            // SAFETY: as below. There are two at most, so this is the last.
            let siblings = unsafe { batch.cast::<Siblings<B>>().as_ref() };
            // SAFETY: the first task is claimed, and the fiber has begun with it.
            return Served::Ended(unsafe { siblings.run_alone(first, fiber.record()) });
        }
        // Said once more for the compiler.
        first = 0;
    }
    loop {
        let siblings = batch.cast::<Siblings<B>>();
        // SAFETY: the table was made for `B`, or for a type whose `serve` is the same code, which would do the same; and the batch is
        // live until somebody arrives for the first task.
        let siblings = unsafe { siblings.as_ref() };
        let next = move || match B::LEN {
            Some(2) => fiber.claim_last_of(batch).then_some(1),
            _ => fiber.claim_next_of(batch),
        };
        // SAFETY: the first task is claimed, and the deque gives each index of a batch once.
        let ended = unsafe { siblings.run(first, fiber.record(), next) };
        if habit == Habit::Mixed {
            return Served::Ended(ended);
        }
        // SAFETY: so many have ended, and nobody has arrived for them. The batch is not touched again.
        let input = unsafe { fiber.hand_in(batch, ended) };
        match input.direct() {
            // SAFETY: a parent passes its batch, which is live.
            Some(next) if ptr::fn_addr_eq(unsafe { next.as_ref() }.kind(), serve::<B> as Serve) => batch = next,
            _ => return Served::Resumed(input),
        }
        // A parent starts its child with that one.
        first = 0;
    }
}

/// See [`Table::run_one`].
unsafe fn run_one<B: Tasks>(batch: NonNull<Header>, idx: usize, record: &Record) {
    let siblings = batch.cast::<Siblings<B>>();
    // SAFETY: the table was made for `B`, and the batch is live until the caller arrives.
    let siblings = unsafe { siblings.as_ref() };
    // SAFETY: the batch is shared by now.
    record.begin(unsafe { siblings.header.origin() }, idx);
    if siblings.header.is_abandoned() {
        siblings.header.give_up(idx, None, record, &mut || None);
    } else {
        // SAFETY: `idx` is claimed, and the record has begun with it.
        unsafe { siblings.run_alone(idx, record) };
    }
}
