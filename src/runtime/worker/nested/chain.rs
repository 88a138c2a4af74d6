//! The fibers that hold a worker.
//!
//! # States
//!
//! | `Hold` | the fiber |
//! |---|---|
//! | `Not` | is idle, runs, or waits for something that is not its own |
//! | `Children` | holds; is suspended for its batch, if one is named, or for something else of its own |
//! | `Ready` | holds; all that it waited for has ended |
//! | `Turn` | holds; has called `yield_now` |
//!
//! The fibers of a worker that hold form a *chain*, linked from the *innermost* outwards by `Fiber::outer`. Each descends from
//! the next one out: it was started, or resumed, while that one held. So what descends from the innermost descends from all,
//! and only the innermost may be resumed. Another cannot be ready, unless what runs further in is a task that a descendant
//! waited for and does not any more; then it waits for its turn. All of this is touched by the worker's thread alone.
//!
//! When a chain of parents suspends, one after another, each to the one that had resumed it directly, the child comes
//! first. `Nest::lowest` is the outermost of those that did so since the loop last resumed a fiber; its parent goes right below.

use super::Worker;
use crate::batch::Header;
use crate::runtime::deque::Oldest;
use crate::runtime::fiber::FiberRef;
use crate::runtime::fiber_queue::FiberQueue;
use std::cell::Cell;
use std::ptr::NonNull;

/// Whether and how a fiber holds its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::runtime) enum Hold {
    Not,
    /// It waits for tasks of its own, those of a batch if they are one.
    Children(Option<NonNull<Header>>),
    /// All that it waited for has ended.
    Ready,
    /// It has called `yield_now`.
    Turn,
}

/// What a worker knows of the fibers that hold it.
pub(in crate::runtime::worker) struct Nest {
    innermost: Cell<Option<FiberRef>>,
    /// The innermost when the loop last resumed a fiber.
    base: Cell<Option<FiberRef>>,
    /// The outermost of those that have begun to hold the worker since.
    lowest: Cell<Option<FiberRef>>,
    /// Ready fibers that do not descend from the innermost.
    put_off: FiberQueue,
    /// How many notes there were of tasks that are waited for when these were put off.
    notes: Cell<usize>,
    /// The oldest jobs of other workers that do not descend from the innermost, each with the `epoch` that it was seen in.
    known: Box<[Cell<(u64, Oldest)>]>,
    /// Changes with the innermost.
    epoch: Cell<u64>,
}

impl Nest {
    pub(in crate::runtime::worker) fn new(workers: usize) -> Self {
        Self {
            innermost: Cell::new(None),
            base: Cell::new(None),
            lowest: Cell::new(None),
            put_off: FiberQueue::new(),
            notes: Cell::new(0),
            known: (0..workers).map(|_| Cell::default()).collect(),
            epoch: Cell::new(1),
        }
    }

    /// The innermost of those that hold the worker.
    pub(super) fn innermost(&self) -> Option<FiberRef> {
        self.innermost.get()
    }

    /// Notes that a fiber holds the worker, which has just been running, or is a parent of one that has.
    pub(super) fn enter(&self, fiber: FiberRef, hold: Hold) {
        fiber.set_hold(hold);
        fiber.set_outer(self.base.get());
        match self.lowest.replace(Some(fiber)) {
            Some(lowest) => lowest.set_outer(Some(fiber)),
            None => self.set_innermost(Some(fiber)),
        }
    }

    /// As [`enter`](Self::enter), for one that is further in than all.
    pub(super) fn enter_innermost(&self, fiber: FiberRef, hold: Hold) {
        fiber.set_hold(hold);
        fiber.set_outer(self.innermost.get());
        self.set_innermost(Some(fiber));
    }

    /// Notes that the innermost fiber goes on. What was put off because of it may have its turn next.
    pub(super) fn leave(&self, innermost: FiberRef, worker: &Worker) {
        innermost.set_hold(Hold::Not);
        self.set_innermost(innermost.outer());
        self.recall(worker);
    }

    fn set_innermost(&self, fiber: Option<FiberRef>) {
        self.innermost.set(fiber);
        self.forget();
    }

    /// Has everything looked at again at other workers.
    pub(super) fn forget(&self) {
        self.epoch.set(self.epoch.get() + 1);
    }

    /// Notes that another worker's oldest job does not descend from the innermost.
    pub(super) fn remember(&self, victim: usize, oldest: Oldest) {
        self.known[victim].set((self.epoch.get(), oldest));
    }

    /// What is known of another worker's oldest job.
    pub(super) fn known(&self, victim: usize) -> Oldest {
        let (epoch, oldest) = self.known[victim].get();
        if epoch == self.epoch.get() { oldest } else { Oldest::default() }
    }

    /// Puts off a ready fiber that does not descend from the innermost.
    pub(super) fn put_off(&self, fiber: FiberRef) {
        self.put_off.push(fiber);
    }

    /// Has what was put off looked at again if there are new notes of tasks that are waited for, `so_far` in all.
    pub(super) fn recall_if_new(&self, so_far: usize, worker: &Worker) {
        if self.notes.replace(so_far) != so_far {
            self.recall(worker);
        }
    }

    /// As [`recall_if_new`](Self::recall_if_new), in any case.
    fn recall(&self, worker: &Worker) {
        while let Some(fiber) = self.put_off.pop() {
            worker.push_ready(fiber);
        }
    }

    /// Notes that the loop is about to start or resume a fiber.
    pub(super) fn begin(&self) {
        self.base.set(self.innermost.get());
        self.lowest.set(None);
    }
}
