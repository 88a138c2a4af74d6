#![expect(unsafe_code, reason = "retired fibers leave their stacks behind")]
//! The pool of a worker's idle fibers: they are kept alive between tasks, because making one costs several switches.

use super::Worker;
use super::fiber::FiberRef;
use super::fiber_limit::{Ask, Refusal};
use super::stack::{StackPool, StackSpace};
use std::cell::Cell;
use std::iter;

/// After the system refused a stack, this many requests are refused without asking it again.
const UNASKED: u32 = 1000;

/// The idle fibers of one worker, and the stacks to make more.
pub(super) struct FiberPool {
    newest: Cell<Option<FiberRef>>,
    /// Taken out while in use, so that no borrow of it can be met.
    stacks: Cell<Option<StackPool>>,
    /// Whether the latest attempt to make a fiber failed.
    short: Cell<bool>,
    /// How many more requests are refused without asking the system, because it refused lately.
    unasked: Cell<u32>,
}

impl FiberPool {
    pub(super) fn new(stack_size: usize) -> Self {
        Self {
            newest: Cell::new(None),
            stacks: Cell::new(Some(StackPool::new(stack_size))),
            short: Cell::new(false),
            unasked: Cell::new(0),
        }
    }

    /// An idle fiber of `worker`: the one recycled last, or else a new one, if there may be one more.
    #[inline]
    pub(super) fn take(&self, worker: &Worker) -> Option<FiberRef> {
        match self.newest.get() {
            Some(fiber) => {
                self.newest.set(fiber.next());
                Some(fiber)
            }
            None => self.create_unless_refused_lately(worker),
        }
    }

    /// Whether there is an idle fiber, if need be a new one.
    pub(super) fn is_supplied(&self, worker: &Worker) -> bool {
        let fiber = self.take(worker);
        fiber.inspect(|&fiber| self.recycle(fiber)).is_some()
    }

    /// Adds a fiber to the idle ones.
    pub(super) fn replenish(&self, worker: &Worker, ask: Ask) -> Result<(), Refusal> {
        self.create(worker, ask).map(|fiber| self.recycle(fiber))
    }

    /// Whether the worker has been refused a fiber, and not been given one since.
    #[inline]
    pub(super) fn is_short(&self) -> bool {
        self.short.get()
    }

    /// Notes that work may be tried for which there may be no fiber.
    pub(super) fn make_light_of_shortage(&self) {
        self.short.set(false);
    }

    /// Takes back a fiber that is free.
    #[inline]
    pub(super) fn recycle(&self, fiber: FiberRef) {
        fiber.set_next(self.newest.replace(Some(fiber)));
    }

    /// A new fiber. Where the system has refused one, only some of the requests that follow bother it again: each costs as
    /// much as many a task.
    #[cold]
    #[inline(never)]
    fn create_unless_refused_lately(&self, worker: &Worker) -> Option<FiberRef> {
        if let Some(left) = self.unasked.get().checked_sub(1) {
            self.unasked.set(left);
            self.short.set(true);
            return None;
        }
        self.create(worker, Ask::Within).ok()
    }

    fn create(&self, worker: &Worker, ask: Ask) -> Result<FiberRef, Refusal> {
        let limit = worker.fiber_limit();
        let space = limit.enter(ask).and_then(|()| {
            self.with_stacks(StackPool::take).map_err(|error| {
                limit.leave();
                self.unasked.set(UNASKED);
                Refusal::System(error)
            })
        });
        self.short.set(space.is_err());
        Ok(FiberRef::create(space?, worker))
    }

    /// Retires all idle fibers but the `keep` that were recycled last, and gives their memory back to the system.
    pub(super) fn trim(&self, worker: &Worker, keep: usize) {
        let idle = iter::successors(self.newest.get(), |fiber| fiber.next());
        let Some(last_kept) = idle.take(keep).last() else { return };
        let kept = self.newest.replace(last_kept.next());
        last_kept.set_next(None);
        while let Some(space) = self.retire_one() {
            // SAFETY: the fiber that used the stack is gone.
            unsafe { space.decommit() };
            worker.fiber_limit().leave();
            self.with_stacks(|stacks| stacks.give_back(space));
        }
        self.newest.set(kept);
    }

    /// Ends an idle fiber and gives the stack that it used.
    fn retire_one(&self) -> Option<StackSpace> {
        let fiber = self.newest.get()?;
        self.newest.set(fiber.next());
        // SAFETY: nothing refers to an idle fiber but the pool, which has just let go of it.
        Some(unsafe { fiber.retire() })
    }

    fn with_stacks<R>(&self, use_stacks: impl FnOnce(&mut StackPool) -> R) -> R {
        let mut stacks = self.stacks.take().expect("nothing that uses the stacks comes back here");
        let result = use_stacks(&mut stacks);
        self.stacks.set(Some(stacks));
        result
    }
}

impl Drop for FiberPool {
    /// Ends all idle fibers. The worker drops its pool when no other fibers are left.
    fn drop(&mut self) {
        while self.retire_one().is_some() {}
    }
}
