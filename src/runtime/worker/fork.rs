#![expect(unsafe_code, reason = "fibers are switched and batches arrived at by raw pointers")]
//! The fork: a fiber runs a batch of its own making.
//!
//! A fiber that makes a batch pushes all tasks but the first into the deque and resumes an idle fiber with the first
//! *directly*, without going through the loop. That child runs the first task and then, as long as the deque gives tasks of
//! this batch and no fiber is ready, the others, and comes back to the parent with the number it ended. If those are all,
//! the parent goes on; no atomic read-modify-write has taken place.
//!
//! Otherwise the parent arrives for them and for itself, and suspends. What it suspends to is whoever resumed it: its own
//! parent, in the middle of the same function, which sees a suspended child and does likewise, and so on up to the loop.
//! So when something really waits, a whole chain of parents suspends, each of them once for its batch; from then on the
//! loop resumes them one by one as they become ready.

use super::{Turn, Worker};
use crate::batch::{Arrival, Header, run_inline};
use crate::runtime::deque::Job;
use crate::runtime::fiber::{FiberRef, Step};
use crate::spans;
use crate::waiter::Waiter;
use std::ptr::NonNull;
use std::thread;

/// A worker whose tasks fork without end looks every so many forks whether others wait for their turn.
pub(super) const FORKS_PER_LOOK: u32 = 1024;

impl Worker {
    /// Runs a batch made by the running fiber, and returns when all its tasks have ended.
    ///
    /// # Panics
    ///
    /// Panics if there is no fiber for a child, and too little of the caller's stack left to run the tasks there. Unwinds if the
    /// running task has been stopped.
    ///
    /// # Safety
    ///
    /// - The caller runs on a fiber of this worker, in no other context.
    /// - The batch is live until the call returns, and nobody else knows it.
    /// - `LEN` is its length, for the compiler to know it, or zero.
    #[inline(always)] // One return less per level of a nest.
    pub(crate) unsafe fn fork<const LEN: usize>(&self, batch: NonNull<Header>) {
        if thread::panicking() {
            // SAFETY: as the caller says. A fiber never suspends while its thread unwinds.
            return unsafe { run_inline(batch) };
        }
        self.forks_to_look.set(self.forks_to_look.get() - 1);
        if self.forks_to_look.get() == 0 {
            self.look_for_others();
        }
        let parent = self.current_fiber();
        let control = parent.record().control_pointer();
        // One branch for two things that seldom are.
        if self.ready_word() | control.addr() != 0 && self.is_held_up(parent) {
            // SAFETY: as the caller says.
            return unsafe { self.fork_without_child(batch) };
        }
        let Some(child) = parent.idle().get().or_else(|| self.fibers.supply(self)) else {
            self.forks_without_child.set(self.forks_without_child.get() + 1);
            // SAFETY: as the caller says.
            return unsafe { run_inline(batch) };
        };
        // SAFETY: live, says the caller.
        let header = unsafe { batch.as_ref() };
        let len = if LEN == 0 { header.len() } else { LEN };
        // SAFETY: nobody else knows the batch.
        unsafe { header.origin_mut() }.set(parent.record(), control);
        // SAFETY: the child is idle and of this worker; the parent has not arrived.
        unsafe { child.begin(batch) };
        if len > 1 {
            self.push(Job { batch, tasks: 1..len });
        }
        spans::leave(parent.spans());
        self.set_current(child);
        // SAFETY: it has just begun; the first task was not pushed, so it is this call's.
        let step = unsafe { child.start(batch) };
        // What has to be kept on the stack across the switch costs more than to ask for it again: `self` and the batch.
        let worker = child.home();
        worker.set_current(parent);
        if step == Step::finished(len) {
            worker.count_tasks(len);
            child.end();
        } else {
            // SAFETY: the tasks that the child ended are left to the parent, which has not arrived either.
            unsafe { worker.wait_after(child, step) };
        }
        spans::come_back(parent.spans());
    }

    /// Whether a ready fiber goes first, or the running task, which is the parent's, is to stop.
    #[cold]
    #[inline(never)]
    fn is_held_up(&self, parent: FiberRef) -> bool {
        self.has_ready() || parent.record().stopped().is_some()
    }

    /// Counts the forks since the latest look or count that have resumed a child.
    pub(super) fn count_forks(&self) {
        let forks = self.forks_counted.get() - self.forks_to_look.get();
        let direct_starts = forks.saturating_sub(self.forks_without_child.get());
        // The latest fork may have been counted by its look, before it was known to start nothing.
        self.forks_without_child.set(self.forks_without_child.get() - (forks - direct_starts));
        self.forks_counted.set(self.forks_to_look.get());
        self.counters.direct_starts.add(u64::from(direct_starts));
    }

    /// Lets work from outside, or a fiber that has yielded, have a turn: a task that forks in a loop would keep them waiting for
    /// ever. What was handed over may wait, as it would in the deque: to start it here, while the newer tasks that fork are
    /// interrupted, would hold one more chain of fibers each time.
    #[cold]
    #[inline(never)]
    fn look_for_others(&self) {
        self.count_forks();
        self.forks_to_look.set(FORKS_PER_LOOK);
        self.forks_counted.set(FORKS_PER_LOOK);
        if self.nest.is_none() {
            let is_turn_of_outside = self.is_turn_of_outside();
            if is_turn_of_outside || !self.yielded.is_empty() {
                self.turn.set(if is_turn_of_outside { Turn::Outside } else { Turn::Yielded });
                self.yielded.push(self.current_fiber());
                self.suspend();
            }
        }
        if self.fibers.is_large() {
            self.fibers.tend(self);
        }
    }

    /// Whether work from outside waits and has its turn at this look: at each, or at every second while one task from outside that
    /// was started so has not ended, at every fourth while there are two, and so on. Otherwise all that was ever submitted would be
    /// under way at the same time, and hold its fibers; so it is as many tasks as the time they take has doublings.
    fn is_turn_of_outside(&self) -> bool {
        if self.shared.injector.is_empty() {
            return false;
        }
        let looks = self.looks_for_outside.get().saturating_add(1);
        let is_turn = looks.checked_shr(self.ahead.get()).is_some_and(|turns| turns > 0);
        self.looks_for_outside.set(if is_turn { 0 } else { looks });
        is_turn
    }

    /// Runs a batch whose first task is not handed to a child directly, because a ready fiber goes first, or unwinds because the running
    /// task is to stop.
    ///
    /// # Safety
    ///
    /// As [`fork`](Self::fork).
    #[cold]
    #[inline(never)]
    unsafe fn fork_without_child(&self, batch: NonNull<Header>) {
        self.forks_without_child.set(self.forks_without_child.get() + 1);
        let parent = self.current_fiber();
        if let Some(why) = parent.record().stopped() {
            why.unwind();
        }
        if !self.fibers.is_supplied(self) {
            // A parent must not wait for tasks that no fiber is left for.
            // SAFETY: as the caller says.
            return unsafe { run_inline(batch) };
        }
        // SAFETY: live, says the caller.
        let header = unsafe { batch.as_ref() };
        // SAFETY: nobody else knows the batch.
        unsafe { header.origin_mut() }.inherit(parent.record());
        self.push(Job { batch, tasks: 0..header.len() });
        // SAFETY: the parent has not arrived.
        unsafe { self.wait(batch, 0, Step::SUSPENDED) };
    }

    /// Waits for what a child has left undone.
    ///
    /// # Safety
    ///
    /// `step` is how the child came back, and the parent, which is the running fiber, has not arrived for the tasks that it
    /// ended, nor for itself.
    #[cold]
    #[inline(never)]
    unsafe fn wait_after(&self, child: FiberRef, step: Step) {
        // SAFETY: the child is in the midst of that batch, or has not noted its end.
        let (batch, _) = unsafe { child.batch() };
        let batch = NonNull::from(batch);
        let ended = step.ended();
        match ended {
            Some(ended) => {
                self.count_tasks(ended);
                child.end();
            }
            None => self.current_fiber().idle().set(child.idle().get()),
        }
        // SAFETY: as the caller says.
        unsafe { self.wait(batch, ended.unwrap_or(0), step.next().map_or(Step::SUSPENDED, Step::handed)) };
    }

    /// Arrives for the parent, which is the running fiber, and for `ended` of its tasks, and suspends by `step` until all have.
    ///
    /// # Safety
    ///
    /// Neither the parent nor those tasks have arrived.
    #[cold]
    #[inline(never)]
    unsafe fn wait(&self, batch: NonNull<Header>, ended: usize, step: Step) {
        // SAFETY: the parent has not arrived, so the batch is live.
        let header = unsafe { batch.as_ref() };
        let parent = self.current_fiber();
        // SAFETY: this is the parent, before it arrives.
        unsafe { header.set_waiter(Waiter::Fiber(parent)) };
        parent.note_wait(header.site(), Some(batch));
        // SAFETY: as the caller says.
        let arrival = unsafe { Header::count_down(batch, ended + 1) };
        // A child that has yielded has not ended its task, so its step is passed on.
        debug_assert!(arrival == Arrival::Earlier || step == Step::SUSPENDED);
        if arrival == Arrival::Earlier {
            self.hold(Some(batch));
            if let Some(next) = step.next() {
                self.set_current(next);
            }
            // SAFETY: the parent is the running fiber.
            unsafe { parent.suspend(step) };
        }
        parent.note_end_of_wait();
    }
}
