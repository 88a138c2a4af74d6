//! Everything inline, in order: the reference for results, and for debugging.

use super::in_hand::InHand;
use super::{Executor, Feed};
use crate::batch::Batch;
use crate::current;
use crate::handle::DetachedTask;

/// Runs every task on the calling thread, in input order, as a loop would.
///
/// A batch whose task panics runs no further tasks, as on every backend. `submit` runs the task before it returns.
#[derive(Debug, Default)]
pub struct SerialExecutor {
    in_hand: InHand,
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
        self.in_hand.close();
        if !current::is_in_task() {
            self.in_hand.wait();
        }
    }

    fn run_batch(&self, batch: &Batch<'_>) {
        let _call = self.in_hand.enter_or_panic(batch.level() > 0);
        while let Some(task) = batch.next_task() {
            task.run(self);
        }
    }

    fn spawn(&self, task: DetachedTask) {
        if let Some(_call) = self.in_hand.enter(task.is_in_hand()) {
            task.run(self);
        }
    }

    fn identity(&self) -> *const () {
        self.in_hand.identity()
    }

    fn open(&self, level: usize) -> Option<Feed> {
        self.in_hand.enter(level > 0).map(Feed::in_hand)
    }

    fn suspends(&self) -> bool {
        true
    }
}
