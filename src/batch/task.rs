#![expect(unsafe_code, reason = "tasks are claims on a batch that waits for them")]
//! A batch as backends see it.

use super::header::Cause;
use super::{Arrival, Header};
use crate::current;
use crate::executor::Executor;
use crate::record::Record;
use crate::waiter::Parking;
use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::ptr::NonNull;

/// The tasks of one call on their way to a backend.
///
/// A backend asks for the tasks by [`next_task`](Self::next_task) and runs each, on whatever thread it likes. Or it forwards
/// the batch, untouched and once, to another executor's [`run_batch`](Executor::run_batch).
pub struct Batch<'a> {
    header: NonNull<Header>,
    /// How many tasks have been claimed.
    claimed: Cell<usize>,
    level: usize,
    parking: &'a Parking,
    joined: Cell<bool>,
    _tasks: PhantomData<&'a Header>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(header: NonNull<Header>, level: usize, parking: &'a Parking) -> Self {
        Self { header, claimed: Cell::new(0), level, parking, joined: Cell::new(false), _tasks: PhantomData }
    }

    /// Whether the parent has arrived.
    pub(super) fn is_joined(&self) -> bool {
        self.joined.get()
    }

    /// The number of tasks, at least one.
    #[expect(clippy::len_without_is_empty, reason = "a batch is never empty")]
    pub fn len(&self) -> usize {
        self.erased().len()
    }

    /// How many batches of the same executor enclose this one: 0 for the outermost.
    pub fn level(&self) -> usize {
        self.level
    }

    /// Claims the next task, in input order; `None` when all have been claimed.
    pub fn next_task(&self) -> Option<Task<'a>> {
        let idx = self.claimed.get();
        if idx == self.len() {
            return None;
        }
        self.claimed.set(idx + 1);
        Some(Task { header: self.header, idx, level: self.level, _tasks: PhantomData })
    }

    /// Makes sure that the whole batch can be handed over.
    ///
    /// # Panics
    ///
    /// Panics if tasks of the batch have been claimed, which takes a backend that forwards a batch after it has begun it.
    pub(crate) fn require_untouched(&self) {
        assert!(
            self.claimed.get() == 0 && !self.joined.get(),
            "a batch that was begun cannot be handed to another executor: forward it first thing, and once"
        );
    }

    /// Claims all tasks at once, for a runtime that runs them by the header.
    ///
    /// # Panics
    ///
    /// As [`require_untouched`](Self::require_untouched).
    pub(crate) fn claim_all(&self) -> NonNull<Header> {
        self.require_untouched();
        self.claimed.set(self.len());
        self.header
    }

    /// Waits until every task has ended: suspends the fiber this is called on, or parks the thread.
    ///
    /// # Panics
    ///
    /// Panics if the batch was waited for before, which takes a backend that forwards a batch twice.
    pub(crate) fn join(&self) {
        assert!(!self.joined.replace(true), "a batch can be handed to one executor only, once");
        self.parking.note(self.erased().site(), self.header);
        // SAFETY: the parent arrives for itself, once.
        let arrival = unsafe { Header::count_down(self.header, 1) };
        if arrival == Arrival::Earlier {
            self.parking.wait_for_children(Some(self.header));
        } else {
            self.parking.take_note_back();
        }
    }

    /// Notes that the parent has arrived by other means than [`join`](Self::join).
    pub(crate) fn note_joined(&self) {
        self.joined.set(true);
    }

    fn erased(&self) -> &Header {
        // SAFETY: the caller of `run_on` keeps the batch in place until that returns.
        unsafe { self.header.as_ref() }
    }
}

impl fmt::Debug for Batch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("len", &self.len()).field("level", &self.level).finish_non_exhaustive()
    }
}

/// One task of a [`Batch`], claimed.
///
/// Dropping it without running it makes the call that made the batch panic, so that a mistake of a backend is seen.
pub struct Task<'a> {
    header: NonNull<Header>,
    idx: usize,
    level: usize,
    _tasks: PhantomData<&'a Header>,
}

// SAFETY: `header` blocks the auto trait. A task is the right to run one function on one item, both of which the bounds of
// the public functions require to be fit for another thread.
unsafe impl Send for Task<'_> {}

impl Task<'_> {
    /// The position of the task's item in the input.
    pub fn index(&self) -> usize {
        self.idx
    }

    /// Runs the task. The `yield_*` functions called inside it use `executor`.
    ///
    /// A panic of the task does not come out here: it is raised again where the batch was made.
    pub fn run(self, executor: &dyn Executor) {
        let task = std::mem::ManuallyDrop::new(self);
        let record = Record::new();
        current::enter(executor, task.level, &record, || {
            // SAFETY: the batch is live until this task arrives; the index was claimed when the task was made.
            unsafe { Header::run_one(task.header, task.idx, &record) };
        });
        // SAFETY: this task has not arrived, and `self` is consumed.
        unsafe { Header::arrive(task.header, 1) };
    }
}

impl Drop for Task<'_> {
    fn drop(&mut self) {
        // SAFETY: the batch is live until this task arrives.
        unsafe { self.header.as_ref() }.note(self.idx, Cause::Dropped);
        // SAFETY: `run` forgets the task, so it has not arrived.
        unsafe { Header::arrive(self.header, 1) };
    }
}

impl fmt::Debug for Task<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("index", &self.idx).finish_non_exhaustive()
    }
}
