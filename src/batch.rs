//! A batch: the sibling tasks of one call, with their types erased.
//!
//! This is the single meeting point of user functions and backends. A call such as `yield_taskmap` builds [`Siblings`] in
//! its own frame: a [`Header`] that any backend understands, and the typed [`Tasks`] behind it. Backends see the header
//! only, as a [`Batch`] or, one by one, as [`Task`]s; the fiber runtime goes through the header's table of functions.
//!
//! # Who may touch what when
//!
//! - The frame belongs to the parent until the batch is handed over, and again once the join counter has reached zero.
//! - In between, whoever claimed a task index owns that task's item and result slot, until it arrives for that task.
//! - The waiter is written by the parent before it arrives, and read only by the last party to arrive. So a parent that need
//!   not wait need not say who would.
//! - Failures are pushed to a list that only the parent takes apart, after the join.

mod header;
mod join_counter;
mod map;
mod once;
mod run;
mod siblings;
mod task;

pub(crate) use header::{Header, Serve};
pub(crate) use join_counter::{Arrival, JoinCounter};
pub(crate) use map::{Items, ItemsInFrame, MapTasks};
pub(crate) use once::{BothTasks, OnceTask};
pub(crate) use run::{Inline, run_inline, run_on};
pub(crate) use siblings::Siblings;
pub use task::{Batch, Task};

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};

/// What a panic carries.
pub(crate) type Payload = Box<dyn Any + Send>;

/// The typed tasks of a batch.
pub(crate) trait Tasks {
    /// The length of every batch of such tasks, if it is known beforehand.
    const LEN: Option<usize> = None;

    /// Runs the task `idx`: moves its item out and its result in. A panic of the user's function passes through.
    ///
    /// # Safety
    ///
    /// - `idx` is below the length of the batch.
    /// - The caller claimed `idx`: no two calls for one batch have the same.
    #[expect(unsafe_code, reason = "tasks are moved out of a shared place")]
    unsafe fn run_task(&self, idx: usize);
}

/// Drops a value whose destructor may panic, on a stack that must not unwind.
pub(crate) fn drop_quietly<T>(value: T) {
    if let Err(second) = panic::catch_unwind(AssertUnwindSafe(|| drop(value))) {
        // The payload of a panicking destructor could panic in turn: there is an end to the care one can take.
        let _ = std::mem::ManuallyDrop::new(second);
    }
}
