#![expect(unsafe_code, reason = "fibers are coroutines on stacks of our own, referred to by pointers")]
//! A fiber: a stack of its own on which tasks run, one after another.
//!
//! # States
//!
//! | state | who refers to the fiber |
//! |---|---|
//! | idle | the fiber before it in the list of the home worker's idle fibers (see `fiber_pool`), or who runs there; its coroutine is suspended between two tasks |
//! | running | the home worker's `current`, or, while it has resumed a child directly, that child's resumer chain |
//! | suspended | the waiter of what it waits for, or the worker's ring of yielded fibers |
//! | ready | the home worker's inbox or its queue of ready fibers |
//!
//! Only the home worker's thread ever looks into a fiber or resumes it, with one exception: any thread may put a suspended
//! fiber into its home worker's inbox ([`FiberRef::make_ready`]), for which it needs the link and the home.
//!
//! The control block lies at the top of the stack itself, so that a suspended fiber whose task has small frames costs one
//! page.

mod input;
mod seen;
mod serve;
mod step;

use super::coroutine::{Coroutine, CoroutineResult, Yielder};
use super::inbox::Linked;
use super::stack::{FiberStack, StackSpace};
use super::wait::Wait;
use super::worker::Hold;
use super::{Shared, Worker};
use crate::batch::Header;
use crate::primitives::AtomicPtr;
use crate::record::Record;
use crate::spans::{self, Spans};
pub(crate) use input::Input;
pub(crate) use serve::{Habit, Served};
use std::cell::{Cell, UnsafeCell};
use std::hint;
use std::ptr::{self, NonNull};
use std::sync::Arc;
pub(super) use step::Step;

/// Who is told of the tasks that a fiber ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resumer {
    /// The parent of the batch, which resumed the fiber directly and has not been suspended since. It counts by itself.
    Parent,
    /// The worker's loop. The fiber arrives for the tasks.
    Loop,
}

/// The control block of a fiber.
pub(crate) struct Fiber {
    /// Touched by the home worker's thread only, and only between switches.
    coroutine: UnsafeCell<Coroutine<Input, Step, (), FiberStack>>,
    yielder: Cell<*const Yielder<Input, Step>>,
    /// The index of the first task that it runs of the batch. Zero of an idle fiber, since a parent starts its child with that one.
    first: Cell<usize>,
    /// The parent, of an idle fiber.
    resumer: Cell<Resumer>,
    /// Of an idle fiber, the next one of the worker's idle fibers; of a running one, the first of them.
    idle: Cell<Option<FiberRef>>,
    /// What is known of the task that runs on it.
    record: Record,
    /// The innermost of the records of tasks that run on this stack as a part of the fiber's own, while the fiber is suspended
    /// in one of them; null for the fiber's own.
    inner: Cell<*const Record>,
    wait: Wait,
    /// Its place in the roster of the home worker, whose lock guards it.
    place: Cell<usize>,
    /// Where workers nest: whether it keeps others from running on its worker. Used by the home worker's thread alone.
    hold: Cell<Hold>,
    /// The fiber that did so before it.
    outer: Cell<Option<FiberRef>>,
    /// Whether the loop started its task ahead of others.
    ahead: Cell<bool>,
    /// The spans that the task is in.
    spans: Spans,
    /// Links the fiber into the inbox.
    link: AtomicPtr<Fiber>,
    /// Links the fiber into the worker's queue that it is in, or behind its last fiber. Used by the home worker's thread alone.
    after: Cell<Option<FiberRef>>,
    home: NonNull<Worker>,
    home_index: usize,
    shared: NonNull<Shared>,
    space: StackSpace,
}

// SAFETY: `link` returns the one field, which only inboxes use; a fiber is in one at a time.
unsafe impl Linked for Fiber {
    fn link(&self) -> &AtomicPtr<Self> {
        &self.link
    }
}

/// A fiber by reference. Good until its home worker retires the fiber, which it does only with idle ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FiberRef(NonNull<Fiber>);

impl FiberRef {
    /// The control block.
    #[inline]
    fn get(&self) -> &Fiber {
        // SAFETY: a reference to a fiber is held only while the fiber is not retired.
        unsafe { self.0.as_ref() }
    }

    /// What is known of the task that runs on the fiber. Good as long as that task.
    #[inline]
    pub(crate) fn record<'a>(self) -> &'a Record {
        // SAFETY: a reference to a fiber is held only while the fiber is not retired.
        unsafe { &(*self.0.as_ptr()).record }
    }

    /// The spans that its task is in. Good as long as that task.
    #[inline]
    pub(crate) fn spans<'a>(self) -> &'a Spans {
        // SAFETY: a reference to a fiber is held only while the fiber is not retired.
        unsafe { &(*self.0.as_ptr()).spans }
    }

    /// Hands a suspended fiber to its home worker. Called once per suspension, from any thread.
    pub(crate) fn make_ready(self) {
        let fiber = self.get();
        fiber.wait.end();
        let (home, index) = (fiber.home, fiber.home_index);
        let here = crate::current::worker();
        if let Some(worker) = here.filter(|worker| ptr::eq(*worker, home.as_ptr())) {
            worker.push_ready(self);
            return;
        }
        let shared = fiber.shared;
        // The home worker may run the fiber to its end, and the executor may be dropped, as soon as the fiber is in the
        // inbox. A worker of the same executor keeps it alive; anybody else takes a share.
        let _share = if here.is_some_and(|worker| worker.belongs_to(shared)) {
            None
        } else {
            // SAFETY: the pointer came from an `Arc` that the home worker holds, which has a suspended fiber.
            unsafe { Arc::increment_strong_count(shared.as_ptr()) };
            // SAFETY: the share was taken above.
            Some(unsafe { Arc::from_raw(shared.as_ptr()) })
        };
        // SAFETY: kept alive as said above.
        let shared = unsafe { shared.as_ref() };
        // SAFETY: the fiber is suspended and in no list, and it lives until its home worker has taken it out.
        unsafe { shared.inbox(index).push(self.0) };
        shared.wake(index);
    }

    /// Switches to the fiber until it suspends or is free.
    ///
    /// # Safety
    ///
    /// - The caller is the home worker's thread, and not this fiber or one that it resumed.
    /// - An idle fiber has begun with what the input says; any other is ready or yielded.
    #[inline]
    unsafe fn switch(self, input: Input) -> Step {
        // SAFETY: only the resumer touches the coroutine, and this is the only resumer.
        let coroutine = unsafe { &mut *self.get().coroutine.get() };
        // SAFETY: only `retire` lets the body return, and nobody refers to the fiber afterwards.
        unsafe { hint::assert_unchecked(!coroutine.done()) };
        match coroutine.resume(input) {
            CoroutineResult::Yield(step) => step,
            // SAFETY: the body returns only when an idle fiber is told to end, which only `retire` does.
            CoroutineResult::Return(()) => unsafe { hint::unreachable_unchecked() },
        }
    }

    /// Gives an idle fiber a batch, of which it is to run the first task and then what the deque has, for the parent.
    ///
    /// # Safety
    ///
    /// The fiber is idle, the caller is on the home worker's thread, and the batch is shared and not joined before the fiber has run.
    #[inline]
    pub(super) unsafe fn begin(self, batch: NonNull<Header>) {
        debug_assert_eq!((self.get().first.get(), self.get().resumer.get()), (0, Resumer::Parent));
        // SAFETY: as the caller says.
        unsafe { self.note_task(batch, 0) };
    }

    /// Gives an idle fiber a batch, of which it is to run `first` and then what the deque has, for the loop.
    ///
    /// # Safety
    ///
    /// As for [`begin`](Self::begin).
    pub(super) unsafe fn begin_for_loop(self, batch: NonNull<Header>, first: usize) {
        self.get().first.set(first);
        self.get().resumer.set(Resumer::Loop);
        // SAFETY: as the caller says.
        unsafe { self.note_task(batch, first) };
    }

    /// Notes what the fiber is about to run, from when on it is live.
    ///
    /// # Safety
    ///
    /// As for [`begin`](Self::begin).
    #[inline]
    unsafe fn note_task(self, batch: NonNull<Header>, first: usize) {
        // For `batch`.
        batch.as_ptr().expose_provenance();
        // SAFETY: live, says the caller.
        let header = unsafe { batch.as_ref() };
        // SAFETY: shared, says the caller.
        self.get().record.begin(unsafe { header.origin() }, first);
    }

    /// Starts a fiber for the parent of a batch.
    ///
    /// # Safety
    ///
    /// The fiber has [begun](Self::begin) with that batch, whose first task is claimed, and the caller is the parent.
    #[inline]
    pub(super) unsafe fn start(self, batch: NonNull<Header>) -> Step {
        // SAFETY: as the caller says.
        unsafe { self.switch(Input::from_parent(batch)) }
    }

    /// Starts a fiber for the loop.
    ///
    /// # Safety
    ///
    /// The fiber has [begun](Self::begin_for_loop) with that batch and a claimed task, and the caller is the home worker's loop.
    pub(super) unsafe fn start_for_loop(self, batch: NonNull<Header>) -> Step {
        // SAFETY: as the caller says.
        unsafe { self.switch(Input::from_loop(batch)) }
    }

    /// Notes that the fiber is idle.
    #[inline]
    pub(super) fn end(self) {
        self.get().record.end();
    }

    /// Resumes a ready or yielded fiber.
    ///
    /// # Safety
    ///
    /// The fiber is one or the other, and the caller is the home worker's loop.
    #[inline]
    pub(super) unsafe fn resume(self) -> Step {
        // SAFETY: as the caller says; the fiber is in the middle of a task and ignores the input.
        unsafe { self.switch(Input::END) }
    }

    /// Suspends this fiber, which is the one running, until it is resumed.
    ///
    /// # Safety
    ///
    /// The caller runs on this fiber.
    #[inline(always)] // See `Worker::yield_now`.
    pub(super) unsafe fn suspend(self, step: Step) {
        // SAFETY: the yielder was noted when the fiber first ran, and its address does not change.
        let yielder = unsafe { &*self.get().yielder.get() };
        spans::leave(self.spans());
        yielder.suspend(step);
        // Only the loop resumes. Not said before: up to the switch, the fiber that resumed this one waits for it, as surveys tell.
        self.get().resumer.set(Resumer::Loop);
        spans::come_back(self.spans());
    }

    /// Makes an idle fiber of `worker` on a stack that nothing uses.
    pub(super) fn create(space: StackSpace, worker: &Worker) -> Self {
        let (control, stack) = space.split_top::<Fiber>();
        let fiber = FiberRef(control);
        let coroutine = Coroutine::with_stack(stack, move |yielder, input| serve::body(fiber, yielder, input));
        let block = Fiber {
            coroutine: UnsafeCell::new(coroutine),
            yielder: Cell::new(ptr::null()),
            first: Cell::new(0),
            resumer: Cell::new(Resumer::Parent),
            idle: Cell::new(None),
            record: Record::new(),
            inner: Cell::new(ptr::null()),
            wait: Wait::default(),
            place: Cell::new(0),
            hold: Cell::new(Hold::Not),
            outer: Cell::new(None),
            ahead: Cell::new(false),
            spans: Spans::new(),
            link: AtomicPtr::new(ptr::null_mut()),
            after: Cell::new(None),
            home: NonNull::from(worker),
            home_index: worker.index(),
            shared: worker.shared_pointer(),
            space,
        };
        // SAFETY: the place was set aside for a control block and nothing uses it.
        unsafe { control.write(block) };
        fiber
    }

    /// Ends the fiber and gives the stack that it used.
    ///
    /// # Safety
    ///
    /// The fiber is idle, the caller is on its home worker's thread, and nobody uses the reference afterwards.
    pub(super) unsafe fn retire(self) -> StackSpace {
        let space = self.get().space;
        // SAFETY: only the resumer touches the coroutine, and this is the only resumer.
        let coroutine = unsafe { &mut *self.get().coroutine.get() };
        // The fiber is idle, so its body returns.
        let result = coroutine.resume(Input::END);
        assert_eq!(result, CoroutineResult::Return(()), "an idle fiber that is told to end does so");
        // SAFETY: nobody refers to the fiber any more, says the caller.
        unsafe { self.0.drop_in_place() };
        space
    }

    /// The memory of the fiber's stack.
    pub(super) fn space(self) -> StackSpace {
        self.get().space
    }

    /// Usable bytes of the fiber's stack, control block included.
    pub(super) fn stack_size(self) -> usize {
        self.get().space.usable()
    }

    pub(super) fn hold(self) -> Hold {
        self.get().hold.get()
    }

    pub(super) fn set_hold(self, hold: Hold) {
        self.get().hold.set(hold);
    }

    /// The fiber that holds the worker next to this one, further out.
    pub(super) fn outer(self) -> Option<Self> {
        self.get().outer.get()
    }

    pub(super) fn set_outer(self, outer: Option<Self>) {
        self.get().outer.set(outer);
    }

    /// How many bytes of the fiber's stack lie below something that is on it; `None` if it is on another.
    pub(super) fn room_below<T>(self, here: &T) -> Option<usize> {
        self.get().space.room_below(here)
    }

    /// The worker's idle fibers: a running fiber notes the first of them, an idle one the next. Of any other, it says nothing.
    #[inline]
    pub(super) fn idle<'a>(self) -> &'a Cell<Option<Self>> {
        // SAFETY: a reference to a fiber is held only while the fiber is not retired.
        unsafe { &(*self.0.as_ptr()).idle }
    }

    /// Whether the loop started its task ahead of what the worker had begun.
    pub(super) fn is_ahead(&self) -> &Cell<bool> {
        &self.get().ahead
    }

    #[inline]
    pub(super) fn address(self) -> usize {
        self.0.addr().get()
    }

    /// The fiber after this one in the worker's queue that this one is in.
    #[inline]
    pub(super) fn after<'a>(self) -> &'a Cell<Option<Self>> {
        // SAFETY: a reference to a fiber is held only while the fiber is not retired.
        unsafe { &(*self.0.as_ptr()).after }
    }

    /// The fiber that an inbox gave out.
    pub(super) fn from_inbox(fiber: NonNull<Fiber>) -> Self {
        Self(fiber)
    }
}
