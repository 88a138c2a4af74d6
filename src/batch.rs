#![expect(unsafe_code, reason = "tasks are run and results written behind erased types")]
//! A batch: the sibling tasks of one call, with their types erased.
//!
//! This is the single meeting point of user functions and backends. A call such as `yield_taskmap` builds [`Siblings`] in
//! its own frame: a [`Header`] that any backend understands, and the typed [`Tasks`] behind it. Backends see the header
//! only, as a [`Batch`] or, one by one, as [`Task`]s; the fiber runtime goes through the header's table of functions.
//!
//! # Who may touch what when
//!
//! - The frame belongs to the parent until the batch is handed over, and again once the join counter has reached zero.
//! - In between, whoever claimed a task index owns that task's item and result slot, until it arrives for that task.
//! - The waiter is written before the hand-over and read only by the last party to arrive.
//! - Failures are pushed to a list that only the parent takes apart, after the join.

mod join_counter;
mod map;
mod once;

pub(crate) use join_counter::{Arrival, JoinCounter};
pub(crate) use map::MapTasks;
pub(crate) use once::{BothTasks, OnceTask};

use crate::current;
use crate::executor::Executor;
use crate::runtime::Worker;
use crate::waiter::{self, Parking, Waiter};
use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::fmt;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::panic::{self, AssertUnwindSafe};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// What a panic carries.
pub(crate) type Payload = Box<dyn Any + Send>;

/// The typed tasks of a batch.
pub(crate) trait Tasks {
    /// Runs the task `idx`: moves its item out and its result in. A panic of the user's function passes through.
    ///
    /// # Safety
    ///
    /// - `idx` is below the length of the batch.
    /// - The caller claimed `idx`: no two calls for one batch have the same.
    unsafe fn run_task(&self, idx: usize);
}

/// The functions a batch is run by, made once for each type of tasks.
struct Table {
    /// Runs the first task and then whatever the worker's deque still has of this batch. Gives how many tasks ended; the
    /// caller arrives for them.
    run_from: unsafe fn(NonNull<Header>, usize, &Worker) -> usize,
    /// Runs one task; the caller arrives for it.
    run_one: unsafe fn(NonNull<Header>, usize),
}

/// The part of a batch that has the same type for all batches.
pub(crate) struct Header {
    table: &'static Table,
    len: usize,
    join: JoinCounter,
    waiter: UnsafeCell<MaybeUninit<Waiter>>,
    /// The failures so far, latest first, each linked to the one before. Only the parent takes any away.
    failures: AtomicPtr<Failure>,
}

// SAFETY: `waiter` blocks the auto trait. It is written before the batch is shared and read by the last party only.
unsafe impl Sync for Header {}

/// Why a batch has no results: one task's part in it.
struct Failure {
    idx: usize,
    cause: Cause,
    before: *mut Failure,
}

enum Cause {
    /// The task panicked.
    Panicked(Payload),
    /// A backend dropped the task without running it.
    Dropped,
}

impl Header {
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Says who waits for the batch.
    ///
    /// # Safety
    ///
    /// Nobody but the parent knows the batch yet.
    #[inline]
    pub(crate) unsafe fn set_waiter(&self, waiter: Waiter) {
        // SAFETY: the parent is alone with the batch.
        unsafe { (*self.waiter.get()).write(waiter) };
    }

    /// Runs tasks on the calling fiber: `first`, then what the worker's deque still has of this batch. Returns how many
    /// ended.
    ///
    /// # Safety
    ///
    /// - `this` is live, and the caller has claimed `first` and not arrived for it.
    #[inline]
    pub(crate) unsafe fn run_from(this: NonNull<Self>, first: usize, worker: &Worker) -> usize {
        // SAFETY: live, says the caller.
        let run_from = unsafe { this.as_ref() }.table.run_from;
        // SAFETY: the table fits the header; the claim is passed on.
        unsafe { run_from(this, first, worker) }
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
            // SAFETY: the parent said who waits before it handed the batch over.
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

    /// Notes that the task `idx` panicked. Tasks that have not started will not.
    #[cold]
    pub(crate) fn fail(&self, idx: usize, payload: Payload) {
        self.note(idx, Cause::Panicked(payload));
    }

    #[cold]
    fn note(&self, idx: usize, cause: Cause) {
        let before = self.failures.load(Ordering::Relaxed);
        let failure = Box::into_raw(Box::new(Failure { idx, cause, before }));
        let mut before = before;
        // ORDERING: Release publishes the failure; the parent's Acquire is that of the join.
        while let Err(now) = self.failures.compare_exchange_weak(before, failure, Ordering::Release, Ordering::Relaxed)
        {
            before = now;
            // SAFETY: the failure is this call's until the exchange succeeds.
            unsafe { (*failure).before = before };
        }
    }

    #[inline]
    fn has_failed(&self) -> bool {
        // ORDERING: Relaxed. For tasks it only saves work; the parent reads it after the join, which orders it.
        !self.failures.load(Ordering::Relaxed).is_null()
    }

    /// Takes the failures away and gives the cause of the one to report: the panicking task with the lowest index, or else
    /// a dropped one.
    fn take_cause(&mut self) -> Option<Cause> {
        let mut latest = std::mem::replace(self.failures.get_mut(), ptr::null_mut());
        let mut failures = Vec::new();
        while !latest.is_null() {
            // SAFETY: it was made from a box, and the batch has ended, so that nobody else refers to it.
            let failure = unsafe { Box::from_raw(latest) };
            latest = failure.before;
            failures.push(failure);
        }
        failures.sort_by_key(|failure| (matches!(failure.cause, Cause::Dropped), failure.idx));
        let mut failures = failures.into_iter();
        let first = failures.next().map(|failure| failure.cause);
        failures.for_each(drop_quietly);
        first
    }
}

/// Drops a value whose destructor may panic, on a stack that must not unwind.
pub(crate) fn drop_quietly<T>(value: T) {
    if let Err(second) = panic::catch_unwind(AssertUnwindSafe(|| drop(value))) {
        // The payload of a panicking destructor could panic in turn: there is an end to the care one can take.
        let _ = std::mem::ManuallyDrop::new(second);
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Header").field("len", &self.len).field("failed", &self.has_failed()).finish_non_exhaustive()
    }
}

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
        let header = Header {
            table: Self::TABLE,
            len,
            join: JoinCounter::new(len),
            waiter: UnsafeCell::new(MaybeUninit::uninit()),
            failures: AtomicPtr::new(ptr::null_mut()),
        };
        Self { header, tasks }
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
                    // Tasks are claimed in order, so nobody has any after the last.
                    if idx + 1 == self.header.len {
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

/// Runs the tasks of a batch in order on the calling thread, without suspending.
///
/// # Safety
///
/// `header` is live and known to the caller alone.
#[cold]
pub(crate) unsafe fn run_inline(header: NonNull<Header>) {
    // SAFETY: live, says the caller.
    let &Header { table: Table { run_one, .. }, len, .. } = unsafe { header.as_ref() };
    for idx in 0..len {
        // SAFETY: the table fits the header, and each index is run once.
        unsafe { run_one(header, idx) };
    }
}

/// Runs a batch on `executor` and returns when all its tasks have ended.
///
/// # Safety
///
/// `header` is live and known to the caller alone.
pub(crate) unsafe fn run_on<E: Executor + ?Sized>(executor: &E, header: NonNull<Header>) {
    if current::worker().is_some() {
        if std::thread::panicking() {
            // SAFETY: as the caller says. A fiber never suspends while its thread unwinds.
            return unsafe { run_inline(header) };
        }
        if !executor.suspends() {
            let batch = Handover(header);
            return waiter::block_elsewhere(move || {
                let Handover(header) = { batch };
                // SAFETY: as the caller says: the frame of the batch waits for this call.
                unsafe { run_on(executor, header) };
            });
        }
    }
    let parking = Parking::here();
    // SAFETY: live, says the caller.
    let erased = unsafe { header.as_ref() };
    // SAFETY: nobody else knows the batch.
    unsafe { erased.set_waiter(parking.waiter()) };
    let batch = Batch {
        header,
        claimed: AtomicUsize::new(0),
        level: current::level_on(executor.identity()),
        parking: &parking,
        joined: Cell::new(false),
        _tasks: PhantomData,
    };
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| executor.run_batch(&batch)));
    // Tasks that the executor did not ask for are dropped, which the parent is told.
    while let Some(task) = batch.next_task() {
        drop(task);
    }
    let joined = batch.joined.get() || {
        // SAFETY: the parent arrives for itself, once.
        let arrival = unsafe { Header::count_down(header, 1) };
        arrival == Arrival::Last
    };
    if let Err(payload) = outcome {
        panic::resume_unwind(payload);
    }
    assert!(joined, "the executor returned from `run_batch` before every task of the batch had ended");
}

/// A batch on its way to the thread that hands it to its executor.
struct Handover(NonNull<Header>);

// SAFETY: the pointer blocks the auto trait. The header is `Sync`, and the thread is the only one to know the batch.
unsafe impl Send for Handover {}

/// The tasks of one call on their way to a backend.
///
/// A backend asks for the tasks by [`next_task`](Self::next_task) and runs each, on whatever thread it likes.
pub struct Batch<'a> {
    header: NonNull<Header>,
    claimed: AtomicUsize,
    level: usize,
    parking: &'a Parking,
    joined: Cell<bool>,
    _tasks: PhantomData<&'a Header>,
}

impl<'a> Batch<'a> {
    /// The number of tasks, at least one.
    #[expect(clippy::len_without_is_empty, reason = "a batch is never empty")]
    pub fn len(&self) -> usize {
        self.erased().len
    }

    /// How many batches of the same executor enclose this one: 0 for the outermost.
    pub fn level(&self) -> usize {
        self.level
    }

    /// Claims the next task, in input order; `None` when all have been claimed.
    pub fn next_task(&self) -> Option<Task<'a>> {
        let idx = self.claimed.fetch_add(1, Ordering::Relaxed);
        if idx >= self.len() {
            self.claimed.store(self.len(), Ordering::Relaxed);
            return None;
        }
        Some(Task { header: self.header, idx, level: self.level, _tasks: PhantomData })
    }

    /// Claims all tasks at once, for a runtime that runs them by the header.
    pub(crate) fn claim_all(&self) -> NonNull<Header> {
        let claimed = self.claimed.swap(self.len(), Ordering::Relaxed);
        debug_assert_eq!(claimed, 0, "only a whole batch can be handed over");
        self.header
    }

    /// Waits until every task has ended: suspends the fiber this is called on, or parks the thread.
    pub(crate) fn join(&self) {
        self.joined.set(true);
        // SAFETY: the parent arrives for itself, once.
        let arrival = unsafe { Header::count_down(self.header, 1) };
        if arrival == Arrival::Earlier {
            self.parking.wait();
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
        // SAFETY: the batch is live until this task arrives.
        let run_one = unsafe { task.header.as_ref() }.table.run_one;
        current::enter(executor, task.level, || {
            // SAFETY: the table fits the header; the index was claimed when this task was made.
            unsafe { run_one(task.header, task.idx) };
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
