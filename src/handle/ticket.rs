//! Where a detached task leaves its outcome, and its handle finds it.

use crate::block_on::{Subject, block_on, wait_for};
use crate::control::{self, Limits, Stopped};
use crate::current;
use crate::error::TaskError;
use crate::path::TaskPath;
use crate::process::{self, Process};
use crate::record::{Origin, Record};
use crate::scope::Tally;
use crate::timer;
use parking_lot::Mutex;
use std::future::{self, Future};
use std::mem;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

/// What a detached task and its handle share.
pub(crate) struct Ticket<R> {
    state: Mutex<State<R>>,
    limits: Limits,
    pub(super) origin: Origin,
    pub(super) idx: usize,
    /// The scope that is told of a panic that nobody asked for.
    pub(super) tally: Option<Arc<Tally>>,
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
    pub(super) fn begin(&self) -> bool {
        let stopped = self.limits.control().stopped();
        let mut state = self.state.lock();
        let begins = matches!(state.phase, Phase::Queued) && stopped.is_none();
        if begins {
            state.phase = Phase::Running;
        }
        begins
    }

    /// Leaves the outcome for the handle.
    pub(super) fn end(&self, outcome: Result<R, TaskError>) {
        self.end_from(|phase| matches!(phase, Phase::Running), outcome);
    }

    /// Ends a task that has not started, and will not.
    pub(super) fn end_unstarted(&self) {
        if self.is_queued() {
            let error = match self.limits.control().stopped() {
                Some(why) => TaskError::stopped(why, self.path()),
                None => TaskError::shut_down(self.path()),
            };
            // It may have started meanwhile, in the hands of another thread.
            self.end_from(|phase| matches!(phase, Phase::Queued), Err(error));
        }
    }

    /// Ends a task that could not be started.
    pub(super) fn refuse(&self, error: TaskError) {
        self.end_from(|phase| matches!(phase, Phase::Queued), Err(error));
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

    pub(super) fn path(&self) -> TaskPath {
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
        if control::is_anybody_asking()
            && let Some(record) = current::record()
        {
            record.await_under(self.limits.control());
        }
        Poll::Pending
    }

    /// Waits for the outcome. `subject` says whether the task is one of the caller's own scope.
    #[track_caller]
    pub(crate) fn join(&self, subject: Subject) -> Result<R, TaskError> {
        if self.must_not_wait() {
            return Err(TaskError::unwinding(self.path()));
        }
        wait_for(future::poll_fn(|context| self.poll(context)), subject)
    }

    /// Waits for the outcome, but not longer than that; `None` if it was not there in time.
    #[track_caller]
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
