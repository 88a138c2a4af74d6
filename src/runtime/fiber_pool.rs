#![expect(unsafe_code, reason = "retired fibers leave their stacks behind")]
//! The pool of a worker's idle fibers: they are kept alive between tasks, because making one costs several switches.
//!
//! # Where they are
//!
//! The idle fibers are a list, and who runs notes the first of them: the running fiber, or the pool while the loop runs. So a fork
//! neither takes its child out of the list nor puts it back. The child is the first idle fiber, runs, and has what follows it for
//! its own idle fibers; when it is idle again, it is the first of its parent's again. A child that is not, because it waits for
//! something, leaves to its parent what it has noted as first, and so does a fiber that comes back to the loop, or gives way to
//! another.
//!
//! # Giving memory back
//!
//! After a burst of suspended tasks the pool holds a fiber for each, and each holds the pages that its task touched. What
//! is idle beyond a small reserve ends, and its memory is given back:
//!
//! - by a worker that goes to sleep, at once ([`trim`](FiberPool::trim));
//! - by a worker that does not, when it has not needed them for [`SPARE_TIME`] ([`tend`](FiberPool::tend)). To know that
//!   without counting at each task, it sets the fibers beyond the reserve aside as *spare*. A pool that runs out takes
//!   them all back, and the time begins anew; those still there at its end were not needed.

use super::Worker;
use super::fiber::FiberRef;
use super::fiber_limit::{Ask, Refusal};
use super::stack::{StackPool, StackSpace};
use std::cell::Cell;
use std::iter;
use std::time::{Duration, Instant};

/// Idle fibers that a worker keeps, unless another one may want them.
pub(super) const KEPT_FIBERS: usize = 64;
/// How long idle fibers beyond those are kept by a worker that does not sleep.
const SPARE_TIME: Duration = Duration::from_millis(100);
/// How many fibers are retired together: few enough that a worker which has other things to do is not kept from them.
const RETIRED_AT_ONCE: usize = 16;
/// After the system refused a stack, this many requests are refused without asking it again.
const UNASKED: u32 = 1000;

/// The idle fibers of one worker, and the stacks to make more.
pub(super) struct FiberPool {
    /// The first idle fiber, in the loop. Not read while a fiber runs.
    first: Cell<Option<FiberRef>>,
    /// Taken out while in use, so that no borrow of it can be met.
    stacks: Cell<Option<StackPool>>,
    /// Idle fibers that were set aside.
    spare: Cell<Option<FiberRef>>,
    /// When they were.
    spare_since: Cell<Option<Instant>>,
    /// The fibers there are, live ones included.
    fibers: Cell<usize>,
    /// Whether the latest attempt to make a fiber failed.
    short: Cell<bool>,
    /// How many more requests are refused without asking the system, because it refused lately.
    unasked: Cell<u32>,
}

impl FiberPool {
    pub(super) fn new(stack_size: usize) -> Self {
        Self {
            first: Cell::new(None),
            stacks: Cell::new(Some(StackPool::new(stack_size))),
            spare: Cell::new(None),
            spare_since: Cell::new(None),
            fibers: Cell::new(0),
            short: Cell::new(false),
            unasked: Cell::new(0),
        }
    }

    /// Where the first idle fiber of `worker` is noted.
    #[inline]
    fn head<'a>(&'a self, worker: &'a Worker) -> &'a Cell<Option<FiberRef>> {
        worker.running().map_or(&self.first, FiberRef::idle)
    }

    /// The first idle fiber, for the loop; if there is none, a spare one or a new one, if there may be one more.
    pub(super) fn first(&self, worker: &Worker) -> Option<FiberRef> {
        self.first.get().or_else(|| self.supply(worker))
    }

    /// Where the loop notes the first idle fiber, for the fiber that it resumes, and when one has come back.
    pub(super) fn noted(&self) -> &Cell<Option<FiberRef>> {
        &self.first
    }

    /// Whether there is an idle fiber, if need be a new one.
    pub(super) fn is_supplied(&self, worker: &Worker) -> bool {
        self.head(worker).get().or_else(|| self.supply(worker)).is_some()
    }

    /// Adds a fiber to the idle ones.
    pub(super) fn replenish(&self, worker: &Worker, ask: Ask) -> Result<(), Refusal> {
        let fiber = self.create(worker, ask)?;
        let head = self.head(worker);
        fiber.idle().set(head.replace(Some(fiber)));
        Ok(())
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

    /// Makes a list of idle fibers where there is none: of the spare ones, or else of a new one. Gives the first. Where the system
    /// has refused one, only some of the requests that follow bother it again: each costs as much as many a task.
    #[cold]
    #[inline(never)]
    pub(super) fn supply(&self, worker: &Worker) -> Option<FiberRef> {
        if let Some(spare) = self.spare.take() {
            self.head(worker).set(Some(spare));
        } else if let Some(left) = self.unasked.get().checked_sub(1) {
            self.unasked.set(left);
            self.short.set(true);
        } else {
            // A refusal is noted.
            let _ = self.replenish(worker, Ask::Within);
        }
        self.head(worker).get()
    }

    fn create(&self, worker: &Worker, ask: Ask) -> Result<FiberRef, Refusal> {
        let limit = worker.fiber_limit();
        let space = limit.enter(ask).and_then(|()| {
            self.with_stacks(|stacks| stacks.take(worker.roster())).map_err(|error| {
                limit.leave();
                self.unasked.set(UNASKED);
                Refusal::System(error)
            })
        });
        self.short.set(space.is_err());
        let fiber = FiberRef::create(space?, worker);
        self.fibers.set(self.fibers.get() + 1);
        worker.roster().enter(fiber);
        Ok(fiber)
    }

    /// Whether there are more fibers than the reserve, so that some may be too many.
    #[inline]
    pub(super) fn is_large(&self) -> bool {
        self.fibers.get() > KEPT_FIBERS
    }

    /// Retires some of the fibers that were not needed for a while.
    #[cold]
    pub(super) fn tend(&self, worker: &Worker) {
        let now = Instant::now();
        if self.spare.get().is_none() {
            self.spare.set(self.cut_off(worker, KEPT_FIBERS));
            self.spare_since.set(Some(now));
        } else if self.spare_since.get().is_some_and(|since| now - since >= SPARE_TIME) {
            (0..RETIRED_AT_ONCE).all(|_| self.retire_spare(worker));
        }
    }

    /// Retires idle fibers until `keep` are left, those that ran last, or `is_wanted` says that the worker has
    /// something better to do. Gives their memory back to the system.
    pub(super) fn trim(&self, worker: &Worker, keep: usize, is_wanted: impl Fn() -> bool) {
        loop {
            while self.spare.get().is_some() {
                if is_wanted() {
                    return;
                }
                self.retire_spare(worker);
            }
            self.spare.set(self.cut_off(worker, keep));
            self.spare_since.set(Some(Instant::now()));
            if self.spare.get().is_none() {
                return;
            }
        }
    }

    /// Takes all idle fibers out but the `keep` that ran last.
    fn cut_off(&self, worker: &Worker, keep: usize) -> Option<FiberRef> {
        let first = self.head(worker).get();
        iter::successors(first, |fiber| fiber.idle().get()).take(keep).last()?.idle().take()
    }

    /// Retires a spare fiber and gives its memory back to the system. Returns whether there was one.
    fn retire_spare(&self, worker: &Worker) -> bool {
        let leave = |fiber| worker.roster().leave(fiber);
        let Some(space) = retire_first(&self.spare, leave) else { return false };
        worker.roster().note_height(space);
        // SAFETY: the fiber that used the stack is gone.
        unsafe { space.decommit() };
        worker.fiber_limit().leave();
        self.fibers.set(self.fibers.get() - 1);
        self.with_stacks(|stacks| stacks.give_back(space));
        true
    }

    fn with_stacks<R>(&self, use_stacks: impl FnOnce(&mut StackPool) -> R) -> R {
        let mut stacks = self.stacks.take().expect("nothing that uses the stacks comes back here");
        let result = use_stacks(&mut stacks);
        self.stacks.set(Some(stacks));
        result
    }
}

impl Drop for FiberPool {
    /// Ends all idle fibers. The worker drops its pool when no other fibers are left, and its roster is closed.
    fn drop(&mut self) {
        while retire_first(&self.first, drop).or_else(|| retire_first(&self.spare, drop)).is_some() {}
    }
}

/// Ends the first of a list of idle fibers, after `leave` was told, and gives the stack that it used.
fn retire_first(idle: &Cell<Option<FiberRef>>, leave: impl FnOnce(FiberRef)) -> Option<StackSpace> {
    let fiber = idle.get()?;
    idle.set(fiber.idle().take());
    leave(fiber);
    // SAFETY: nothing refers to an idle fiber but the list, which has just let go of it.
    Some(unsafe { fiber.retire() })
}
