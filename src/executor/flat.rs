//! One level of the nest in parallel, the others inline: undersubscription, the baseline.

use super::in_hand::{Call, InHand};
use super::{Executor, Feed, FiberExecutor, map_on};
use crate::batch::{Batch, Task};
use crate::current;
use crate::error::BuildError;
use crate::handle::DetachedTask;
use crate::record::Origin;
use crate::spans::Shown;
use std::iter;
use std::panic::Location;
use std::sync::Arc;

/// Runs the batches of one level of the nest on a pool of workers, and all others inline, in order.
///
/// This is what a program does that makes one of its loops parallel and leaves it at that; cores are idle whenever that
/// level is narrower than the machine. The pool is a [`FiberExecutor`], so that the difference measured is that of the
/// strategy. A submitted task runs on the pool, and counts as the outermost level.
///
/// Dropping the executor shuts it down and joins its threads.
#[derive(Debug)]
pub struct FlatExecutor {
    flat: Flat,
}

impl FlatExecutor {
    /// Starts a pool of that many workers for the outermost level.
    ///
    /// # Errors
    ///
    /// As [`FiberExecutorBuilder::build`](crate::FiberExecutorBuilder::build).
    pub fn new(workers: usize) -> Result<Self, BuildError> {
        let pool = FiberExecutor::builder().workers(workers).thread_name("flat").build()?;
        Ok(Self { flat: Flat { pool: Arc::new(pool), level: 0, in_hand: InHand::default() } })
    }

    /// Makes another level the parallel one, counted from 0, the outermost. Default: 0.
    #[must_use]
    pub fn level(mut self, level: usize) -> Self {
        self.flat.level = level;
        self
    }
}

impl Executor for FlatExecutor {
    fn size(&self) -> usize {
        self.flat.size()
    }

    fn persist(&self) -> bool {
        self.flat.persist()
    }

    fn shutdown(&self) {
        self.flat.shutdown();
    }

    fn run_batch(&self, batch: &Batch<'_>) {
        self.flat.run_batch(batch);
    }

    fn spawn(&self, task: DetachedTask) {
        self.flat.spawn(task);
    }

    fn identity(&self) -> *const () {
        self.flat.identity()
    }

    fn open(&self, level: usize) -> Option<Feed> {
        self.flat.open(level)
    }

    fn suspends(&self) -> bool {
        true
    }
}

impl Drop for FlatExecutor {
    fn drop(&mut self) {
        self.flat.in_hand.close();
        if !current::is_task_of(self.identity()) {
            self.flat.in_hand.wait();
            self.flat.pool.shutdown();
        }
    }
}

/// The executor as its tasks hold it.
#[derive(Clone, Debug)]
struct Flat {
    pool: Arc<FiberExecutor>,
    level: usize,
    /// The outermost batches and the submitted tasks.
    in_hand: InHand,
}

impl Flat {
    /// Lets the workers of the pool end if no more work can come.
    fn close_if_done(&self) {
        if self.in_hand.is_done() {
            self.pool.close();
        }
    }
}

impl Executor for Flat {
    fn size(&self) -> usize {
        self.pool.size()
    }

    fn persist(&self) -> bool {
        self.pool.persist()
    }

    fn shutdown(&self) {
        self.in_hand.close();
        self.close_if_done();
        if !current::is_in_task() {
            self.in_hand.wait();
            self.pool.shutdown();
        }
    }

    fn run_batch(&self, batch: &Batch<'_>) {
        let call = self.in_hand.enter_or_panic(batch.level() > 0);
        let tasks = iter::from_fn(|| batch.next_task());
        if batch.level() == self.level {
            let origin = Origin::new(Location::caller(), None).show(Shown::NEVER);
            map_on(&*self.pool, |task: Task<'_>| task.run(self), tasks, origin);
        } else {
            tasks.for_each(|task| task.run(self));
        }
        drop(call);
        self.close_if_done();
    }

    fn spawn(&self, task: DetachedTask) {
        let Some(call) = self.in_hand.enter(task.is_in_hand()) else { return };
        if task.is_in_hand() && task.level() != self.level {
            return task.run(self);
        }
        let flat = self.clone();
        let on_pool = DetachedTask::without_handle(move || {
            task.run(&flat);
            drop(call);
            flat.close_if_done();
        });
        self.pool.spawn(on_pool);
    }

    fn identity(&self) -> *const () {
        self.in_hand.identity()
    }

    fn open(&self, level: usize) -> Option<Feed> {
        let call = self.in_hand.enter(level > 0)?;
        Some(Feed::in_hand(OpenCall { call: Some(call), flat: self.clone() }))
    }

    fn suspends(&self) -> bool {
        true
    }
}

/// A call that is fed task by task.
struct OpenCall {
    call: Option<Call>,
    flat: Flat,
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        drop(self.call.take());
        self.flat.close_if_done();
    }
}
