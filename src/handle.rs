//! Detached tasks and the handles by which their results are had.

use crate::batch::{Payload, drop_quietly};
use crate::current;
use crate::error::TaskError;
use crate::executor::Executor;
use crate::waiter::{Parking, Waiter};
use parking_lot::Mutex;
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;

/// How a detached task ended.
enum Outcome<R> {
    Returned(R),
    Panicked(Payload),
    /// It was dropped before it started.
    Dropped,
}

/// Where a detached task leaves its outcome.
///
/// | state | meaning |
/// |---|---|
/// | `Running(Nobody)` | not ended, nobody waits |
/// | `Running(waiter)` | not ended; whoever ends it wakes the waiter |
/// | `Ended` | the outcome is there |
enum State<R> {
    Running(Waiter),
    Ended(Outcome<R>),
}

/// The result, some day, of a task started by [`ExecutorExt::submit`](crate::ExecutorExt::submit).
///
/// Dropping the handle lets the task run on; its result is dropped when it ends.
#[must_use = "a panic of the task is seen only by joining its handle"]
pub struct TaskHandle<R> {
    state: Arc<Mutex<State<R>>>,
}

impl<R> TaskHandle<R> {
    /// Waits until the task has ended and returns its result. Inside a task of a fiber executor this suspends the fiber,
    /// elsewhere it parks the thread.
    ///
    /// # Errors
    ///
    /// - [`TaskError::Panicked`] if the task panicked, with its payload.
    /// - [`TaskError::ShutDown`] if the executor was shut down before the task could start.
    /// - [`TaskError::Unwinding`] if the task has not ended, and the caller is a task on a fiber that is unwinding from a
    ///   panic, where it must not suspend.
    pub fn join(self) -> Result<R, TaskError> {
        let parking = Parking::here();
        let ended = match &mut *self.state.lock() {
            State::Ended(_) => true,
            State::Running(_) if parking.must_not_wait() => {
                return Err(TaskError::Unwinding);
            }
            State::Running(waiter) => {
                *waiter = parking.waiter();
                false
            }
        };
        if !ended {
            parking.wait();
        }
        let state = std::mem::replace(&mut *self.state.lock(), State::Running(Waiter::Nobody));
        match state {
            State::Ended(Outcome::Returned(result)) => Ok(result),
            State::Ended(Outcome::Panicked(payload)) => Err(TaskError::panicked(payload)),
            State::Ended(Outcome::Dropped) => Err(TaskError::ShutDown),
            State::Running(_) => unreachable!("a waiter is woken after the task has ended"),
        }
    }

    /// Whether the task has ended, so that [`join`](Self::join) returns at once.
    pub fn is_finished(&self) -> bool {
        matches!(&*self.state.lock(), State::Ended(_))
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
    body: Box<dyn FnOnce(Start) + Send>,
}

/// How the body of a detached task is called.
enum Start {
    Run,
    /// It is not, and its handle gets this panic.
    Panic(Payload),
    Drop,
}

impl DetachedTask {
    pub(crate) fn new<R, F>(f: F) -> (Self, TaskHandle<R>)
    where
        F: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        let state = Arc::new(Mutex::new(State::Running(Waiter::Nobody)));
        let handle = TaskHandle { state: Arc::clone(&state) };
        let body = move |start| {
            let outcome = match start {
                Start::Run => match panic::catch_unwind(AssertUnwindSafe(f)) {
                    Ok(result) => Outcome::Returned(result),
                    Err(payload) => Outcome::Panicked(payload),
                },
                Start::Panic(payload) => {
                    drop_quietly(f);
                    Outcome::Panicked(payload)
                }
                Start::Drop => {
                    drop_quietly(f);
                    Outcome::Dropped
                }
            };
            end(state, outcome);
        };
        (Self { body: Box::new(body) }, handle)
    }

    /// A task whose result nobody wants, and which does not panic.
    pub(crate) fn without_handle(f: impl FnOnce() + Send + 'static) -> Self {
        Self::new(f).0
    }

    /// Runs the task. The `yield_*` functions called inside it use `executor`.
    ///
    /// A panic of the task does not come out here: its handle reports it.
    pub fn run(self, executor: &dyn Executor) {
        current::enter(executor, 0, || self.run_here());
    }

    /// Ends the task, which could not be started, with a panic.
    pub(crate) fn refuse(mut self, payload: Payload) {
        self.call(Start::Panic(payload));
    }

    /// Runs the task in the context that is current.
    pub(crate) fn run_here(mut self) {
        self.call(Start::Run);
    }

    fn call(&mut self, start: Start) {
        let body = std::mem::replace(&mut self.body, Box::new(|_| {}));
        body(start);
    }
}

/// Leaves the outcome for the handle, or drops it if the handle is gone.
fn end<R>(state: Arc<Mutex<State<R>>>, outcome: Outcome<R>) {
    let former = std::mem::replace(&mut *state.lock(), State::Ended(outcome));
    if let State::Running(waiter) = former {
        waiter.wake();
    }
    drop_quietly(state);
}

impl Drop for DetachedTask {
    fn drop(&mut self) {
        self.call(Start::Drop);
    }
}

impl fmt::Debug for DetachedTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DetachedTask").finish_non_exhaustive()
    }
}
