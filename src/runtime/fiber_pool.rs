#![expect(unsafe_code, reason = "retired fibers leave their stacks behind")]
//! The pool of a worker's idle fibers: they are kept alive between tasks, because making one costs several switches.

use super::Worker;
use super::fiber::FiberRef;
use super::stack::{StackPool, StackSpace};
use super::worker::no_stack;
use std::cell::Cell;
use std::io;
use std::iter;

/// The idle fibers of one worker, and the stacks to make more.
pub(super) struct FiberPool {
    newest: Cell<Option<FiberRef>>,
    /// Taken out while in use, so that no borrow of it can be met.
    stacks: Cell<Option<StackPool>>,
}

impl FiberPool {
    pub(super) fn new(stack_size: usize) -> Self {
        Self { newest: Cell::new(None), stacks: Cell::new(Some(StackPool::new(stack_size))) }
    }

    /// An idle fiber of `worker`: the one recycled last, or else a new one.
    ///
    /// # Panics
    ///
    /// Panics if the system does not give memory for a stack.
    #[inline]
    pub(super) fn take(&self, worker: &Worker) -> FiberRef {
        match self.newest.get() {
            Some(fiber) => {
                self.newest.set(fiber.next());
                fiber
            }
            None => self.create_or_panic(worker),
        }
    }

    #[cold]
    #[inline(never)]
    fn create_or_panic(&self, worker: &Worker) -> FiberRef {
        self.create(worker).unwrap_or_else(|error| no_stack(&error))
    }

    /// As [`take`](Self::take), for callers that must not unwind.
    ///
    /// # Errors
    ///
    /// What the system says when it does not give memory for a stack.
    #[inline]
    pub(super) fn try_take(&self, worker: &Worker) -> io::Result<FiberRef> {
        if self.newest.get().is_some() { Ok(self.take(worker)) } else { self.create(worker) }
    }

    /// Takes back a fiber that is free.
    #[inline]
    pub(super) fn recycle(&self, fiber: FiberRef) {
        fiber.set_next(self.newest.replace(Some(fiber)));
    }

    #[cold]
    #[inline(never)]
    fn create(&self, worker: &Worker) -> io::Result<FiberRef> {
        let space = self.with_stacks(StackPool::take)?;
        Ok(FiberRef::create(space, worker))
    }

    /// Retires all idle fibers but the `keep` that were recycled last, and gives their memory back to the system.
    pub(super) fn trim(&self, keep: usize) {
        let idle = iter::successors(self.newest.get(), |fiber| fiber.next());
        let Some(last_kept) = idle.take(keep).last() else { return };
        let kept = self.newest.replace(last_kept.next());
        last_kept.set_next(None);
        while let Some(space) = self.retire_one() {
            // SAFETY: the fiber that used the stack is gone.
            unsafe { space.decommit() };
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
