#![expect(unsafe_code, reason = "batches are handed over by raw pointers")]
//! Running a batch on an executor.

use super::{Arrival, Batch, Header};
use crate::control::stop_if_told;
use crate::current;
use crate::executor::Executor;
use crate::handle::DetachedTask;
use crate::waiter::{self, Helper, Parking};
use std::panic::{self, AssertUnwindSafe};
use std::ptr::NonNull;
use std::thread;

/// Runs the tasks of a batch in order on the calling thread, without suspending.
///
/// # Safety
///
/// `header` is live and known to the caller alone.
#[cold]
#[inline(never)]
pub(crate) unsafe fn run_inline(header: NonNull<Header>) {
    // SAFETY: as the caller says.
    unsafe { hand_to(&Inline, header) };
}

/// Runs a batch on `executor` and returns when all its tasks have ended.
///
/// # Safety
///
/// `header` is live and known to the caller alone.
pub(crate) unsafe fn run_on<E: Executor + ?Sized>(executor: &E, header: NonNull<Header>) {
    stop_if_told();
    if current::worker().is_some() {
        if thread::panicking() {
            // SAFETY: as the caller says. A fiber never suspends while its thread unwinds.
            return unsafe { run_inline(header) };
        }
        if !executor.suspends() {
            let batch = Handover(header);
            return waiter::elsewhere(Helper::Own, move || {
                let Handover(header) = { batch };
                // SAFETY: as the caller says: the frame of the batch waits for this call.
                unsafe { hand_to(executor, header) };
            });
        }
    }
    // SAFETY: as the caller says.
    unsafe { hand_to(executor, header) };
}

/// Hands a batch to `executor`, on this thread, and returns when all its tasks have ended.
///
/// # Safety
///
/// As [`run_on`].
unsafe fn hand_to<E: Executor + ?Sized>(executor: &E, header: NonNull<Header>) {
    let parking = Parking::here();
    // SAFETY: live, says the caller.
    let erased = unsafe { header.as_ref() };
    // SAFETY: nobody else knows the batch.
    unsafe { erased.set_waiter(parking.waiter()) };
    // SAFETY: nobody else knows the batch.
    let origin = unsafe { erased.origin_mut() };
    match current::record() {
        Some(record) if !thread::panicking() => origin.inherit(record),
        // What runs in a destructor while its task unwinds runs to its end.
        record => origin.shield(record),
    }
    let batch = Batch::new(header, current::level_on(executor.identity()), &parking);
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| executor.run_batch(&batch)));
    // Tasks that the executor did not ask for are dropped, which the parent is told.
    while let Some(task) = batch.next_task() {
        drop(task);
    }
    let joined = batch.is_joined() || {
        // SAFETY: the parent arrives for itself, once.
        let arrival = unsafe { Header::count_down(header, 1) };
        arrival == Arrival::Last
    };
    if joined && outcome.is_err() {
        // SAFETY: all have arrived, so the batch is the parent's alone.
        unsafe { &mut *header.as_ptr() }.drop_failures();
    }
    if let Err(payload) = outcome {
        panic::resume_unwind(payload);
    }
    assert!(joined, "the executor returned from `run_batch` before every task of the batch had ended");
}

/// The executor of tasks that a fiber must not suspend for, or cannot: a loop.
#[derive(Debug)]
pub(crate) struct Inline;

impl Executor for Inline {
    fn size(&self) -> usize {
        1
    }

    fn persist(&self) -> bool {
        true
    }

    fn shutdown(&self) {}

    fn run_batch(&self, batch: &Batch<'_>) {
        // Where fibers were short, there may be some by now.
        if !thread::panicking() && current::worker().is_some_and(|worker| worker.run_if_supplied(batch)) {
            return;
        }
        while let Some(task) = batch.next_task() {
            task.run(self);
        }
        if let Some(worker) = current::worker() {
            worker.count_inline_tasks(batch.len());
        }
    }

    fn spawn(&self, task: DetachedTask) {
        task.run_within(self);
    }

    fn suspends(&self) -> bool {
        true
    }
}

/// A batch on its way to the thread that hands it to its executor.
struct Handover(NonNull<Header>);

// SAFETY: the pointer blocks the auto trait. The header is `Sync`, and the thread is the only one to know the batch.
unsafe impl Send for Handover {}
