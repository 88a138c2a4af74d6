//! Who waits for a detached task: what a worker that nests has to know, so that it may run the task.
//!
//! A detached task belongs to nobody, so it descends from no fiber that waits on a worker. But if a descendant of such a
//! fiber waits for the task's handle, the fiber goes on only after the task has ended. Then the task has to run, wherever
//! the fiber waits, as if it descended from it. The *awaiter* is noted at the control of the task that is waited for, from
//! the poll that finds the task unfinished until the wait ends.
//!
//! Noted are addresses, which are compared and never followed. The comparison is with the address of a task that waits on the
//! worker that compares. If it is among them, then because this very task is an ancestor of the awaiter, or because an
//! earlier task with the same record was. The latter cannot be: the awaiter took its note back before its wait ended, so
//! before its ancestors did, and the worker saw these end before it could run the next task with that record.

use super::Control;
use crate::record::Record;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many runtimes ask.
static ASKING: AtomicUsize = AtomicUsize::new(0);
/// How many notes there are.
static NOTES: AtomicUsize = AtomicUsize::new(0);
/// How many there have been.
static NOTED: AtomicUsize = AtomicUsize::new(0);

/// A chain of tasks each of which is waited for in the next is not followed further than this.
const LONGEST_CHAIN: usize = 64;

/// The task that waits for a detached one.
#[derive(Debug)]
pub(super) struct Awaiter {
    /// The addresses of its record and of those above.
    records: Vec<usize>,
    /// The controls of the detached tasks that it is part of, among others.
    controls: Vec<Arc<Control>>,
}

/// A share in the interest in awaiters.
#[derive(Debug)]
pub(crate) struct Asking(());

impl Asking {
    pub(crate) fn begin() -> Self {
        ASKING.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        ASKING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether anybody waits for a detached task.
pub(crate) fn is_anything_awaited() -> bool {
    // ORDERING: Relaxed, after a look at `notes_so_far`. Notes are read under their lock.
    NOTES.load(Ordering::Relaxed) > 0
}

/// Changes when somebody begins to wait.
pub(crate) fn notes_so_far() -> usize {
    // ORDERING: Acquire, so that looks that follow see what was noted; pairs with `note_awaiter`, as in `runtime::tally`.
    NOTED.load(Ordering::Acquire)
}

/// Whether awaiters are to be noted.
pub(crate) fn is_anybody_asking() -> bool {
    ASKING.load(Ordering::Relaxed) > 0
}

impl Control {
    /// Notes that the running task `record` waits for the detached task under this control. Returns whether it was the first
    /// time, so that the note is to be taken back.
    pub(crate) fn note_awaiter(&self, record: &Record) -> bool {
        let mut awaiter = self.awaiter.lock();
        if awaiter.as_ref().is_some_and(|awaiter| awaiter.records.first() == Some(&record.address())) {
            return false;
        }
        let (mut records, mut controls) = (Vec::new(), Vec::<Arc<Self>>::new());
        record.visit_ancestry(|record, control| {
            records.push(record);
            if let Some(control) = control
                && !controls.last().is_some_and(|last| std::ptr::eq(&**last, control))
            {
                controls.push(control.share());
            }
        });
        let former = awaiter.replace(Box::new(Awaiter { records, controls }));
        if former.is_none() {
            NOTES.fetch_add(1, Ordering::Relaxed);
        }
        // ORDERING: Release publishes the number of notes; pairs with `notes_so_far`. The lock publishes the note.
        NOTED.fetch_add(1, Ordering::Release);
        drop(awaiter);
        drop(former);
        true
    }

    /// Takes the note of `record` back.
    pub(crate) fn forget_awaiter(&self, record: &Record) {
        let mut awaiter = self.awaiter.lock();
        let is_own = awaiter.as_ref().is_some_and(|awaiter| awaiter.records.first() == Some(&record.address()));
        let former = if is_own { awaiter.take() } else { None };
        drop(awaiter);
        if former.is_some() {
            NOTES.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whether the detached task under this control is waited for by a task that descends from the one at that address.
    pub(crate) fn is_awaited_below(&self, holder: usize) -> bool {
        is_anything_awaited() && self.is_awaited_within(holder, LONGEST_CHAIN)
    }

    fn is_awaited_within(&self, holder: usize, steps: usize) -> bool {
        let controls = match &*self.awaiter.lock() {
            None => return false,
            Some(awaiter) if awaiter.records.contains(&holder) => return true,
            Some(awaiter) => awaiter.controls.clone(),
        };
        steps > 0 && controls.iter().any(|control| control.is_awaited_within(holder, steps - 1))
    }
}
