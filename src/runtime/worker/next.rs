#![expect(unsafe_code, reason = "fibers are switched by raw pointers")]
//! The loop: what a worker does next.

use super::{Turn, Worker};
use crate::batch::Header;
use crate::current;
use crate::runtime::deque::Job;
use crate::runtime::fiber::FiberRef;
use std::ptr::NonNull;
use std::thread;

/// A worker with many fibers looks whether they are too many each time its loop has ended so many tasks.
const TASKS_PER_TENDING: u32 = 64;

/// So many ready fibers go before anything else; then something else has a turn. Fibers that make each other ready over and
/// over, such as the two ends of a channel, would otherwise keep new tasks and yielded fibers waiting for ever.
const READY_IN_A_ROW: u8 = 64;

/// What the loop does next.
pub(super) enum Next {
    Resume(FiberRef),
    Start(NonNull<Header>, usize),
    /// Starts a task from outside ahead of what this worker has begun.
    StartAhead(NonNull<Header>, usize),
}

impl Worker {
    /// Runs tasks until the runtime is closed and nothing is in hand.
    pub(in crate::runtime) fn run(&self) {
        current::enter_worker(self, || {
            while let Some(next) = self.next() {
                self.counters.switches.add(1);
                let is_ahead = matches!(next, Next::StartAhead(..));
                let (mut fiber, mut step) = match next {
                    Next::Resume(fiber) => {
                        fiber.idle().set(self.fibers.noted().get());
                        self.set_current(fiber);
                        // SAFETY: the fiber was ready or yielded, and this is the loop.
                        (fiber, unsafe { fiber.resume() })
                    }
                    Next::Start(batch, first) | Next::StartAhead(batch, first) => match self.fibers.first(self) {
                        Some(fiber) => {
                            fiber.is_ahead().set(is_ahead);
                            self.ahead.set(self.ahead.get() + u32::from(is_ahead));
                            // SAFETY: the fiber is idle and of this worker; the task was claimed and has not arrived.
                            unsafe { fiber.begin_for_loop(batch, first) };
                            self.set_current(fiber);
                            // SAFETY: it has just begun.
                            (fiber, unsafe { fiber.start_for_loop(batch) })
                        }
                        None => {
                            self.put_back(batch, first);
                            continue;
                        }
                    },
                };
                while let Some(next) = step.next() {
                    next.idle().set(fiber.idle().get());
                    fiber = next;
                    self.counters.switches.add(1);
                    debug_assert_eq!(self.current.get(), Some(fiber), "who hands its turn on says who runs");
                    // SAFETY: the fiber had yielded, and this is the loop.
                    step = unsafe { fiber.resume() };
                }
                self.current.set(None);
                self.yielded.settle();
                self.count_forks();
                if step.ended().is_some() {
                    self.fibers.noted().set(Some(fiber));
                    self.ahead.set(self.ahead.get() - u32::from(fiber.is_ahead().take()));
                    if self.fibers.is_large() {
                        self.tend_fibers();
                    }
                } else {
                    self.fibers.noted().set(fiber.idle().get());
                }
            }
        });
    }

    /// Looks every so many tasks whether fibers have been idle for long.
    #[cold]
    fn tend_fibers(&self) {
        self.tended.set(self.tended.get().wrapping_add(1));
        if self.tended.get().is_multiple_of(TASKS_PER_TENDING) {
            self.fibers.tend(self);
        }
    }

    /// Decides what runs next (invariant 5 of the design); `None` when the runtime has ended.
    fn next(&self) -> Option<Next> {
        if let Some(nest) = &self.nest {
            return self.next_nested(nest);
        }
        loop {
            let in_a_row = self.ready_in_a_row.replace(0);
            if in_a_row < READY_IN_A_ROW
                && let Some(fiber) = self.next_ready()
            {
                self.ready_in_a_row.set(in_a_row + 1);
                return Some(Next::Resume(fiber));
            }
            if self.fibers.is_short()
                && let Some(next) = self.next_without_fiber()
            {
                return Some(next);
            }
            let turn = self.turn.replace(Turn::NewTask);
            if turn == Turn::Outside
                && let Some(job) = self.take_from_outside()
            {
                let (batch, first) = self.split_first(job);
                return Some(Next::StartAhead(batch, first));
            }
            if turn == Turn::NewTask || self.yielded.is_empty() {
                if let Some((batch, idx)) = self.deque.pop() {
                    self.turn.set(Turn::Yielded);
                    return Some(Next::Start(batch, idx));
                }
                if let Some(job) = self.take_injected() {
                    self.turn.set(Turn::Yielded);
                    return Some(self.begin(job));
                }
            }
            if self.yielded.is_empty() {
                if self.has_ready() {
                    continue;
                }
                if let Some(job) = self.search()? {
                    return Some(self.begin(job));
                }
            } else {
                if self.is_time_to_search.take() {
                    if let Some(job) = self.search_once() {
                        return Some(self.begin(job));
                    }
                    thread::yield_now();
                }
                return self.yielded.pop().map(Next::Resume);
            }
        }
    }

    #[inline]
    pub(super) fn next_ready(&self) -> Option<FiberRef> {
        self.take_from_inbox();
        self.ready.pop().inspect(|_| self.counters.ready_resumes.add(1))
    }

    /// Makes a job from elsewhere this worker's own: starts its first task, and leaves the others where thieves see them.
    pub(super) fn begin(&self, job: Job<Header>) -> Next {
        let (batch, first) = self.split_first(job);
        Next::Start(batch, first)
    }

    /// See [`begin`](Self::begin).
    fn split_first(&self, job: Job<Header>) -> (NonNull<Header>, usize) {
        let Job { batch, tasks } = job;
        if tasks.len() > 1 {
            self.push(Job { batch, tasks: tasks.start + 1..tasks.end });
        }
        (batch, tasks.start)
    }
}
