#![expect(unsafe_code, reason = "a task that borrows from its scope is on its way as one that does not")]
//! Detached tasks and the handles by which their results are had.

use crate::batch::{Payload, drop_quietly};
use crate::block_on::block_on;
use crate::control::{Limits, Stopped};
use crate::current;
use crate::erased::ErasedFn;
use crate::error::TaskError;
use crate::executor::Executor;
use crate::path::TaskPath;
use crate::process::{self, Process};
use crate::record::{Origin, Record};
use crate::scope::Tally;
use crate::timer;
use parking_lot::Mutex;
use std::any::type_name;
use std::fmt;
use std::future::{self, Future};
use std::mem;
use std::panic::{self, AssertUnwindSafe, Location};
use std::pin::{Pin, pin};
use std::ptr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

/// What a detached task and its handle share.
pub(crate) struct Ticket<R> {
    state: Mutex<State<R>>,
    limits: Limits,
    origin: Origin,
    idx: usize,
    /// The scope that is told of a panic that nobody asked for.
    tally: Option<Arc<Tally>>,
    /// Where the task is.
    process: Process,
}

struct State<R> {
    phase: Phase<R>,
    /// Who is woken when the task has ended.
    waker: Option<Waker>,
}

enum Phase<R> {
    /// Not started. Cancelling ends it here and now.
    Queued,
    Running,
    Ended(Result<R, TaskError>),
    /// The handle has the outcome.
    Taken,
}

impl<R> Ticket<R> {
    pub(crate) fn new(origin: Origin, idx: usize, limits: Limits, tally: Option<Arc<Tally>>) -> Self {
        let state = State { phase: Phase::Queued, waker: None };
        Self { state: Mutex::new(state), limits, origin, idx, tally, process: Process::current() }
    }

    /// Starts the task, unless it has been stopped.
    fn begin(&self) -> bool {
        let stopped = self.limits.control().stopped();
        let mut state = self.state.lock();
        let begins = matches!(state.phase, Phase::Queued) && stopped.is_none();
        if begins {
            state.phase = Phase::Running;
        }
        begins
    }

    /// Leaves the outcome for the handle.
    fn end(&self, outcome: Result<R, TaskError>) {
        self.end_from(|phase| matches!(phase, Phase::Running), outcome);
    }

    /// Ends a task that has not started, and will not.
    fn end_unstarted(&self) {
        if self.is_queued() {
            let error = match self.limits.control().stopped() {
                Some(why) => TaskError::stopped(why, self.path()),
                None => TaskError::shut_down(self.path()),
            };
            // It may have started meanwhile, in the hands of another thread.
            self.end_from(|phase| matches!(phase, Phase::Queued), Err(error));
        }
    }

    /// Leaves the outcome for the handle, if the task is in the phase that it ends from.
    fn end_from(&self, is_right: impl FnOnce(&Phase<R>) -> bool, outcome: Result<R, TaskError>) {
        let waker = {
            let mut state = self.state.lock();
            if !is_right(&state.phase) {
                return;
            }
            state.phase = Phase::Ended(outcome);
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn is_queued(&self) -> bool {
        matches!(self.state.lock().phase, Phase::Queued)
    }

    fn path(&self) -> TaskPath {
        Record::path_in(&self.origin, self.idx)
    }

    pub(crate) fn is_finished(&self) -> bool {
        let has_ended = |state: &State<R>| matches!(state.phase, Phase::Ended(_) | Phase::Taken);
        if self.process.is_current() {
            has_ended(&self.state.lock())
        } else {
            // Another thread may have held the lock when this process was forked, and holds it for ever here.
            self.state.try_lock().is_some_and(|state| has_ended(&state))
        }
    }

    pub(crate) fn cancel(&self) {
        self.limits.control().stop(Stopped::Cancelled);
        self.end_unstarted();
    }

    /// Whether the task has not ended, and the caller runs on a fiber that unwinds and must not wait for it.
    fn must_not_wait(&self) -> bool {
        !self.is_finished() && current::worker().is_some() && thread::panicking()
    }

    /// Takes the outcome, or has the waker woken when it is there.
    ///
    /// # Panics
    ///
    /// Panics if the outcome has been taken, and in a process that was forked from the task's, if the task had not ended.
    pub(crate) fn poll(&self, context: &Context<'_>) -> Poll<Result<R, TaskError>> {
        if !self.process.is_current() && !self.is_finished() {
            process::inherited();
        }
        let mut state = self.state.lock();
        if matches!(state.phase, Phase::Ended(_)) {
            let Phase::Ended(outcome) = mem::replace(&mut state.phase, Phase::Taken) else { unreachable!("just seen") };
            return Poll::Ready(outcome);
        }
        let taken = matches!(state.phase, Phase::Taken);
        let former = if taken { None } else { state.waker.replace(context.waker().clone()) };
        drop(state);
        drop(former);
        assert!(!taken, "a handle gives its outcome once");
        Poll::Pending
    }

    /// Waits for the outcome.
    pub(crate) fn join(&self) -> Result<R, TaskError> {
        if self.must_not_wait() {
            return Err(TaskError::unwinding(self.path()));
        }
        block_on(future::poll_fn(|context| self.poll(context)))
    }

    /// Waits for the outcome, but not longer than that; `None` if it was not there in time.
    pub(crate) fn join_timeout(&self, timeout: Duration) -> Option<Result<R, TaskError>> {
        if self.must_not_wait() {
            return None;
        }
        let mut timer = pin!(timer::after(timeout));
        block_on(future::poll_fn(|context| match self.poll(context) {
            Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
            Poll::Pending => timer.as_mut().poll(context).map(|_| None),
        }))
    }
}

impl<R> Drop for Ticket<R> {
    /// Tells the scope, if the task belongs to one, of a panic that nobody asked for.
    fn drop(&mut self) {
        let phase = mem::replace(&mut self.state.get_mut().phase, Phase::Taken);
        if let (Phase::Ended(Err(error)), Some(tally)) = (phase, &self.tally) {
            tally.note_unread(self.idx, error);
        }
    }
}

/// The result, some day, of a task started by [`ExecutorExt::submit`](crate::ExecutorExt::submit). As a future, it gives what
/// [`join`](Self::join) gives, in any async runtime.
///
/// Dropping the handle lets the task run on; its result is dropped when it ends.
#[must_use = "a panic of the task is seen only by joining its handle: say `detach` if that is meant"]
pub struct TaskHandle<R> {
    ticket: Arc<Ticket<R>>,
}

impl<R> TaskHandle<R> {
    /// Waits until the task has ended and returns its result. Inside a task of a fiber executor this suspends the fiber,
    /// elsewhere it parks the thread.
    ///
    /// # Errors
    ///
    /// What happened to the task, by [`TaskError::kind`](TaskError::kind):
    ///
    /// - [`ErrorKind::Panicked`](crate::ErrorKind::Panicked), with the payload of the panic.
    /// - [`ErrorKind::Cancelled`](crate::ErrorKind::Cancelled), by [`cancel`](Self::cancel).
    /// - [`ErrorKind::ShutDown`](crate::ErrorKind::ShutDown) if the executor was shut down before the task could start.
    /// - [`ErrorKind::Unwinding`](crate::ErrorKind::Unwinding) if the task has not ended, and the caller is a task on a
    ///   fiber that is unwinding from a panic, where it must not suspend.
    ///
    /// # Panics
    ///
    /// Unwinds if the running task is cancelled or late. Panics in a process that was forked from the one where the task was
    /// submitted, if the task had not ended.
    pub fn join(self) -> Result<R, TaskError> {
        self.ticket.join()
    }

    /// As [`join`](Self::join), but does not wait longer than `timeout`.
    ///
    /// # Errors
    ///
    /// The handle itself, if the task has not ended by then, or if the caller must not wait.
    pub fn join_timeout(self, timeout: Duration) -> Result<Result<R, TaskError>, Self> {
        self.ticket.join_timeout(timeout).ok_or(self)
    }

    /// Whether the task has ended, so that [`join`](Self::join) returns at once.
    pub fn is_finished(&self) -> bool {
        self.ticket.is_finished()
    }

    /// Cancels the task and returns at once. A task that has not started never starts, and has ended when this returns; a
    /// running one unwinds at its next yield point. A result that exists stays.
    pub fn cancel(&self) {
        self.ticket.cancel();
    }

    /// Lets the task run on by itself.
    pub fn detach(self) {}
}

impl<R> Future for TaskHandle<R> {
    type Output = Result<R, TaskError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.ticket.poll(context)
    }
}

impl<R> fmt::Debug for TaskHandle<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskHandle").finish_non_exhaustive()
    }
}

/// A task that belongs to no batch, on its way to a backend.
///
/// Dropping it without running it tells its handle that the executor has been shut down.
pub struct DetachedTask {
    /// Gone once the task has run, or been refused.
    body: Option<ErasedFn<Start>>,
    origin: Origin,
    idx: usize,
    level: usize,
    belonging: Belonging,
}

/// Whether an executor that has been shut down runs a detached task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Belonging {
    /// It was submitted by itself.
    ToNothing,
    /// It is part of a call that the executor has in hand.
    ToCallInHand,
}

/// How the body of a detached task is called.
enum Start {
    Run,
    /// It is not, and its handle gets this panic.
    Panic(Payload),
    Drop,
}

impl DetachedTask {
    /// A task by itself.
    pub(crate) fn new<R, F>(f: F, site: &'static Location<'static>) -> (Self, TaskHandle<R>)
    where
        F: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        let limits = Limits::below([], None);
        let mut origin = Origin::new(site, type_name::<F>);
        origin.set(ptr::null(), Arc::as_ptr(limits.control()));
        let ticket = Arc::new(Ticket::new(origin, 0, limits, None));
        // SAFETY: function and result borrow from nothing.
        let task = unsafe { Self::of(f, Arc::clone(&ticket), 0, Belonging::ToNothing) };
        (task, TaskHandle { ticket })
    }

    /// A task whose outcome is left at `ticket`. The scope of the ticket, if it has one, is told when all is over.
    ///
    /// # Safety
    ///
    /// What the function and its result borrow outlives the end of the task: its scope waits for it.
    pub(crate) unsafe fn of<R, F>(f: F, ticket: Arc<Ticket<R>>, level: usize, belonging: Belonging) -> Self
    where
        F: FnOnce() -> R + Send,
        R: Send,
    {
        let (origin, idx) = (ticket.origin, ticket.idx);
        let body = move |start| {
            match start {
                Start::Run if ticket.begin() => {
                    let outcome = panic::catch_unwind(AssertUnwindSafe(f)).map_err(|payload| {
                        let path = current::record().map(|record| record.path_of(&payload));
                        TaskError::unwound(payload, path.unwrap_or_else(|| ticket.path()))
                    });
                    ticket.end(outcome);
                }
                Start::Panic(payload) => {
                    drop_quietly(f);
                    let error = TaskError::unwound(payload, ticket.path());
                    ticket.end_from(|phase| matches!(phase, Phase::Queued), Err(error));
                }
                Start::Run | Start::Drop => {
                    drop_quietly(f);
                    ticket.end_unstarted();
                }
            }
            let tally = ticket.tally.clone();
            drop_quietly(ticket);
            // Function and result are gone, or the handle's: the scope need not wait for them any longer.
            if let Some(tally) = tally {
                tally.leave();
            }
        };
        // SAFETY: as the caller says.
        let body = Some(unsafe { ErasedFn::new(body) });
        Self { body, origin, idx, level, belonging }
    }

    /// A task whose result nobody wants, and which does not panic.
    #[track_caller]
    pub(crate) fn without_handle(f: impl FnOnce() + Send + 'static) -> Self {
        Self::new(f, Location::caller()).0
    }

    /// How many batches and scopes of the same executor enclose the task: 0 for one that was submitted.
    pub fn level(&self) -> usize {
        self.level
    }

    /// Whether the task is part of a call that the executor has in hand. An executor that has been shut down runs such tasks
    /// to the end, and drops others.
    pub fn is_in_hand(&self) -> bool {
        self.belonging == Belonging::ToCallInHand
    }

    pub(crate) fn origin(&self) -> Origin {
        self.origin
    }

    /// Runs the task. The `yield_*` functions called inside it use `executor`.
    ///
    /// A panic of the task does not come out here: its handle reports it.
    pub fn run(self, executor: &dyn Executor) {
        let origin = self.origin;
        let record = Record::of(&origin, self.idx);
        current::enter(executor, self.level, &record, || self.run_here());
    }

    /// Ends the task, which could not be started, with a panic.
    pub(crate) fn refuse(mut self, payload: Payload) {
        self.call(Start::Panic(payload));
    }

    /// Runs the task in the context that is current.
    pub(crate) fn run_here(mut self) {
        if let Some(record) = current::record() {
            record.set_idx(self.idx);
        }
        self.call(Start::Run);
    }

    fn call(&mut self, start: Start) {
        if let Some(body) = self.body.take() {
            body.call(start);
        }
    }
}

impl Drop for DetachedTask {
    fn drop(&mut self) {
        self.call(Start::Drop);
    }
}

impl fmt::Debug for DetachedTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DetachedTask").field("level", &self.level).finish_non_exhaustive()
    }
}
