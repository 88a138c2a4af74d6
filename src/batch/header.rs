#![expect(unsafe_code, reason = "the header is shared while the batch runs")]
//! The part of a batch that has the same type for all batches.

use super::{Arrival, JoinCounter, Payload, drop_quietly};
use crate::control::{Cancelled, Stopped};
use crate::path::TaskPath;
use crate::record::{Origin, Record};
use crate::runtime::{FiberRef, Habit, Served};
use crate::spans::MapSpan;
use crate::waiter::Waiter;
use std::cell::UnsafeCell;
use std::fmt;
use std::iter;
use std::mem::{MaybeUninit, offset_of};
use std::panic::Location;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, Ordering};

/// See [`Header::serve`].
pub(crate) type Serve = unsafe fn(NonNull<Header>, FiberRef, Habit) -> Served;

/// The functions a batch is run by, made once for each type of tasks.
pub(super) struct Table {
    /// See [`Header::serve`].
    pub(super) serve: Serve,
    /// Runs one task, noted in the record; the caller arrives for it.
    pub(super) run_one: unsafe fn(NonNull<Header>, usize, &Record),
}

/// The part of a batch that has the same type for all batches.
pub(crate) struct Header {
    pub(super) table: &'static Table,
    len: usize,
    join: JoinCounter,
    waiter: UnsafeCell<MaybeUninit<Waiter>>,
    /// Written before the batch is shared, read by its tasks.
    origin: UnsafeCell<Origin>,
    /// The caller is in it until the batch ends.
    pub(super) span: MapSpan,
    /// The failures so far, latest first, each linked to the one before. Only the parent takes any away, and sees that none is
    /// left: a destructor would be in the way of every call.
    failures: AtomicPtr<Failure>,
}

// SAFETY: `waiter` and `origin` block the auto trait. The parent writes `origin` before the batch is shared, and `waiter` before
// it arrives; the last party to arrive reads the waiter.
unsafe impl Sync for Header {}

/// Why a batch has no results: one task's part in it.
struct Failure {
    idx: usize,
    cause: Cause,
    before: *mut Failure,
}

pub(super) enum Cause {
    /// The task panicked. The path is that of the task that did so first, further down the nest perhaps.
    Panicked(Payload, TaskPath),
    /// A backend dropped the task without running it.
    Dropped,
    /// The task was stopped: it never started, or has unwound.
    Stopped(Stopped),
}

impl Cause {
    /// What is reported rather than what.
    fn rank(&self) -> usize {
        match self {
            Self::Panicked(..) => 0,
            Self::Dropped => 1,
            Self::Stopped(_) => 2,
        }
    }
}

impl Header {
    #[inline]
    pub(super) fn new(table: &'static Table, len: usize, origin: Origin) -> Self {
        Self {
            table,
            len,
            join: JoinCounter::new(len),
            waiter: UnsafeCell::new(MaybeUninit::uninit()),
            span: MapSpan::begin(&origin, Some(len)),
            origin: UnsafeCell::new(origin),
            failures: AtomicPtr::new(ptr::null_mut()),
        }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Says who waits for the batch.
    ///
    /// # Safety
    ///
    /// The caller is the parent, or who makes the batch, and has not arrived.
    #[inline]
    pub(crate) unsafe fn set_waiter(&self, waiter: Waiter) {
        // SAFETY: nobody reads the waiter before all have arrived, and nobody else writes it.
        unsafe { (*self.waiter.get()).write(waiter) };
    }

    /// Where the tasks come from, to be changed.
    ///
    /// # Safety
    ///
    /// Nobody but the parent knows the batch yet.
    #[inline]
    #[expect(clippy::mut_from_ref, reason = "the parent is alone with the batch")]
    pub(crate) unsafe fn origin_mut(&self) -> &mut Origin {
        // SAFETY: the parent is alone with the batch.
        unsafe { &mut *self.origin.get() }
    }

    /// Where the tasks come from.
    ///
    /// # Safety
    ///
    /// The batch has been shared, so that nobody changes it any more.
    #[inline]
    pub(crate) unsafe fn origin(&self) -> &Origin {
        // SAFETY: as the caller says.
        unsafe { &*self.origin.get() }
    }

    /// The batch whose origin is at an address.
    ///
    /// # Safety
    ///
    /// There is one, its address was exposed, and it stays live.
    pub(crate) unsafe fn of_origin<'a>(origin: usize) -> &'a Self {
        let header: *const Self = ptr::with_exposed_provenance(origin - offset_of!(Self, origin));
        // SAFETY: as the caller says.
        unsafe { &*header }
    }

    /// Where the call was written that made the tasks.
    pub(crate) fn site(&self) -> &'static Location<'static> {
        // SAFETY: the site is there from the beginning, and is not changed.
        unsafe { (*self.origin.get()).site() }
    }

    /// How many parties have not arrived, the parent included if it has not.
    pub(crate) fn outstanding(&self) -> usize {
        self.join.outstanding()
    }

    /// Runs tasks on the fiber that calls this: the one that it has begun with, then what its worker's deque still has of the batch.
    /// If the fiber has had batches of one kind of late, it is also suspended here, and goes on with further ones of that kind.
    ///
    /// # Safety
    ///
    /// `this` is live, and the fiber has begun with it and a claimed task, for which nobody has arrived.
    #[inline]
    pub(crate) unsafe fn serve(this: NonNull<Self>, fiber: FiberRef, habit: Habit) -> Served {
        // SAFETY: live, says the caller.
        let serve = unsafe { this.as_ref() }.kind();
        // SAFETY: the table fits the header; the claim is passed on.
        unsafe { serve(this, fiber, habit) }
    }

    /// What tells batches of one kind from others. Kinds whose code is the same may not be told apart, and need not be.
    #[inline]
    pub(crate) fn kind(&self) -> Serve {
        self.table.serve
    }

    /// Runs one task.
    ///
    /// # Safety
    ///
    /// `this` is live, and the caller has claimed the task and not arrived for it.
    pub(super) unsafe fn run_one(this: NonNull<Self>, idx: usize, record: &Record) {
        // SAFETY: live, says the caller.
        let run_one = unsafe { this.as_ref() }.table.run_one;
        // SAFETY: the table fits the header; the claim is passed on.
        unsafe { run_one(this, idx, record) };
    }

    /// Arrives for `parties` parties other than the parent; the last one wakes the parent.
    ///
    /// # Safety
    ///
    /// `this` is live and the parties have not arrived before. The caller does not touch the batch afterwards.
    pub(crate) unsafe fn arrive(this: NonNull<Self>, parties: usize) {
        // SAFETY: as the caller says.
        let arrival = unsafe { Self::count_down(this, parties) };
        if arrival == Arrival::Last {
            // SAFETY: all have arrived, so the frame is this party's until it wakes the parent.
            let header = unsafe { this.as_ref() };
            // SAFETY: the last party is the only one to look at the waiter.
            let waiter = unsafe { *header.waiter.get() };
            // SAFETY: the parent said who waits before it arrived, and the counter orders that before this.
            let waiter = unsafe { waiter.assume_init() };
            waiter.wake();
        }
    }

    /// Arrives for `parties` parties, among them the parent, which is the caller.
    ///
    /// # Safety
    ///
    /// As for [`arrive`](Self::arrive).
    #[inline]
    pub(crate) unsafe fn count_down(this: NonNull<Self>, parties: usize) -> Arrival {
        // SAFETY: in bounds of a live header.
        let join = unsafe { &raw const (*this.as_ptr()).join };
        // SAFETY: the parties have not arrived, so the counter is live.
        unsafe { JoinCounter::arrive(join, parties) }
    }

    /// Whether tasks that have not started are not to: because one has failed, or because they were stopped.
    #[inline]
    pub(crate) fn is_abandoned(&self) -> bool {
        // SAFETY: the batch is shared by now.
        self.has_failed() || unsafe { self.origin() }.is_stopped()
    }

    /// Notes why the claimed task `idx` has no result, if it is not noted yet that there will be none, and counts it and what `next`
    /// claims, none of which starts. The task has panicked with `payload`, or has not started because the batch is abandoned.
    #[cold]
    #[inline(never)]
    pub(crate) fn give_up(
        &self,
        idx: usize,
        payload: Option<Payload>,
        record: &Record,
        next: &mut dyn FnMut() -> Option<usize>,
    ) -> usize {
        // SAFETY: the batch is shared by now.
        let stopped = unsafe { self.origin() }.stopped();
        match (payload, stopped) {
            (Some(payload), Some(why)) if payload.is::<Cancelled>() => self.note(idx, Cause::Stopped(why)),
            (Some(payload), _) => {
                let path = record.path_of(&payload);
                self.fail(idx, payload, path);
            }
            (None, Some(why)) if !self.has_failed() => self.note(idx, Cause::Stopped(why)),
            (None, _) => debug_assert!(self.has_failed(), "a control that was stopped remains so"),
        }
        1 + iter::from_fn(next).count()
    }

    /// Notes that the task `idx` panicked. Tasks that have not started will not.
    #[cold]
    pub(crate) fn fail(&self, idx: usize, payload: Payload, path: TaskPath) {
        self.note(idx, Cause::Panicked(payload, path));
    }

    /// Notes that the task `idx`, which is claimed, could not be started.
    #[cold]
    pub(crate) fn fail_unstarted(&self, idx: usize, payload: Payload) {
        // SAFETY: tasks are claimed of batches that have been shared.
        let path = Record::path_in(unsafe { self.origin() }, idx);
        self.fail(idx, payload, path);
    }

    #[cold]
    pub(super) fn note(&self, idx: usize, cause: Cause) {
        let before = self.failures.load(Ordering::Relaxed);
        let failure = Box::into_raw(Box::new(Failure { idx, cause, before }));
        let mut before = before;
        // ORDERING: Relaxed. The party arrives later, and the join publishes the failure to the parent, the only one to read it.
        while let Err(now) = self.failures.compare_exchange_weak(before, failure, Ordering::Relaxed, Ordering::Relaxed)
        {
            before = now;
            // SAFETY: the failure is this call's until the exchange succeeds.
            unsafe { (*failure).before = before };
        }
    }

    /// The address of the latest failure; zero if there is none.
    #[inline]
    pub(super) fn failure_address(&self) -> usize {
        // ORDERING: Relaxed. It only saves work.
        self.failures.load(Ordering::Relaxed).addr()
    }

    #[inline]
    pub(super) fn has_failed(&self) -> bool {
        self.failure_address() != 0
    }

    /// As [`has_failed`](Self::has_failed), for the parent after the join.
    #[inline]
    pub(super) fn has_failures(&mut self) -> bool {
        !self.failures.get_mut().is_null()
    }

    /// Drops the failures, for a parent that unwinds after the join without having asked for them.
    pub(super) fn drop_failures(&mut self) {
        drop_quietly(self.take_cause());
    }

    /// Takes the failures away and gives the cause of the one to report: the panicking task with the lowest index, or else
    /// a dropped one, or else one that was stopped.
    pub(super) fn take_cause(&mut self) -> Option<Cause> {
        let mut latest = std::mem::replace(self.failures.get_mut(), ptr::null_mut());
        let mut failures = Vec::new();
        while !latest.is_null() {
            // SAFETY: it was made from a box, and the batch has ended, so that nobody else refers to it.
            let failure = unsafe { Box::from_raw(latest) };
            latest = failure.before;
            failures.push(failure);
        }
        failures.sort_by_key(|failure| (failure.cause.rank(), failure.idx));
        let mut failures = failures.into_iter();
        let first = failures.next().map(|failure| failure.cause);
        failures.for_each(drop_quietly);
        first
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Header").field("len", &self.len).field("failed", &self.has_failed()).finish_non_exhaustive()
    }
}
