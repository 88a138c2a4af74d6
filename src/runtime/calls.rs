#![expect(unsafe_code, reason = "batches are handed over by raw pointers")]
//! Calls of tasks that run here, and calls that are fed task by task.

use super::deque::Job;
use super::root::RootBatch;
use super::shared::Shared;
use super::worker::Worker;
use crate::batch::Batch;
use crate::current;
use crate::handle::DetachedTask;
use std::ptr::NonNull;
use std::sync::Arc;

/// A call that is fed task by task.
pub(crate) struct RuntimeFeed {
    pub(super) shared: Arc<Shared>,
    pub(super) call: Call,
}

/// How a call keeps the runtime from ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// It is a root, counted out when the feed is dropped.
    Root,
    /// It is made inside a task.
    Nested,
}

impl RuntimeFeed {
    /// Starts a task of the call: as this worker's newest if the caller is one of the runtime's.
    pub(crate) fn spawn(&self, task: DetachedTask) {
        self.shared.gate.enter_nested();
        let batch = RootBatch::for_task(task, Arc::clone(&self.shared));
        let job = Job { batch, tasks: 0..1 };
        let here = current::worker().filter(|worker| worker.belongs_to(NonNull::from(&*self.shared)));
        match here {
            // The deque of a worker that nests holds nothing but batches of the fibers that wait there.
            Some(worker) if !self.shared.nests() => worker.push(job),
            _ => self.shared.inject(job, None),
        }
    }
}

impl Drop for RuntimeFeed {
    fn drop(&mut self) {
        if self.call == Call::Root {
            self.shared.leave();
        }
    }
}

/// The worker that runs the caller, if that is a task of the executor `owner` on a fiber of its own.
fn home_of<'a>(owner: usize) -> Option<&'a Worker> {
    // SAFETY: a worker outlives its fibers, and the caller runs on one of them.
    let worker = current::home().map(|worker| unsafe { worker.as_ref() });
    worker.filter(|worker| worker.owner() == owner)
}

/// A feed of the runtime whose executor is `owner`, if the caller is a task of it.
pub(crate) fn open_at_home(owner: usize) -> Option<RuntimeFeed> {
    home_of(owner).map(Worker::open)
}

/// Runs a batch as a fork if the caller is a task of the executor `owner`. Returns whether it is.
#[must_use]
pub(crate) fn run_at_home(owner: usize, batch: &Batch<'_>) -> bool {
    let Some(worker) = home_of(owner) else {
        return false;
    };
    let header = batch.claim_all();
    // SAFETY: the batch is live until `run_batch` returns, and claiming all of it leaves nobody else to know it.
    unsafe { worker.fork::<0>(header) };
    batch.note_joined();
    true
}

/// Whether the caller runs on a fiber of the executor `owner`.
pub(crate) fn is_at_home(owner: usize) -> bool {
    current::worker().is_some_and(|worker| worker.owner() == owner)
}
