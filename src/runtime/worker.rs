#![expect(unsafe_code, reason = "fibers are switched and batches arrived at by raw pointers")]
//! A worker: the loop that decides what runs next on one thread, and the fork of a batch by a fiber of that thread.
//!
//! # The fork
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

use super::deque::{Deque, Job, Steal};
use super::fiber::{Fiber, FiberPool, FiberQueue, FiberRef, Step};
use super::idle::Awake;
use super::inbox::Inbox;
use super::{Shared, affinity};
use crate::batch::{Arrival, Header, run_inline};
use crate::current::{self, Context};
use crate::waiter::Waiter;
use std::cell::Cell;
use std::hint;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::thread;

/// Idle fibers that a worker keeps when it goes to sleep.
const KEPT_FIBERS: usize = 64;
/// How often a worker looks around before it goes to sleep. The pause between two looks doubles up to
/// [`LONGEST_PAUSE`], counted in spin-loop hints.
const LOOKS_BEFORE_SLEEP: u32 = 20;
const LONGEST_PAUSE: u32 = 64;
/// A fiber that yields where there is nothing else to run makes its worker look at other workers every so many times.
const YIELDS_PER_SEARCH: u32 = 64;
/// A worker whose tasks fork without end looks every so many forks whether others wait for their turn.
const FORKS_PER_LOOK: u32 = 1024;

/// One worker of a runtime; lives on its thread.
pub(crate) struct Worker {
    shared: Arc<Shared>,
    index: usize,
    /// This worker's own, in `shared`.
    inbox: NonNull<Inbox<Fiber>>,
    deque: Deque<Header>,
    fibers: FiberPool,
    /// Fibers that may go on, taken from the inbox or made ready by this thread.
    ready: FiberQueue,
    /// Fibers that let others go first.
    yielded: FiberQueue,
    yields: Cell<u32>,
    forks: Cell<u32>,
    /// Whose turn it is between yielded fibers and new tasks.
    turn: Cell<Turn>,
    current: Cell<Option<FiberRef>>,
    context: Cell<*const Context<'static>>,
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
    pub(super) fn new(shared: Arc<Shared>, index: usize, deque: Deque<Header>) -> Self {
        let fibers = FiberPool::new(shared.stack_size());
        let inbox = NonNull::from(shared.inbox(index));
        Self {
            shared,
            index,
            inbox,
            deque,
            fibers,
            ready: FiberQueue::new(),
            yielded: FiberQueue::new(),
            yields: Cell::new(0),
            forks: Cell::new(0),
            turn: Cell::new(Turn::NewTask),
            current: Cell::new(None),
            context: Cell::new(ptr::null()),
            random: Cell::new(0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(index as u64 + 1)),
        }
    }

    pub(super) fn index(&self) -> usize {
        self.index
    }

    pub(super) fn shared_pointer(&self) -> NonNull<Shared> {
        NonNull::new(Arc::as_ptr(&self.shared).cast_mut()).expect("an Arc is not null")
    }

    pub(crate) fn belongs_to(&self, shared: NonNull<Shared>) -> bool {
        ptr::eq(Arc::as_ptr(&self.shared), shared.as_ptr())
    }

    /// The executor whose runtime this worker belongs to.
    pub(super) fn owner(&self) -> usize {
        self.shared.owner
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

    /// Runs a batch made by the running fiber, and returns when all its tasks have ended.
    ///
    /// # Panics
    ///
    /// Panics if the system does not give memory for a stack; nothing has started then.
    ///
    /// # Safety
    ///
    /// - The caller runs on a fiber of this worker, in the worker's own context.
    /// - The batch has `len` tasks, is live until the call returns, and nobody else knows it.
    #[inline(always)] // One return less per level of a nest, and the processor remembers few.
    pub(crate) unsafe fn fork(&self, batch: NonNull<Header>, len: usize) {
        self.forks.set(self.forks.get().wrapping_add(1));
        if self.has_ready() || thread::panicking() || self.forks.get().is_multiple_of(FORKS_PER_LOOK) {
            // SAFETY: as the caller says.
            return unsafe { self.fork_without_child(batch) };
        }
        let parent = self.current_fiber();
        let child = self.fibers.take(self);
        // SAFETY: live, says the caller.
        let header = unsafe { batch.as_ref() };
        // SAFETY: nobody else knows the batch.
        unsafe { header.set_waiter(Waiter::Fiber(parent)) };
        if len > 1 {
            self.push(Job { batch, tasks: 1..len });
        }
        self.current.set(Some(child));
        // SAFETY: the child is idle and of this worker; the first task was not pushed, so it is this call's.
        let step = unsafe { child.start_for_parent(batch, 0) };
        self.current.set(Some(parent));
        let ended = step.ended();
        if ended.is_some() {
            self.fibers.recycle(child);
        }
        if ended != Some(len) {
            // SAFETY: the tasks that the child ended are left to the parent, which has not arrived either.
            unsafe { self.wait(batch, ended.unwrap_or(0)) };
        }
    }

    /// Runs a batch whose first task is not handed to a child directly.
    ///
    /// # Safety
    ///
    /// As [`fork`](Self::fork).
    #[cold]
    #[inline(never)]
    unsafe fn fork_without_child(&self, batch: NonNull<Header>) {
        if thread::panicking() {
            // SAFETY: as the caller says. A fiber never suspends while its thread unwinds.
            return unsafe { run_inline(batch) };
        }
        if !self.yielded.is_empty() || !self.shared.injector.is_empty() {
            // A task that forks in a loop would keep them waiting for ever.
            self.turn.set(Turn::Others);
            self.yielded.push(self.current_fiber());
            self.suspend();
        }
        // SAFETY: live, says the caller.
        let header = unsafe { batch.as_ref() };
        // SAFETY: nobody else knows the batch.
        unsafe { header.set_waiter(Waiter::Fiber(self.current_fiber())) };
        self.push(Job { batch, tasks: 0..header.len() });
        // SAFETY: the parent has not arrived.
        unsafe { self.wait(batch, 0) };
    }

    /// Arrives for the parent, which is the running fiber, and for `ended` of its tasks, and suspends until all have.
    ///
    /// # Safety
    ///
    /// Neither the parent nor those tasks have arrived.
    #[cold]
    #[inline(never)]
    unsafe fn wait(&self, batch: NonNull<Header>, ended: usize) {
        // SAFETY: as the caller says.
        let arrival = unsafe { Header::count_down(batch, ended + 1) };
        if arrival == Arrival::Earlier {
            self.suspend();
        }
    }

    /// Suspends the running fiber until it is made ready.
    #[inline(always)] // See `yield_now`.
    pub(crate) fn suspend(&self) {
        let fiber = self.current_fiber();
        // SAFETY: the current fiber is the one that runs.
        unsafe { fiber.suspend() };
    }

    /// See [`yield_now`](crate::yield_now).
    #[inline(always)] // See there.
    pub(crate) fn yield_now(&self) {
        if thread::panicking() {
            return;
        }
        self.yields.set(self.yields.get().wrapping_add(1));
        let alone =
            !self.has_ready() && self.yielded.is_empty() && self.deque.is_empty() && self.shared.injector.is_empty();
        if alone && !self.yields.get().is_multiple_of(YIELDS_PER_SEARCH) {
            return;
        }
        self.yielded.push(self.current_fiber());
        self.suspend();
    }

    /// Claims the newest task if it is of that batch and no fiber is ready, which would go first.
    #[inline]
    pub(crate) fn claim_next_of(&self, batch: NonNull<Header>) -> Option<usize> {
        if self.has_ready() { None } else { self.deque.pop_of(batch) }
    }

    /// Notes that a fiber of this worker may go on. Called on the worker's thread.
    pub(super) fn push_ready(&self, fiber: FiberRef) {
        self.ready.push(fiber);
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

    #[inline]
    fn push(&self, job: Job<Header>) {
        self.deque.push(job);
        self.shared.idle.notify();
    }

    /// Runs tasks until the runtime is closed and nothing is in hand.
    pub(super) fn run(&self) {
        current::enter_worker(self, || {
            while let Some(next) = self.next() {
                let (fiber, step) = match next {
                    Next::Resume(fiber) => {
                        self.current.set(Some(fiber));
                        // SAFETY: the fiber was ready or yielded, and this is the loop.
                        (fiber, unsafe { fiber.resume() })
                    }
                    Next::Start(batch, first) => match self.fibers.try_take(self) {
                        Ok(fiber) => {
                            self.current.set(Some(fiber));
                            // SAFETY: the fiber is idle and of this worker; the task was claimed.
                            (fiber, unsafe { fiber.start(batch, first) })
                        }
                        Err(error) => {
                            // SAFETY: the task was claimed and has not arrived, so the batch is live.
                            unsafe { refuse(batch, first, &error) };
                            continue;
                        }
                    },
                };
                self.current.set(None);
                if step != Step::SUSPENDED {
                    self.fibers.recycle(fiber);
                }
            }
        });
    }

    /// Decides what runs next (invariant 5 of the design); `None` when the runtime has ended.
    fn next(&self) -> Option<Next> {
        loop {
            if let Some(fiber) = self.next_ready() {
                return Some(Next::Resume(fiber));
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
                if let Some(job) = self.search()? {
                    return Some(self.begin(job));
                }
            } else {
                if self.yields.get().is_multiple_of(YIELDS_PER_SEARCH) {
                    if let Some(job) = self.steal() {
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
        self.inbox().drain(|fiber| self.ready.push(FiberRef::from_inbox(fiber)));
        self.ready.pop()
    }

    /// Makes a job from elsewhere this worker's own: starts its first task, and leaves the others where thieves see them.
    fn begin(&self, job: Job<Header>) -> Next {
        let Job { batch, tasks } = job;
        if tasks.len() > 1 {
            self.push(Job { batch, tasks: tasks.start + 1..tasks.end });
        }
        Next::Start(batch, tasks.start)
    }

    fn take_injected(&self) -> Option<Job<Header>> {
        if self.shared.injector.is_empty() {
            return None;
        }
        loop {
            match self.shared.injector.steal() {
                Steal::Success(job) => return Some(job),
                Steal::Empty => return None,
                Steal::Retry => hint::spin_loop(),
            }
        }
    }

    /// Tries every other worker once, from a random one on, and again as long as one of them says so.
    fn steal(&self) -> Option<Job<Header>> {
        let seats = self.shared.workers();
        loop {
            let mut retry = false;
            let start = self.next_random() % seats;
            for victim in (0..seats).map(|step| (start + step) % seats).filter(|&victim| victim != self.index) {
                match self.shared.stealer(victim).steal() {
                    Steal::Success(job) => return Some(job),
                    Steal::Empty => {}
                    Steal::Retry => retry = true,
                }
            }
            if !retry {
                return None;
            }
            hint::spin_loop();
        }
    }

    /// Looks for work everywhere, briefly, and then sleeps. `Some(None)` if a fiber may be ready, `None` if the runtime
    /// has ended.
    fn search(&self) -> Option<Option<Job<Header>>> {
        let idle = &self.shared.idle;
        let mut state = Awake::Plain;
        loop {
            if state == Awake::Plain && idle.start_searching() {
                state = Awake::Searching;
            }
            let found = self.look_around(state);
            if self.shared.gate.is_done() {
                return None;
            }
            if found.is_some() || self.has_ready() {
                if state == Awake::Searching {
                    idle.stop_searching();
                }
                return Some(found);
            }
            self.fibers.trim(KEPT_FIBERS);
            idle.announce(self.index, state);
            state = if self.is_anything_left() { idle.retract(self.index) } else { idle.park(self.index) };
        }
    }

    /// Looks at the injector, and if it `may` search at the other workers, several times.
    fn look_around(&self, state: Awake) -> Option<Job<Header>> {
        for look in 0..LOOKS_BEFORE_SLEEP {
            if self.has_ready() || self.shared.gate.is_done() {
                return None;
            }
            let found = self.take_injected().or_else(|| if state == Awake::Searching { self.steal() } else { None });
            if found.is_some() {
                return found;
            }
            let pause = 1_u32.checked_shl(look).unwrap_or(LONGEST_PAUSE).min(LONGEST_PAUSE);
            (0..pause).for_each(|_| hint::spin_loop());
        }
        None
    }

    /// The last look before parking, at every place where this worker could find something to do.
    fn is_anything_left(&self) -> bool {
        self.has_ready()
            || !self.shared.injector.is_empty()
            || (0..self.shared.workers()).any(|victim| !self.shared.stealer(victim).is_empty())
            || self.shared.gate.is_done()
    }

    /// The next number of a xorshift generator (Marsaglia, 2003).
    fn next_random(&self) -> usize {
        let mut state = self.random.get();
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        self.random.set(state);
        state as usize
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

#[cold]
pub(super) fn no_stack(error: &io::Error) -> ! {
    panic!(
        "no memory for the stack of another fiber: {error}; run fewer tasks that wait, or give fibers smaller stacks"
    )
}

/// Fails a claimed task that cannot be started.
///
/// # Safety
///
/// The task was claimed and has not arrived.
#[cold]
unsafe fn refuse(batch: NonNull<Header>, idx: usize, error: &io::Error) {
    let payload = panic::catch_unwind(AssertUnwindSafe(|| no_stack(error))).unwrap_err();
    // SAFETY: the task has not arrived, so the batch is live.
    unsafe { batch.as_ref() }.fail(idx, payload);
    // SAFETY: this arrives for the one task; the batch is not touched again.
    unsafe { Header::arrive(batch, 1) };
}
