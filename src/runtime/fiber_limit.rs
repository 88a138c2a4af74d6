//! How many fibers an executor may have, and what happens when it can have no more.
//!
//! A fiber more can be refused for two reasons: the executor has as many as its builder allowed, or the system gives no
//! memory for another stack. Either way the work is done with the fibers that there are:
//!
//! - **A task that makes a batch and gets no fiber for the first child** runs the children itself, one after another, on
//!   its own stack. A batch in their turn tries again. Nobody can steal these children, so this costs parallelism.
//! - **A worker's loop that gets no fiber for a new task** leaves the task where others can steal it, and starts no new
//!   tasks until it has a fiber again. It goes on with the fibers it has, and sleeps if none of them may run.
//!
//! | state of a worker | idle fibers | what it does next |
//! |---|---|---|
//! | supplied | some, or the latest attempt to make one succeeded | all that the design says |
//! | short | none, and the latest attempt failed | resumes ready and yielded fibers, tries to make one |
//! | starving | as short, and none is ready or has yielded | sleeps until one is ready, looking up now and then |
//!
//! # Why this ends
//!
//! Every worker makes one fiber before the executor counts as built and never retires its last, so each has a fiber, idle
//! or live. Take a worker that has run short for good, and the last of its idle fibers to be used. From then on none
//! is idle, so the task on that fiber, and every task below it, runs its batches inline: a fiber does not suspend
//! for its children unless one was given to a fiber, or lies in the deque, or was handed over, while a fiber is idle for it. Unstarted
//! tasks, thefts and other fibers cannot hold it up. So it ends and its fiber is free again, which contradicts "for good".
//! By the same argument every other worker gets its fibers back, and with them whatever was stolen.
//!
//! That leaves what a task waits for by other means: a handle, a batch of another executor. If that, in turn, waits for a
//! task that no worker has a fiber for, nothing moves. The workers notice: all of them sleep or starve, although there is
//! work. A starving worker then makes a fiber beyond the allowed number. If it is the system that refuses, it waits, since
//! memory may come back and the wait may end from outside, and fails one task with a panic after the time that `shortage` calls its patience.
//!
//! Where workers nest, a task may also wait by blocking its worker, for a lock that another one holds across a map. That
//! worker is not at rest, and the holder may need a fiber. So a worker that is held and starves waits only for a moment
//! for those who are not at rest, and then makes a fiber beyond the limit, too.
//!
//! Tasks that wait for a sibling by calling `yield_now` until it has done something are another matter. They look busy,
//! and where the children run inline the sibling has not started: such programs need as many fibers as tasks.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// The fibers of an executor, counted.
#[derive(Debug)]
pub(super) struct FiberLimit {
    most: usize,
    /// The fibers there are, idle ones included.
    fibers: AtomicUsize,
    /// Batches that were run inline for want of a fiber.
    inline: AtomicU64,
    warned: AtomicBool,
}

/// Why there is no fiber more.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The executor has as many as it may have.
    Limit,
    /// The system gives no memory for the stack.
    System(io::Error),
}

/// Whether a fiber is counted against the limit or made in spite of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    Within,
    Beyond,
}

impl FiberLimit {
    pub(super) fn new(most: Option<usize>) -> Self {
        Self {
            most: most.unwrap_or(usize::MAX),
            fibers: AtomicUsize::new(0),
            inline: AtomicU64::new(0),
            warned: AtomicBool::new(false),
        }
    }

    /// Counts a fiber in, unless there are as many as there may be.
    pub(super) fn enter(&self, ask: Ask) -> Result<(), Refusal> {
        let enter = |fibers| (ask == Ask::Beyond || fibers < self.most).then_some(fibers + 1);
        // ORDERING: Relaxed here and below. The counter only counts.
        let entered = self.fibers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, enter);
        entered.map(drop).map_err(|_| Refusal::Limit)
    }

    /// Counts a fiber out.
    pub(super) fn leave(&self) {
        self.fibers.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether another fiber would be one too many.
    pub(super) fn is_reached(&self) -> bool {
        self.fibers.load(Ordering::Relaxed) >= self.most
    }

    /// Counts a batch that is run inline.
    pub(super) fn count_inline(&self) {
        self.inline.fetch_add(1, Ordering::Relaxed);
    }

    /// Batches that were run inline.
    pub(super) fn inline(&self) -> u64 {
        self.inline.load(Ordering::Relaxed)
    }

    /// Warns that tasks run inline, the first time it is called. Calls what the program has set up for `tracing`.
    pub(super) fn warn_once(&self) {
        if self.warned.swap(true, Ordering::Relaxed) {
            return;
        }
        let fibers = self.fibers.load(Ordering::Relaxed);
        let inline = self.inline.load(Ordering::Relaxed);
        if fibers >= self.most {
            tracing::warn!(fibers, inline, "all fibers that the executor may have are in use: maps run inline");
        } else {
            tracing::warn!(fibers, inline, "no memory for the stack of another fiber: maps run inline");
        }
    }
}
