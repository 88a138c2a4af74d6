//! Detached tasks and the handles by which their results are had.

mod detached;
mod ticket;

pub(crate) use detached::Belonging;
pub use detached::DetachedTask;
pub(crate) use ticket::Ticket;

use crate::block_on::Subject;
use crate::error::TaskError;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

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
    #[track_caller]
    pub fn join(self) -> Result<R, TaskError> {
        self.ticket.join(Subject::Other)
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
