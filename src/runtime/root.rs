#![expect(unsafe_code, reason = "the batch of a detached task owns itself")]
//! A detached task as a batch, since batches are what workers run.

use super::Shared;
use crate::batch::{Arrival, Header, Siblings, Tasks};
use crate::handle::DetachedTask;
use crate::spans::Shown;
use crate::waiter::Waiter;
use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::Arc;

/// A batch of one task that nobody waits for. It lies on the heap and frees itself when the task has ended.
pub(crate) type RootBatch = Siblings<Root>;

/// A detached task and the runtime that counts it.
pub(crate) struct Root {
    task: Cell<Option<DetachedTask>>,
    shared: Arc<Shared>,
}

impl Tasks for Root {
    const LEN: Option<usize> = Some(1);

    unsafe fn run_task(&self, _idx: usize) {
        if let Some(task) = self.task.take() {
            task.run_here();
        }
    }
}

impl RootBatch {
    /// Makes the batch. Its one task has to be run or arrived for.
    pub(crate) fn for_task(task: DetachedTask, shared: Arc<Shared>) -> NonNull<Header> {
        let origin = task.origin().show(Shown::NEVER);
        let root = Box::new(Siblings::new(1, Root { task: Cell::new(Some(task)), shared }, origin));
        let batch = NonNull::from(Box::leak(root));
        // SAFETY: just made.
        let header = unsafe { batch.as_ref() }.header();
        // SAFETY: just made.
        let erased = unsafe { header.as_ref() };
        // SAFETY: nobody else knows the batch.
        unsafe { erased.set_waiter(Waiter::Root(batch)) };
        // SAFETY: nobody waits, so the parent arrives at once; the task is outstanding.
        let arrival = unsafe { Header::count_down(header, 1) };
        debug_assert_eq!(arrival, Arrival::Earlier);
        header
    }

    /// Frees the batch after its task has ended, and counts the root out.
    ///
    /// # Safety
    ///
    /// `batch` came from [`for_task`](Self::for_task), and its task has arrived.
    pub(crate) unsafe fn end(batch: NonNull<Self>) {
        // SAFETY: it was made from a box, and the last party to arrive is the only one left to know it.
        let root = unsafe { Box::from_raw(batch.as_ptr()) };
        let (Root { task, shared }, panicked) = root.into_parts();
        if let (Some(task), Some((payload, _))) = (task.take(), panicked) {
            task.refuse(payload);
        }
        shared.leave();
    }
}
