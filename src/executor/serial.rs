//! Everything inline, in order: the reference for results, and for debugging.

use super::Executor;
use crate::batch::Batch;
use crate::handle::DetachedTask;
use std::sync::atomic::{AtomicBool, Ordering};

/// Runs every task on the calling thread, in input order, as a loop would.
///
/// A batch whose task panics runs no further tasks, as on every backend. `submit` runs the task before it returns.
#[derive(Debug, Default)]
pub struct SerialExecutor {
    closed: AtomicBool,
}

impl SerialExecutor {
    /// Makes a serial executor.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Executor for SerialExecutor {
    fn size(&self) -> usize {
        1
    }

    fn persist(&self) -> bool {
        true
    }

    fn shutdown(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    fn run_batch(&self, batch: &Batch<'_>) {
        // Tasks of a batch accepted before the shutdown are work in hand: their own batches still run.
        let accepted = batch.level() > 0 || !self.closed.load(Ordering::Relaxed);
        assert!(accepted, "the executor has been shut down: build another one to run more tasks");
        while let Some(task) = batch.next_task() {
            task.run(self);
        }
    }

    fn spawn(&self, task: DetachedTask) {
        if !self.closed.load(Ordering::Relaxed) {
            task.run(self);
        }
    }
}
