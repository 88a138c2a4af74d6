#![expect(unsafe_code, reason = "the running fiber suspends itself, and the inbox is reached by a pointer")]
//! A worker: one thread, its deque and its fibers.
//!
//! What it does stands in files of their own: the loop that decides what runs next (`next`), where it finds work (`search`), what
//! it may run while its own fibers wait (`nested`) or when it has no fiber to run it on (`shortage`); and what a running fiber
//! asks of it: to run a batch (`fork`), and to let others go first (`turns`).

mod fork;
mod nested;
mod next;
mod search;
mod shortage;
mod turns;

use super::counters::{Counters, Phase};
use super::deque::{Deque, Job};
use super::fiber::{Fiber, FiberRef, Step};
use super::fiber_limit::FiberLimit;
use super::fiber_pool::FiberPool;
use super::fiber_queue::FiberQueue;
use super::inbox::Inbox;
use super::roster::Roster;
use super::yield_ring::YieldRing;
use super::{Call, RuntimeFeed, Shared, affinity};
use crate::batch::Header;
use crate::executor::Feed;
use crate::record::Record;
pub(super) use nested::Hold;
use nested::Nest;
use next::Next;
use search::Catches;
use std::cell::Cell;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{Ordering, compiler_fence};

/// One worker of a runtime; lives on its thread.
pub(crate) struct Worker {
    shared: Arc<Shared>,
    index: usize,
    /// The core that the thread is pinned to.
    core: Option<usize>,
    /// How many tasks are inside `unpinned`.
    widened: Cell<usize>,
    /// This worker's own, in `shared`.
    inbox: NonNull<Inbox<Fiber>>,
    deque: Deque<Header>,
    fibers: FiberPool,
    /// Fibers that may go on, taken from the inbox or made ready by this thread.
    ready: FiberQueue,
    /// Fibers that let others go first.
    yielded: YieldRing,
    /// Counts calls of `yield_now` that found nothing to switch to at once.
    yields: Cell<u8>,
    /// Counts those that looked whether there is work from outside.
    looks: Cell<u8>,
    /// Whether the loop is to look at other workers although fibers of this one have yielded, and would be resumed.
    is_time_to_search: Cell<bool>,
    /// Tasks that the loop has ended with many fibers.
    tended: Cell<u32>,
    /// At which fork from here on a look for others is due.
    forks_to_look: Cell<u32>,
    /// What that was when the forks were last counted.
    forks_counted: Cell<u32>,
    /// Forks that resumed no child, and that are not taken into account yet.
    forks_without_child: Cell<u32>,
    /// At how many such looks work from outside has waited since it last had its turn.
    looks_for_outside: Cell<u32>,
    /// Live tasks from outside that were started ahead of what this worker had begun.
    ahead: Cell<u32>,
    counters: Counters,
    /// Ready fibers that the loop has resumed in a row.
    ready_in_a_row: Cell<u8>,
    /// Whose turn it is between yielded fibers and new tasks.
    turn: Cell<Turn>,
    /// The running fiber. `None` in the loop.
    ///
    /// Read by surveys, in a handler on this thread.
    current: Cell<Option<FiberRef>>,
    catches: Cell<Catches>,
    /// If it runs only descendants of what waits on it.
    nest: Option<Nest>,
    /// The state of the generator that picks victims.
    random: Cell<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    NewTask,
    Yielded,
    /// Work from outside, or else yielded fibers.
    Outside,
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>, index: usize, deque: Deque<Header>, core: Option<usize>) -> Self {
        let fibers = FiberPool::new(shared.stack_size());
        let inbox = NonNull::from(shared.inbox(index));
        let nest = shared.nests().then(|| Nest::new(shared.workers()));
        Self {
            shared,
            index,
            core,
            widened: Cell::new(0),
            inbox,
            deque,
            fibers,
            ready: FiberQueue::new(),
            yielded: YieldRing::new(),
            yields: Cell::new(0),
            looks: Cell::new(0),
            is_time_to_search: Cell::new(false),
            tended: Cell::new(0),
            forks_to_look: Cell::new(fork::FORKS_PER_LOOK),
            forks_counted: Cell::new(fork::FORKS_PER_LOOK),
            forks_without_child: Cell::new(0),
            looks_for_outside: Cell::new(0),
            ahead: Cell::new(0),
            counters: Counters::default(),
            ready_in_a_row: Cell::new(0),
            turn: Cell::new(Turn::NewTask),
            current: Cell::new(None),
            catches: Cell::new(Catches::default()),
            nest,
            random: Cell::new(0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(index as u64 + 1)),
        }
    }

    pub(super) fn index(&self) -> usize {
        self.index
    }

    pub(super) fn shared_pointer(&self) -> NonNull<Shared> {
        NonNull::new(Arc::as_ptr(&self.shared).cast_mut()).expect("an Arc is not null")
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(crate) fn belongs_to(&self, shared: NonNull<Shared>) -> bool {
        ptr::eq(Arc::as_ptr(&self.shared), shared.as_ptr())
    }

    /// The executor whose runtime this worker belongs to.
    pub(super) fn owner(&self) -> usize {
        self.shared.owner
    }

    /// The number of workers of the runtime.
    pub(crate) fn siblings(&self) -> usize {
        self.shared.workers()
    }

    pub(super) fn fiber_limit(&self) -> &FiberLimit {
        self.shared.fiber_limit()
    }

    pub(super) fn roster(&self) -> &Roster {
        self.shared.roster(self.index)
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Counts tasks that have ended on this worker.
    #[inline]
    pub(super) fn count_tasks(&self, tasks: usize) {
        self.counters.tasks.add(tasks as u64);
    }

    /// Notes that the worker does something else from here on.
    pub(super) fn enter_phase(&self, phase: Phase) {
        self.counters.clock.enter(phase, self.shared.nanoseconds());
    }

    /// Notes which fiber runs. Its record is live.
    #[inline]
    pub(super) fn set_current(&self, fiber: FiberRef) {
        // For surveys, which come between any two instructions of this thread.
        compiler_fence(Ordering::SeqCst);
        self.current.set(Some(fiber));
    }

    pub(super) fn core(&self) -> Option<usize> {
        self.core
    }

    /// Counts a task into `unpinned`. Returns how many were there before.
    pub(super) fn widen(&self) -> usize {
        self.widened.replace(self.widened.get() + 1)
    }

    /// Counts a task out of `unpinned`. Returns how many are left.
    pub(super) fn narrow(&self) -> usize {
        self.widened.set(self.widened.get() - 1);
        self.widened.get()
    }

    pub(crate) fn process_mask(&self) -> &affinity::ProcessMask {
        self.shared.process_mask()
    }

    /// The running fiber.
    ///
    /// # Panics
    ///
    /// Panics in the loop, which is a mistake of this crate.
    #[inline]
    pub(crate) fn current_fiber(&self) -> FiberRef {
        match self.current.get() {
            Some(fiber) => fiber,
            None => no_fiber(),
        }
    }

    /// What is known of the running task; `None` in the loop.
    #[inline]
    pub(crate) fn current_record(&self) -> Option<NonNull<Record>> {
        self.current.get().map(|fiber| NonNull::from(fiber.record()))
    }

    /// The running fiber; `None` in the loop.
    pub(crate) fn running(&self) -> Option<FiberRef> {
        self.current.get()
    }

    /// Suspends the running fiber until it is made ready, or it is its turn.
    #[inline(always)] // See `yield_now`.
    pub(crate) fn suspend(&self) {
        let fiber = self.current_fiber();
        // SAFETY: the current fiber is the one that runs.
        unsafe { fiber.suspend(Step::SUSPENDED) };
    }

    /// Notes that a fiber of this worker may go on. Called on the worker's thread.
    pub(super) fn push_ready(&self, fiber: FiberRef) {
        self.counters.readied.add(1);
        // If it is the guest there, it is linked no longer.
        self.yielded.settle();
        self.ready.push(fiber);
    }

    /// Takes ready fibers out of the inbox.
    #[inline]
    fn take_from_inbox(&self) {
        self.inbox().drain(|fiber| self.push_ready(FiberRef::from_inbox(fiber)));
    }

    #[inline]
    fn inbox(&self) -> &Inbox<Fiber> {
        // SAFETY: the inbox is part of `shared`, which the worker holds.
        unsafe { self.inbox.as_ref() }
    }

    #[inline]
    fn has_ready(&self) -> bool {
        self.ready_word() != 0
    }

    /// Zero if no fiber is ready: a word, so that one branch can look at this and at more.
    #[inline]
    fn ready_word(&self) -> usize {
        self.ready.last_address() | self.inbox().newest_address()
    }

    /// A call of the running task that is fed task by task.
    pub(crate) fn open(&self) -> RuntimeFeed {
        RuntimeFeed { shared: Arc::clone(&self.shared), call: Call::Nested }
    }

    /// See [`open`](Self::open).
    pub(crate) fn feed(&self) -> Feed {
        Feed::runtime(self.open())
    }

    #[inline]
    pub(super) fn push(&self, job: Job<Header>) {
        self.deque.push(job);
        if self.shared.idle.notify() {
            self.hand_over();
        }
    }
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("index", &self.index).finish_non_exhaustive()
    }
}

#[cold]
fn no_fiber() -> ! {
    unreachable!("tasks run on fibers");
}
