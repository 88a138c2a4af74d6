#![expect(unsafe_code, reason = "batches are handed over by raw pointers")]
//! Running a batch on an executor.

use super::{Arrival, Batch, Header};
use crate::current;
use crate::executor::Executor;
use crate::waiter::{self, Parking};
use std::panic::{self, AssertUnwindSafe};
use std::ptr::NonNull;

/// Runs the tasks of a batch in order on the calling thread, without suspending.
///
/// # Safety
///
/// `header` is live and known to the caller alone.
#[cold]
pub(crate) unsafe fn run_inline(header: NonNull<Header>) {
    // SAFETY: live, says the caller.
    let erased = unsafe { header.as_ref() };
    for idx in 0..erased.len() {
        // SAFETY: each index is run once.
        unsafe { Header::run_one(header, idx) };
    }
}

/// Runs a batch on `executor` and returns when all its tasks have ended.
///
/// # Safety
///
/// `header` is live and known to the caller alone.
pub(crate) unsafe fn run_on<E: Executor + ?Sized>(executor: &E, header: NonNull<Header>) {
    if current::worker().is_some() {
        if std::thread::panicking() {
            // SAFETY: as the caller says. A fiber never suspends while its thread unwinds.
            return unsafe { run_inline(header) };
        }
        if !executor.suspends() {
            let batch = Handover(header);
            return waiter::block_elsewhere(move || {
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
    if let Err(payload) = outcome {
        panic::resume_unwind(payload);
    }
    assert!(joined, "the executor returned from `run_batch` before every task of the batch had ended");
}

/// A batch on its way to the thread that hands it to its executor.
struct Handover(NonNull<Header>);

// SAFETY: the pointer blocks the auto trait. The header is `Sync`, and the thread is the only one to know the batch.
unsafe impl Send for Handover {}
