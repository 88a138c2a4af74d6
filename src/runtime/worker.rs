#![expect(unsafe_code, reason = "fibers are switched and batches arrived at by raw pointers")]
//! A worker: the loop that decides what runs next on one thread, and the fork of a batch by a fiber of that thread.

mod fork;
mod nested;
mod search;
mod shortage;

use super::counters::{Counters, Phase};
use super::deque::{Deque, Job};
use super::fiber::{Fiber, FiberRef, Resumer, Step};
use super::fiber_limit::FiberLimit;
use super::fiber_pool::FiberPool;
use super::fiber_queue::FiberQueue;
use super::inbox::Inbox;
use super::roster::Roster;
use super::{Call, RuntimeFeed, Shared, affinity};
use crate::batch::Header;
use crate::control::{stop_if_due, stop_if_told};
use crate::current::{self, Context};
use crate::executor::Feed;
use crate::record::Record;
pub(super) use nested::Hold;
use nested::Nest;
use search::Thefts;
use std::cell::Cell;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering, compiler_fence};
use std::thread;

/// A worker with many fibers looks whether they are too many each time its loop has ended so many tasks.
const TASKS_PER_TENDING: u32 = 64;

/// So many ready fibers go before anything else; then something else has a turn. Fibers that make each other ready over and
/// over, such as the two ends of a channel, would otherwise keep new tasks and yielded fibers waiting for ever.
const READY_IN_A_ROW: u8 = 64;

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
    yielded: FiberQueue,
    /// Counts calls of `yield_now`. At zero, which it wraps to, the worker looks at other workers although fibers of its own
    /// have yielded.
    yields: Cell<u8>,
    /// Tasks that the loop has ended with many fibers.
    tended: Cell<u32>,
    /// How many forks from here the next look for others is due. Never zero between forks.
    forks_to_look: AtomicU32,
    counters: Counters,
    /// Ready fibers that the loop has resumed in a row.
    ready_in_a_row: Cell<u8>,
    /// Whose turn it is between yielded fibers and new tasks.
    turn: Cell<Turn>,
    /// The running fiber. `None` in the loop.
    ///
    /// Read by surveys, in a handler on this thread.
    current: Cell<Option<FiberRef>>,
    context: Cell<*const Context<'static>>,
    thefts: Cell<Thefts>,
    /// If it runs only descendants of what waits on it.
    nest: Option<Nest>,
    /// The state of the generator that picks victims.
    random: Cell<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    NewTask,
    Yielded,
    /// Work from outside, and then yielded fibers.
    Others,
}

/// What the loop does next.
enum Next {
    Resume(FiberRef),
    Start(NonNull<Header>, usize),
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
            yielded: FiberQueue::new(),
            yields: Cell::new(1),
            tended: Cell::new(0),
            forks_to_look: AtomicU32::new(fork::FORKS_PER_LOOK),
            counters: Counters::default(),
            ready_in_a_row: Cell::new(0),
            turn: Cell::new(Turn::NewTask),
            current: Cell::new(None),
            context: Cell::new(ptr::null()),
            thefts: Cell::new(Thefts::default()),
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

    /// Fibers that were resumed by another one directly, for a batch of its making.
    pub(super) fn direct_starts(&self) -> u64 {
        // ORDERING: Relaxed. It is only counted. If a look comes in between, some are missing or counted twice.
        let since_look = fork::FORKS_PER_LOOK - self.forks_to_look.load(Ordering::Relaxed);
        self.counters.direct_starts.get() + u64::from(since_look)
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

    pub(crate) fn set_context(&self, context: *const Context<'static>) {
        self.context.set(context);
    }

    /// The worker's own context, which is current in the loop and wherever no other was entered.
    pub(crate) fn context(&self) -> *const Context<'static> {
        self.context.get()
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

    /// See [`checkpoint`](crate::checkpoint).
    #[inline]
    pub(crate) fn checkpoint(&self) {
        let is_governed = self.current_fiber().record().control().is_some();
        if is_governed || self.has_others() {
            self.look_up();
        }
    }

    /// Lets ready and yielded fibers go first.
    pub(crate) fn give_way(&self) {
        if self.nest.is_none() && self.has_others() && !thread::panicking() {
            self.yielded.push(self.current_fiber());
            self.suspend();
        }
    }

    /// Stops the running task if it is to stop, and lets ready fibers go first, or else one that has yielded.
    #[cold]
    #[inline(never)]
    fn look_up(&self) {
        stop_if_due();
        if self.nest.is_none() && self.has_others() && !thread::panicking() {
            self.take_from_inbox();
            let yielded = if self.ready.is_empty() { self.yielded.pop() } else { None };
            let fiber = self.current_fiber();
            // Ready, so that it goes on before new tasks start.
            self.push_ready(fiber);
            // SAFETY: the current fiber is the one that runs.
            unsafe { fiber.suspend(yielded.map_or(Step::SUSPENDED, Step::handed)) };
            stop_if_told();
        }
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

    /// See [`yield_now`](crate::yield_now).
    #[inline(always)] // See there.
    pub(crate) fn yield_now(&self) {
        if thread::panicking() {
            return;
        }
        if let Some(why) = self.current_fiber().record().stopped() {
            why.unwind();
        }
        self.give_turn();
    }

    /// Lets ready and yielded fibers and new tasks go first, whatever stops the task of the running fiber: what runs inline on
    /// that fiber may be a task that nothing stops.
    #[inline(always)] // See `yield_now`.
    pub(crate) fn give_turn(&self) {
        self.yields.set(self.yields.get().wrapping_add(1));
        // The switch waits for this value, so it is asked for first.
        let fiber = self.current_fiber();
        let is_clear = !self.is_time_to_search() && self.has_nothing_else();
        let step = if is_clear {
            // The loop need not find out again whose turn it is.
            match self.yielded.rotate(fiber) {
                Some(next) => Step::handed(next),
                None => return,
            }
        } else if self.has_nothing_below() {
            return;
        } else {
            self.yielded.push(fiber);
            Step::SUSPENDED
        };
        // SAFETY: the current fiber is the one that runs.
        unsafe { fiber.suspend(step) };
    }

    /// Whether there is neither a ready fiber, nor a task of this worker's own, nor one from outside.
    #[inline]
    fn has_nothing_else(&self) -> bool {
        !self.has_ready() && self.deque.is_empty() && self.shared.injector.is_empty()
    }

    /// Claims the newest task if it is of that batch, and no fiber is ready, which would go first, or has yielded, which would
    /// have its turn.
    #[inline]
    pub(crate) fn claim_next_of(&self, batch: NonNull<Header>) -> Option<usize> {
        if self.has_others() { None } else { self.deque.pop_of(batch) }
    }

    /// Notes that a fiber of this worker may go on. Called on the worker's thread.
    pub(super) fn push_ready(&self, fiber: FiberRef) {
        self.counters.readied.add(1);
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
        !self.ready.is_empty() || !self.inbox().is_empty()
    }

    /// Whether there are fibers that may go on instead of the running one.
    #[inline]
    fn has_others(&self) -> bool {
        self.has_ready() || !self.yielded.is_empty()
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
        self.shared.idle.notify();
    }

    /// Runs tasks until the runtime is closed and nothing is in hand.
    pub(super) fn run(&self) {
        current::enter_worker(self, || {
            while let Some(next) = self.next() {
                self.counters.switches.add(1);
                let (mut fiber, mut step) = match next {
                    Next::Resume(fiber) => {
                        self.set_current(fiber);
                        // SAFETY: the fiber was ready or yielded, and this is the loop.
                        (fiber, unsafe { fiber.resume() })
                    }
                    Next::Start(batch, first) => match self.fibers.take(self) {
                        Some(fiber) => {
                            // SAFETY: the fiber is idle and of this worker; the task was claimed and has not arrived.
                            unsafe { fiber.begin(batch, first, Resumer::Loop) };
                            self.set_current(fiber);
                            // SAFETY: it has just begun.
                            (fiber, unsafe { fiber.start(batch) })
                        }
                        None => {
                            self.put_back(batch, first);
                            continue;
                        }
                    },
                };
                while let Some(next) = step.next() {
                    fiber = next;
                    self.counters.switches.add(1);
                    self.set_current(fiber);
                    // SAFETY: the fiber had yielded, and this is the loop.
                    step = unsafe { fiber.resume() };
                }
                self.current.set(None);
                if step.ended().is_some() {
                    self.fibers.recycle(fiber);
                    if self.fibers.is_large() {
                        self.tend_fibers();
                    }
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

    /// Whether to look at other workers although fibers of this one have yielded, and would be resumed.
    #[inline]
    fn is_time_to_search(&self) -> bool {
        self.yields.get() == 0
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
            if turn == Turn::Others
                && let Some(job) = self.take_injected()
            {
                return Some(self.begin(job));
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
                if self.is_time_to_search() {
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
    fn next_ready(&self) -> Option<FiberRef> {
        self.take_from_inbox();
        self.ready.pop().inspect(|_| self.counters.ready_resumes.add(1))
    }

    /// Makes a job from elsewhere this worker's own: starts its first task, and leaves the others where thieves see them.
    fn begin(&self, job: Job<Header>) -> Next {
        let Job { batch, tasks } = job;
        if tasks.len() > 1 {
            self.push(Job { batch, tasks: tasks.start + 1..tasks.end });
        }
        Next::Start(batch, tasks.start)
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
