#![expect(unsafe_code, reason = "a place is a worker, or a frame further up the stack, by pointer")]
//! What runs on this thread: the crate's only thread-local.
//!
//! The thread-local is a [`Place`]: a worker, or a [`Context`] that lies in a frame further up the stack. On a worker thread it
//! belongs to the running fiber: a fiber that suspends at another place than the worker puts the worker back and takes its own
//! place again when it is resumed.

use crate::batch::Inline;
use crate::executor::Executor;
use crate::record::Record;
use crate::runtime::{FiberRef, Worker};
use std::cell::Cell;
use std::panic::Location;
use std::ptr::{self, NonNull};
use std::sync::atomic::{Ordering, compiler_fence};
use std::thread;

/// Where a call of a `yield_*` function goes.
#[derive(Clone, Copy)]
pub(crate) enum Context<'e> {
    /// A task of the fiber runtime: this worker forks.
    Fibers(NonNull<Worker>),
    /// A task of another backend.
    Backend {
        executor: &'e dyn Executor,
        level: usize,
        record: NonNull<Record>,
        /// The worker whose fiber the task runs on, if it is one.
        worker: Option<NonNull<Worker>>,
    },
    /// A thread that was lent to a task of the fiber runtime, for something that blocks.
    Lent { record: Option<NonNull<Record>> },
}

/// Where the running task is: a word, so that the most frequent case is told by one bit.
///
/// | word | the task |
/// |---|---|
/// | even | is one of the fiber runtime, on the worker at that address |
/// | 1 | there is none |
/// | any other | is in the context at the address before |
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place(*const ());

const _: () = assert!(align_of::<Worker>() > 1 && align_of::<Context<'_>>() > 1, "addresses are even");

thread_local! {
    static HERE: Cell<Place> = const { Cell::new(Place::OUTSIDE) };
}

impl Place {
    /// Outside any task.
    const OUTSIDE: Self = Self(ptr::without_provenance(1));

    fn on(worker: &Worker) -> Self {
        Self(ptr::from_ref(worker).cast())
    }

    fn within(context: &Context<'_>) -> Self {
        Self(ptr::from_ref(context).wrapping_byte_add(1).cast())
    }

    /// Reads the thread-local by value. A caller may keep its address in a register while it suspends: a started fiber never
    /// changes thread, so the address stays right.
    #[inline(always)]
    fn here() -> Self {
        HERE.get()
    }

    /// The worker at the address that the word is, if it is one.
    #[inline(always)]
    fn worker(self) -> Option<NonNull<Worker>> {
        // SAFETY: even words are addresses of workers, which are not null.
        self.0.addr().is_multiple_of(2).then(|| unsafe { NonNull::new_unchecked(self.0.cast_mut().cast()) })
    }

    fn set(self) {
        // A survey looks at the place between any two instructions of the thread: it is there before it is current, and goes after.
        compiler_fence(Ordering::SeqCst);
        HERE.set(self);
        compiler_fence(Ordering::SeqCst);
    }
}

/// The context of the running task; `None` outside any. To be used before the task ends.
#[inline]
pub(crate) fn context<'e>() -> Option<Context<'e>> {
    let place = Place::here();
    match place.worker() {
        Some(worker) => Some(Context::Fibers(worker)),
        // SAFETY: null, or the address of a context, which outlives the time it is current; the copy is made at once.
        None => unsafe { place.0.wrapping_byte_sub(1).cast::<Context<'e>>().as_ref() }.copied(),
    }
}

/// The worker that runs the calling task, if it is one of the fiber runtime.
#[inline(always)] // The first thing that a map asks.
pub(crate) fn home() -> Option<NonNull<Worker>> {
    Place::here().worker()
}

/// Calls `f`, which belongs to no task, in the loop of a worker: what it maps runs in order, and what it waits for blocks the
/// thread.
pub(crate) fn in_loop(f: impl FnOnce()) {
    let record = Record::new();
    with(&Context::Backend { executor: &Inline, level: 0, record: NonNull::from(&record), worker: None }, f);
}

/// The worker that the calling thread is, if it runs fibers.
#[inline]
pub(crate) fn worker<'a>() -> Option<&'a Worker> {
    let worker = match context()? {
        Context::Fibers(worker) => worker,
        Context::Backend { worker, .. } => worker?,
        Context::Lent { .. } => return None,
    };
    // SAFETY: a worker outlives its fibers, and the caller runs on one of them.
    Some(unsafe { worker.as_ref() })
}

/// Whether the caller runs in a task, of whichever executor.
pub(crate) fn is_in_task() -> bool {
    Place::here() != Place::OUTSIDE
}

/// Whether the running task is one of the executor of that identity, and not of the fiber runtime.
pub(crate) fn is_task_of(identity: *const ()) -> bool {
    match context() {
        Some(Context::Backend { executor, .. }) => executor.identity() == identity,
        Some(Context::Fibers(_) | Context::Lent { .. }) | None => false,
    }
}

/// What is known of the running task; `None` outside any. To be used before the task ends.
#[inline]
pub(crate) fn record<'a>() -> Option<&'a Record> {
    let record = match context()? {
        // SAFETY: a worker outlives its fibers, and the caller runs on one of them, or in the loop.
        Context::Fibers(worker) => unsafe { worker.as_ref() }.current_record()?,
        Context::Backend { record, .. } => record,
        Context::Lent { record } => record?,
    };
    // SAFETY: the record of a task outlives it, and the caller is part of the task.
    Some(unsafe { record.as_ref() })
}

/// The level of a batch that is made here and runs on the executor of that identity.
pub(crate) fn level_on(identity: *const ()) -> usize {
    match context() {
        Some(Context::Backend { level, .. }) if is_task_of(identity) => level + 1,
        _ => 0,
    }
}

/// Puts the former place back.
struct Restore(Place);

impl Drop for Restore {
    fn drop(&mut self) {
        self.0.set();
    }
}

/// Runs `task`, which `record` is about, as a task of `executor` at the given level.
pub(crate) fn enter<R>(executor: &dyn Executor, level: usize, record: &Record, task: impl FnOnce() -> R) -> R {
    let (worker, record) = (worker().map(NonNull::from), NonNull::from(record));
    with(&Context::Backend { executor, level, record, worker }, task)
}

/// Calls `f` with `context` current.
fn with<R>(context: &Context<'_>, f: impl FnOnce() -> R) -> R {
    let _restore = Restore(Place::here());
    // The lifetime of the executor ends after `Restore` has taken the place back.
    Place::within(context).set();
    f()
}

/// The running task, for another thread that goes on in its place while it waits.
#[derive(Clone, Copy)]
pub(crate) struct Task<'e> {
    backend: Option<(&'e dyn Executor, usize)>,
    record: Option<&'e Record>,
}

impl Task<'_> {
    /// The task that calls this.
    pub(crate) fn running() -> Self {
        let backend = match context() {
            Some(Context::Backend { executor, level, .. }) => Some((executor, level)),
            Some(Context::Fibers(_) | Context::Lent { .. }) | None => None,
        };
        Self { backend, record: record() }
    }

    /// Calls `f` as a part of the task.
    pub(crate) fn resume_in<R>(self, f: impl FnOnce() -> R) -> R {
        match (self.backend, self.record) {
            (Some((executor, level)), Some(record)) => enter(executor, level, record, f),
            (_, record) => with(&Context::Lent { record: record.map(NonNull::from) }, f),
        }
    }
}

/// Calls `f` as if outside any task, on a thread where it may be called only so.
pub(crate) fn outside<R>(f: impl FnOnce() -> R) -> R {
    let _restore = Restore(Place::here());
    Place::OUTSIDE.set();
    f()
}

/// Runs the loop of `worker`, whose tasks are on it wherever no other context was entered.
pub(crate) fn enter_worker(worker: &Worker, run: impl FnOnce()) {
    let _restore = Restore(Place::here());
    Place::on(worker).set();
    run();
}

/// What goes along where a fiber has a thread of its own.
#[cfg(any(yieldtasks_threads, miri))]
#[derive(Clone, Copy)]
pub(crate) struct Handover(Place);

/// The thread-local's value, for the thread that goes on.
#[cfg(any(yieldtasks_threads, miri))]
pub(crate) fn hand_over() -> Handover {
    Handover(Place::here())
}

/// Goes on from another thread.
#[cfg(any(yieldtasks_threads, miri))]
pub(crate) fn take_over(handover: &Handover) {
    handover.0.set();
}

/// Notes that the calling fiber is about to suspend for tasks of its own.
pub(crate) fn hold() {
    if let Some(worker) = worker() {
        worker.hold(None);
    }
}

/// Suspends the calling fiber until its waiter is woken. A dump says that it waits at `site`, unless something else was noted.
///
/// # Panics
///
/// Panics outside a fiber, which is a mistake of this crate.
pub(crate) fn suspend(site: &'static Location<'static>) {
    let worker = worker().expect("only a fiber suspends");
    let fiber = worker.current_fiber();
    if !fiber.has_noted_wait() {
        fiber.note_wait(site, None);
    }
    if let Some(Context::Backend { .. }) = context() {
        worker.hold_above();
    }
    out_of_context(Worker::suspend);
    fiber.note_end_of_wait();
}

/// Notes that the calling fiber is about to wait at `site`, before anybody may make it ready.
pub(crate) fn note_wait(site: &'static Location<'static>) {
    worker().inspect(|worker| worker.current_fiber().note_wait(site, None));
}

/// Lets others go first on the calling fiber's worker, unless the thread unwinds. Does not look at what stops the task.
pub(crate) fn give_turn() {
    if !thread::panicking() {
        out_of_context(Worker::give_turn);
    }
}

/// Lets ready and yielded fibers of the worker go first, if the caller runs on one of its fibers.
pub(crate) fn give_way() {
    if worker().is_some() {
        out_of_context(Worker::give_way);
    }
}

/// Calls `switch` with the worker current, and puts the caller's place back when the fiber is resumed.
fn out_of_context(switch: fn(&Worker)) {
    let worker = worker().expect("only a fiber suspends");
    let fiber = worker.current_fiber();
    if let Some(Context::Backend { record, .. }) = context() {
        fiber.note_inner(record.as_ptr());
    }
    // Also if the switch unwinds, because the task of the fiber was stopped.
    let _own = Own { _place: Restore(Place::here()), fiber };
    Place::on(worker).set();
    switch(worker);
}

/// Ends the time for which a fiber has the worker for its place.
struct Own {
    _place: Restore,
    fiber: FiberRef,
}

impl Drop for Own {
    fn drop(&mut self) {
        self.fiber.note_inner(ptr::null());
    }
}
