//! One level of the nest in parallel, the others inline: undersubscription, the baseline.

use super::{Executor, ExecutorExt, FiberExecutor};
use crate::batch::Batch;
use crate::error::BuildError;
use crate::handle::DetachedTask;
use std::iter;

/// Runs the batches of one level of the nest on a pool of workers, and all others inline, in order.
///
/// This is what a program does that makes one of its loops parallel and leaves it at that; cores are idle whenever that
/// level is narrower than the machine. The pool is a [`FiberExecutor`], so that the difference measured is that of the
/// strategy.
#[derive(Debug)]
pub struct FlatExecutor {
    pool: FiberExecutor,
    level: usize,
}

impl FlatExecutor {
    /// Starts a pool of that many workers for the outermost level.
    ///
    /// # Errors
    ///
    /// As [`FiberExecutorBuilder::build`](crate::FiberExecutorBuilder::build).
    pub fn new(workers: usize) -> Result<Self, BuildError> {
        Ok(Self { pool: FiberExecutor::builder().workers(workers).thread_name("flat").build()?, level: 0 })
    }

    /// Makes another level the parallel one, counted from 0, the outermost. Default: 0.
    #[must_use]
    pub fn level(mut self, level: usize) -> Self {
        self.level = level;
        self
    }
}

impl Executor for FlatExecutor {
    fn size(&self) -> usize {
        self.pool.size()
    }

    fn persist(&self) -> bool {
        self.pool.persist()
    }

    fn shutdown(&self) {
        self.pool.shutdown();
    }

    fn run_batch(&self, batch: &Batch<'_>) {
        let tasks = iter::from_fn(|| batch.next_task());
        if batch.level() == self.level {
            self.pool.map(|task| task.run(self), tasks);
        } else {
            tasks.for_each(|task| task.run(self));
        }
    }

    fn spawn(&self, task: DetachedTask) {
        self.pool.spawn(task);
    }
}
