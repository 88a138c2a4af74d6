#![expect(unsafe_code, reason = "batches are run inline, and tasks refused, by raw pointers")]
//! What a worker does that can have no fiber more; see `fiber_limit` for why that ends.

use super::{Next, Phase, Worker};
use crate::batch::{Batch, Header, Payload, drop_quietly};
use crate::current;
use crate::runtime::deque::Job;
use crate::runtime::fiber_limit::{Ask, Refusal};
use std::hint;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::ptr::NonNull;
use std::time::{Duration, Instant};

/// How long a starving worker sleeps before it looks whether it can have a fiber by now. Nobody tells it when another
/// worker, or another process, gives memory back.
const NAP: Duration = Duration::from_millis(10);
/// How long all workers have to be at rest, although there is work, before a task is failed for want of a stack.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a worker that is held waits for others that are not at rest. They may be blocked until its tasks have ended.
const PATIENCE_WITH_BUSY: Duration = Duration::from_millis(100);
/// A task that has less than this part of its stack left does not run children on it.
const LEAST_ROOM: usize = 4;
/// What telling somebody of something may need of a stack, in bytes: a subscriber formats and writes, a panic hook makes a
/// backtrace.
const ROOM_FOR_WORDS: usize = 128 * 1024;

impl Worker {
    /// Makes the fiber that this worker has in any case.
    pub(in crate::runtime) fn reserve(&self) -> io::Result<()> {
        match self.fibers.replenish(self, Ask::Beyond) {
            Err(Refusal::System(error)) => Err(error),
            Err(Refusal::Limit) | Ok(()) => Ok(()),
        }
    }

    /// Notes that a batch is about to run on the stack of its parent.
    ///
    /// # Panics
    ///
    /// Panics if the parent has used up most of its stack.
    fn go_inline(&self) {
        let parent = self.current_fiber();
        let here = hint::black_box(0_u8);
        // Where a task has changed stacks by means of its own, nothing is known.
        let room = parent.room_below(&here).unwrap_or(usize::MAX);
        if room < parent.stack_size() / LEAST_ROOM {
            no_room(room);
        }
        self.shared.fiber_limit().count_inline();
        if room >= ROOM_FOR_WORDS {
            self.shared.fiber_limit().warn_once();
        }
    }

    /// Runs a batch of a task that runs inline, if there is a fiber for its children by now. Returns whether there was; if not,
    /// the caller runs the batch inline.
    ///
    /// # Panics
    ///
    /// Panics if there is no fiber, and the parent has used up most of its stack.
    pub(crate) fn run_if_supplied(&self, batch: &Batch<'_>) -> bool {
        let is_supplied = self.fibers.is_supplied(self);
        if is_supplied {
            let tasks = 0..batch.len();
            self.push(Job { batch: batch.claim_all(), tasks });
            batch.join();
        } else {
            self.go_inline();
        }
        is_supplied
    }

    /// Counts tasks that ended on the stack of their parent.
    pub(crate) fn count_inline_tasks(&self, tasks: usize) {
        self.count_tasks(tasks);
    }

    /// Puts a task back that no fiber can be had for. Another worker may have one.
    pub(super) fn put_back(&self, batch: NonNull<Header>, idx: usize) {
        self.give_back(Job { batch, tasks: idx..idx + 1 });
        // The subscriber is the program's, and may map in parallel: here that is a call from outside.
        current::outside(|| {
            let warning = AssertUnwindSafe(|| self.shared.fiber_limit().warn_once());
            if let Err(payload) = panic::catch_unwind(warning) {
                drop_quietly(payload);
            }
        });
    }

    /// Leaves tasks that this worker does not start to whoever can.
    fn give_back(&self, job: Job<Header>) {
        if self.nest.is_some() {
            // Its deque is for what descends from its own fibers, in their order.
            self.shared.inject(job, None);
        } else {
            self.push(job);
        }
    }

    /// Decides what runs next on a worker that was refused a fiber; `None` if it may start new tasks.
    #[cold]
    pub(super) fn next_without_fiber(&self) -> Option<Next> {
        let begin = Instant::now();
        let mut at_rest_since = None;
        loop {
            if self.fibers.is_supplied(self) {
                return None;
            }
            if let Some(fiber) = self.next_to_resume() {
                return Some(Next::Resume(fiber));
            }
            if !self.is_work_left() {
                // Nothing to start, so nothing to wait for: it can sleep as others do.
                self.fibers.make_light_of_shortage();
                return None;
            }
            self.enter_phase(Phase::Parked);
            self.shared.idle.starve(self.index, NAP, || self.has_ready());
            self.enter_phase(Phase::Busy);
            if self.has_ready() {
                at_rest_since = None;
                continue;
            }
            // Asks the system each time: a nap costs more than an answer.
            if self.fibers.replenish(self, Ask::Within).is_ok() {
                return None;
            }
            if !self.shared.idle.is_everybody_else_at_rest() {
                at_rest_since = None;
                if self.is_held() && begin.elapsed() > PATIENCE_WITH_BUSY {
                    // If the system refuses, this worker asks again.
                    let _ = self.fibers.replenish(self, Ask::Beyond);
                }
                continue;
            }
            if let Err(Refusal::System(error)) = self.fibers.replenish(self, Ask::Beyond)
                && at_rest_since.get_or_insert_with(Instant::now).elapsed() > PATIENCE
            {
                self.refuse_one(&error);
                at_rest_since = None;
            }
        }
    }

    /// Fails a task that nobody has a fiber for.
    fn refuse_one(&self, error: &io::Error) {
        let own = self.deque.pop();
        let elsewhere = || {
            let job = self.take_injected().or_else(|| self.steal())?;
            let first = job.tasks.start;
            if job.tasks.len() > 1 {
                self.give_back(Job { batch: job.batch, tasks: first + 1..job.tasks.end });
            }
            Some((job.batch, first))
        };
        if let Some((batch, idx)) = own.or_else(elsewhere) {
            // A destructor of the task's may run here.
            // SAFETY: the task was claimed and has not arrived, so the batch is live.
            current::in_loop(|| unsafe { refuse(batch, idx, error) });
        }
    }
}

#[cold]
fn no_room(room: usize) -> ! {
    const WORDS: &str = "no fiber for the tasks of a map, and too little of the caller's stack left to run them there: \
                         nest less deep, or allow more fibers or larger stacks";
    if room >= ROOM_FOR_WORDS {
        panic!("{WORDS}");
    }
    // Without the hook, which might overflow the stack.
    panic::resume_unwind(Box::new(WORDS));
}

/// Fails a claimed task that cannot be started.
///
/// # Safety
///
/// The task was claimed and has not arrived.
#[cold]
unsafe fn refuse(batch: NonNull<Header>, idx: usize, error: &io::Error) {
    let payload: Payload = Box::new(format!(
        "no memory for the stack of a fiber, and all others wait: {error}; run fewer tasks that wait, or give fibers \
         smaller stacks"
    ));
    // SAFETY: the task has not arrived, so the batch is live.
    unsafe { batch.as_ref() }.fail_unstarted(idx, payload);
    // SAFETY: this arrives for the one task; the batch is not touched again.
    unsafe { Header::arrive(batch, 1) };
}
