#![expect(unsafe_code, reason = "a task that borrows from its scope is on its way as one that does not")]
//! A detached task on its way to a backend.

use super::{TaskHandle, Ticket};
use crate::batch::{Payload, drop_quietly};
use crate::block_on::Awaiting;
use crate::control::{Limits, is_anybody_asking};
use crate::current;
use crate::erased::ErasedFn;
use crate::error::TaskError;
use crate::executor::Executor;
use crate::record::{Origin, Record};
use crate::spans::{DetachedSpan, Shown};
use std::any::type_name;
use std::fmt;
use std::panic::{self, AssertUnwindSafe, Location};
use std::ptr;
use std::sync::Arc;

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
    pub(crate) fn new<R, F>(f: F, mut origin: Origin) -> (Self, TaskHandle<R>)
    where
        F: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        let limits = Limits::below([], None);
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
        let span = DetachedSpan::new(&origin, idx);
        let body = move |start| {
            match start {
                Start::Run if ticket.begin() => {
                    let f = || {
                        let _span = span.enter();
                        f()
                    };
                    let outcome = panic::catch_unwind(AssertUnwindSafe(f)).map_err(|payload| {
                        let path = current::record().map(|record| record.path_of(&payload));
                        TaskError::unwound(payload, path.unwrap_or_else(|| ticket.path()))
                    });
                    ticket.end(outcome);
                }
                Start::Panic(payload) => {
                    span.discard();
                    drop_quietly(f);
                    let error = TaskError::unwound(payload, ticket.path());
                    ticket.refuse(error);
                }
                Start::Run | Start::Drop => {
                    span.discard();
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
    pub(crate) fn without_handle<F: FnOnce() + Send + 'static>(f: F) -> Self {
        Self::new(f, Origin::new(Location::caller(), Some(type_name::<F>)).show(Shown::NEVER)).0
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

    /// As [`run`](Self::run), on the stack of the running task: this one goes on when the task has ended, as if it waited for it,
    /// and whoever looks for what descends from those who wait has to know.
    pub(crate) fn run_within(self, executor: &dyn Executor) {
        let running = current::record().filter(|_| is_anybody_asking());
        let _awaiting = running.map(Awaiting::begin);
        if let Some(running) = running {
            Record::of(&self.origin, self.idx)
                .control()
                .into_iter()
                .for_each(|control| running.await_under(&control.share()));
        }
        self.run(executor);
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
