#![expect(unsafe_code, reason = "tasks borrow from a scope that waits for them")]
//! A scope: tasks that are started one by one, and have all ended when it is left.

use crate::batch::Inline;
use crate::block_on::Subject;
use crate::control::{Limits, Stopped, stop_if_told};
use crate::current::{self, Context};
use crate::error::{ErrorKind, TaskError};
use crate::executor::{Executor, Feed};
use crate::global::global;
use crate::handle::{DetachedTask, Ticket};
use crate::record::{Origin, Record};
use crate::waiter::{Parking, Waiter};
use parking_lot::Mutex;
use std::any::type_name;
use std::fmt;
use std::marker::PhantomData;
use std::panic::{self, AssertUnwindSafe, Location};
use std::ptr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Calls `f` with a scope in which it can start tasks that borrow from outside it, and returns when all of them have ended:
/// [`std::thread::scope`] with tasks for threads.
///
/// The tasks run on the executor of the calling task, or on [`global()`] outside any, while `f` goes on. To wait for
/// one of them, [join](ScopedTaskHandle::join) it.
///
/// # Panics
///
/// If `f` panics, the tasks of the scope are cancelled, and the panic goes on when they have ended. If a task panics and
/// nobody joins it, its panic is raised here when all have ended; among several, that of the task that was spawned first.
///
/// # Examples
///
/// ```
/// use yieldtasks::yield_scope;
///
/// let words = vec!["fiber", "worker"];
/// let total = yield_scope(|s| {
///     let lengths: Vec<_> = words.iter().map(|word| s.spawn(|| word.len())).collect();
///     lengths.into_iter().map(|handle| handle.join().unwrap()).sum::<usize>()
/// });
/// assert_eq!(total, 11);
/// ```
#[track_caller]
pub fn yield_scope<'env, R>(f: impl for<'s> FnOnce(&'s Scope<'s, 'env>) -> R) -> R {
    stop_if_told();
    scope_here(Limits::here([], None), f)
}

/// A scope whose tasks run where the caller runs, under a control of the caller's making.
///
/// # Panics
///
/// As [`yield_scope`].
#[track_caller]
pub(crate) fn scope_here<'env, R>(limits: Limits, f: impl for<'s> FnOnce(&'s Scope<'s, 'env>) -> R) -> R {
    match current::context() {
        Some(Context::Fibers(worker)) => {
            // SAFETY: a worker outlives its fibers, and the caller runs on one of them.
            let feed = unsafe { worker.as_ref() }.feed();
            scope_with(&Inline, feed, 0, limits, f)
        }
        Some(Context::Backend { executor, .. }) => scope_on(&executor, limits, f),
        Some(Context::Lent { .. }) | None => scope_on(&global(), limits, f),
    }
}

/// A scope whose tasks run on `executor`, under a control of the caller's making.
///
/// # Panics
///
/// As [`yield_scope`], and if the executor has been shut down.
#[track_caller]
pub(crate) fn scope_on<'env, R>(
    executor: &dyn Executor,
    limits: Limits,
    f: impl for<'s> FnOnce(&'s Scope<'s, 'env>) -> R,
) -> R {
    let level = current::level_on(executor.identity());
    match executor.open(level) {
        Some(feed) => scope_with(executor, feed, level, limits, f),
        None => panic!("the executor has been shut down: build another one to run more tasks"),
    }
}

#[track_caller]
fn scope_with<'env, R>(
    executor: &dyn Executor,
    feed: Feed,
    level: usize,
    limits: Limits,
    f: impl for<'s> FnOnce(&'s Scope<'s, 'env>) -> R,
) -> R {
    let parent = current::record().map_or(ptr::null(), ptr::from_ref);
    let scope =
        Scope { executor, feed, level, limits, parent, tally: Arc::default(), scope: PhantomData, env: PhantomData };
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| f(&scope)));
    if outcome.is_err() {
        scope.limits.control().stop(Stopped::Cancelled);
    }
    scope.tally.wait();
    let unread = scope.tally.take_unread();
    match (outcome, unread) {
        (Err(payload), _) => panic::resume_unwind(payload),
        (Ok(_), Some(error)) => error.raise(),
        (Ok(result), None) => {
            // The end of a scope is where the task was suspended, and tasks that nobody joined may have no results.
            stop_if_told();
            result
        }
    }
}

/// Where tasks are started that may borrow for `'env`, and are waited for: see [`yield_scope`].
pub struct Scope<'scope, 'env: 'scope> {
    executor: &'scope dyn Executor,
    feed: Feed,
    /// That of the tasks.
    level: usize,
    limits: Limits,
    /// The task that made the scope; null if it was none.
    parent: *const Record,
    tally: Arc<Tally>,
    /// Invariant, so that the scope does not shrink while tasks borrow for it.
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

// SAFETY: `parent` blocks the auto trait. It is only read, and outlives the scope.
unsafe impl Sync for Scope<'_, '_> {}

impl<'scope> Scope<'scope, '_> {
    /// Starts a task, which runs while the caller goes on. May be called in tasks of the scope, too.
    ///
    /// Its step in a [`TaskPath`](crate::TaskPath) is this call and the number of tasks that the scope has started before.
    #[track_caller]
    pub fn spawn<F, R>(&'scope self, f: F) -> ScopedTaskHandle<'scope, R>
    where
        F: FnOnce() -> R + Send + 'scope,
        R: Send + 'scope,
    {
        self.spawn_from(Origin::new(Location::caller(), Some(type_name::<F>)), f)
    }

    /// As [`spawn`](Self::spawn), for a task that comes from elsewhere.
    pub(crate) fn spawn_from<F, R>(&'scope self, mut origin: Origin, f: F) -> ScopedTaskHandle<'scope, R>
    where
        F: FnOnce() -> R + Send + 'scope,
        R: Send + 'scope,
    {
        let limits = Limits::below([Arc::clone(self.limits.control())], None);
        origin.set(self.parent, Arc::as_ptr(limits.control()));
        let idx = self.tally.enter();
        let ticket = Arc::new(Ticket::new(origin, idx, limits, Some(Arc::clone(&self.tally))));
        // SAFETY: the scope is left when the tally has counted the task out.
        let task = unsafe { DetachedTask::of(f, Arc::clone(&ticket), self.level, self.feed.belonging()) };
        if current::worker().is_some() && thread::panicking() {
            // The fiber must not suspend to wait for the task.
            task.run(&Inline);
        } else {
            self.feed.spawn(self.executor, task);
        }
        ScopedTaskHandle { ticket, scope: PhantomData }
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").finish_non_exhaustive()
    }
}

/// The result, some day, of a task started by [`Scope::spawn`].
///
/// Dropping the handle lets the task run on; a panic of it is raised where the scope ends.
pub struct ScopedTaskHandle<'scope, R> {
    ticket: Arc<Ticket<R>>,
    scope: PhantomData<&'scope mut &'scope ()>,
}

impl<R> ScopedTaskHandle<'_, R> {
    /// Waits until the task has ended and returns its result. Inside a task of a fiber executor this suspends the fiber,
    /// elsewhere it parks the thread.
    ///
    /// # Errors
    ///
    /// As [`TaskHandle::join`](crate::TaskHandle::join).
    #[track_caller]
    pub fn join(self) -> Result<R, TaskError> {
        self.ticket.join(Subject::Children)
    }

    /// As [`join`](Self::join), but does not wait longer than `timeout`.
    ///
    /// # Errors
    ///
    /// The handle itself, if the task has not ended by then, or if the caller must not wait.
    #[track_caller]
    pub fn join_timeout(self, timeout: Duration) -> Result<Result<R, TaskError>, Self> {
        self.ticket.join_timeout(timeout).ok_or(self)
    }

    /// Whether the task has ended, so that [`join`](Self::join) returns at once.
    pub fn is_finished(&self) -> bool {
        self.ticket.is_finished()
    }

    /// Cancels the task, as [`TaskHandle::cancel`](crate::TaskHandle::cancel) does.
    pub fn cancel(&self) {
        self.ticket.cancel();
    }
}

impl<R> fmt::Debug for ScopedTaskHandle<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopedTaskHandle").finish_non_exhaustive()
    }
}

/// Counts the tasks of a scope in and out.
#[derive(Default)]
pub(crate) struct Tally {
    state: Mutex<TallyState>,
}

#[derive(Default)]
struct TallyState {
    spawned: usize,
    outstanding: usize,
    waiter: Option<Waiter>,
    /// The error of the task with the lowest index among those that nobody joined and that panicked or were dropped.
    unread: Option<(usize, TaskError)>,
}

impl Tally {
    /// Counts a task in. Returns how many were counted in before.
    fn enter(&self) -> usize {
        let mut state = self.state.lock();
        state.outstanding += 1;
        state.spawned += 1;
        state.spawned - 1
    }

    /// Counts a task out.
    pub(crate) fn leave(&self) {
        let waiter = {
            let mut state = self.state.lock();
            state.outstanding -= 1;
            if state.outstanding == 0 { state.waiter.take() } else { None }
        };
        if let Some(waiter) = waiter {
            waiter.wake();
        }
    }

    /// Waits until all are out.
    #[track_caller]
    fn wait(&self) {
        let parking = Parking::here();
        {
            let mut state = self.state.lock();
            if state.outstanding == 0 {
                return;
            }
            state.waiter = Some(parking.waiter());
        }
        parking.wait_for_children(None);
    }

    /// Notes the error of a task that nobody joined. One that was stopped is no surprise.
    pub(crate) fn note_unread(&self, idx: usize, error: TaskError) {
        let mut state = self.state.lock();
        let is_first = state.unread.as_ref().is_none_or(|(first, _)| idx < *first);
        if matches!(error.kind(), ErrorKind::Panicked | ErrorKind::ShutDown) && is_first {
            let former = state.unread.replace((idx, error));
            drop(state);
            drop(former);
        }
    }

    fn take_unread(&self) -> Option<TaskError> {
        self.state.lock().unread.take().map(|(_, error)| error)
    }
}
