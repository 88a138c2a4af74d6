#![expect(unsafe_code, reason = "what a fiber refers to crosses to the thread that stands in for it")]
//! The twin of a coroutine: the same surface, with an OS thread for a stack.
//!
//! ThreadSanitizer and Miri know threads and not switches of stacks. With this in the place of corosensei's coroutine they
//! run the scheduler as it ships: the same deques, inboxes, counters and parking, on the same control blocks.
//!
//! # Protocol
//!
//! Exactly one of two parties runs, and the *turn* says which:
//!
//! | turn | who runs | what the other does |
//! |---|---|---|
//! | `RESUMER` | who resumes the coroutine, or may | the coroutine's thread waits in `Baton::wait`, or has ended |
//! | `COROUTINE` | the coroutine's thread | the resumer waits in `resume` |
//!
//! Who runs writes what it hands over into the baton, then gives the turn away by a release store, and unparks the other,
//! which reads the turn by an acquire load. So all that either did before a switch happens before all that the other does
//! after it, as on one thread. The standard library takes no part in that order, and need not be instrumented: parking is
//! only a way to wait.
//!
//! # What is one thread's for coroutines and two threads' for twins
//!
//! - The crate's thread-local. Its value goes with the turn, in both directions, so that code on a fiber finds its home
//!   worker, and the worker finds what it had.
//! - Other thread-locals, the name and the id of the thread, its affinity: those of the twin's own thread. Tests of these
//!   do not hold on twins.
//! - The count of panics is the twin's own, which is what it would find otherwise: nothing suspends while its thread unwinds.

use crate::current::{self, Handover};
use std::any::Any;
use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle, Thread};

pub(in crate::runtime) use corosensei::CoroutineResult;

const RESUMER: usize = 0;
const COROUTINE: usize = 1;

/// What both parties know.
struct Baton<Input, Yield, Return> {
    turn: AtomicUsize,
    /// Belongs to the party whose turn it is.
    hand: UnsafeCell<Hand<Input, Yield, Return>>,
}

struct Hand<Input, Yield, Return> {
    /// `None` tells a coroutine that never ran to end.
    input: Option<Input>,
    output: Option<CoroutineResult<Yield, Result<Return, Box<dyn Any + Send>>>>,
    /// The value of the crate's thread-local.
    context: Option<Handover>,
    /// Whom to unpark when the turn goes back.
    resumer: Option<Thread>,
}

// SAFETY: `hand` blocks the auto trait. It is used by the party whose turn it is, and the turn is handed over by a release
// store and an acquire load.
unsafe impl<Input, Yield, Return> Sync for Baton<Input, Yield, Return> {}
// SAFETY: what is in `hand` crosses threads although it need not be `Send`: on a coroutine it would stay on one, and as
// one party waits while the other runs, neither can tell.
unsafe impl<Input, Yield, Return> Send for Baton<Input, Yield, Return> {}

impl<Input, Yield, Return> Baton<Input, Yield, Return> {
    /// Uses what is handed over.
    ///
    /// # Safety
    ///
    /// It is the caller's turn, and `f` does not come back here.
    unsafe fn with<R>(&self, f: impl FnOnce(&mut Hand<Input, Yield, Return>) -> R) -> R {
        // SAFETY: only the party whose turn it is does this, once at a time.
        f(unsafe { &mut *self.hand.get() })
    }

    fn give(&self, turn: usize, other: &Thread) {
        // ORDERING: Release hands over all that this party did; pairs with `wait`.
        self.turn.store(turn, Ordering::Release);
        other.unpark();
    }

    fn wait(&self, turn: usize) {
        // ORDERING: Acquire pairs with `give`.
        while self.turn.load(Ordering::Acquire) != turn {
            thread::park();
        }
    }
}

/// As `corosensei::Coroutine`.
pub(in crate::runtime) struct Coroutine<Input, Yield, Return, Stack> {
    baton: Arc<Baton<Input, Yield, Return>>,
    thread: Option<JoinHandle<()>>,
    is_done: bool,
    /// Nothing runs on it, but it is this coroutine's.
    _stack: Stack,
    /// Neither `Send` nor `Sync`, as the original.
    _one_thread: PhantomData<*mut ()>,
}

/// As `corosensei::Yielder`.
pub(in crate::runtime) struct Yielder<Input, Yield> {
    switch: Box<dyn Fn(Yield) -> Input>,
}

/// Something that another thread is given.
struct Carried<T>(T);

// SAFETY: see `Baton`.
unsafe impl<T> Send for Carried<T> {}

impl<T> Carried<T> {
    fn unwrap(self) -> T {
        self.0
    }
}

impl<Input: 'static, Yield: 'static, Return: 'static, Stack> Coroutine<Input, Yield, Return, Stack> {
    pub(in crate::runtime) fn with_stack(
        stack: Stack,
        f: impl FnOnce(&Yielder<Input, Yield>, Input) -> Return + 'static,
    ) -> Self {
        let hand = Hand { input: None, output: None, context: None, resumer: None };
        let baton = Arc::new(Baton { turn: AtomicUsize::new(RESUMER), hand: UnsafeCell::new(hand) });
        let (theirs, f) = (Arc::clone(&baton), Carried(f));
        let thread = thread::Builder::new().name("twin".to_owned()).spawn(move || run(theirs, f.unwrap()));
        let thread = thread.expect("a twin needs a thread: run fewer tasks at a time");
        Self { baton, thread: Some(thread), is_done: false, _stack: stack, _one_thread: PhantomData }
    }

    pub(in crate::runtime) fn done(&self) -> bool {
        self.is_done
    }

    pub(in crate::runtime) fn resume(&mut self, input: Input) -> CoroutineResult<Yield, Return> {
        assert!(!self.is_done, "a coroutine that has returned is not resumed");
        let output = self.switch(Some(input)).expect("the other party leaves an output");
        match output {
            CoroutineResult::Yield(value) => CoroutineResult::Yield(value),
            CoroutineResult::Return(result) => {
                self.is_done = true;
                CoroutineResult::Return(result.unwrap_or_else(|payload| panic::resume_unwind(payload)))
            }
        }
    }
}

impl<Input, Yield, Return, Stack> Coroutine<Input, Yield, Return, Stack> {
    fn switch(&self, input: Option<Input>) -> Option<CoroutineResult<Yield, Result<Return, Box<dyn Any + Send>>>> {
        let give = |hand: &mut Hand<Input, Yield, Return>| {
            hand.input = input;
            hand.context = Some(current::hand_over());
            hand.resumer = Some(thread::current());
        };
        // SAFETY: the resumer runs, so it is its turn.
        unsafe { self.baton.with(give) };
        self.baton.give(COROUTINE, self.thread.as_ref()?.thread());
        self.baton.wait(RESUMER);
        let take = |hand: &mut Hand<Input, Yield, Return>| {
            hand.context.take().inspect(|context| current::take_over(context));
            hand.output.take()
        };
        // SAFETY: it has become the resumer's turn.
        unsafe { self.baton.with(take) }
    }
}

impl<Input, Yield, Return, Stack> Drop for Coroutine<Input, Yield, Return, Stack> {
    fn drop(&mut self) {
        if !self.is_done {
            // The crate drops only coroutines that have returned, or that never ran.
            let _ = self.switch(None);
        }
        // A panic of the body was given to the resumer.
        self.thread.take().map(JoinHandle::join);
    }
}

impl<Input, Yield> Yielder<Input, Yield> {
    pub(in crate::runtime) fn suspend(&self, value: Yield) -> Input {
        (self.switch)(value)
    }
}

/// What the thread of a coroutine does.
fn run<Input: 'static, Yield: 'static, Return: 'static>(
    baton: Arc<Baton<Input, Yield, Return>>,
    f: impl FnOnce(&Yielder<Input, Yield>, Input) -> Return,
) {
    let input = begin_turn(&baton);
    let theirs = Arc::clone(&baton);
    let switch = move |value| {
        end_turn(&theirs, Some(CoroutineResult::Yield(value)));
        begin_turn(&theirs).expect("only coroutines that never ran are dropped")
    };
    let yielder = Yielder { switch: Box::new(switch) };
    let output =
        input.map(|input| CoroutineResult::Return(panic::catch_unwind(AssertUnwindSafe(|| f(&yielder, input)))));
    end_turn(&baton, output);
}

/// Waits for the coroutine's turn.
fn begin_turn<Input, Yield, Return>(baton: &Baton<Input, Yield, Return>) -> Option<Input> {
    baton.wait(COROUTINE);
    let take = |hand: &mut Hand<Input, Yield, Return>| {
        hand.context.take().inspect(|context| current::take_over(context));
        hand.input.take()
    };
    // SAFETY: it has become the coroutine's turn.
    unsafe { baton.with(take) }
}

/// Gives the turn back.
fn end_turn<Input, Yield, Return>(
    baton: &Baton<Input, Yield, Return>,
    output: Option<CoroutineResult<Yield, Result<Return, Box<dyn Any + Send>>>>,
) {
    let give = |hand: &mut Hand<Input, Yield, Return>| {
        hand.output = output;
        hand.context = Some(current::hand_over());
        hand.resumer.take()
    };
    // SAFETY: the coroutine runs, so it is its turn.
    let resumer = unsafe { baton.with(give) };
    if let Some(resumer) = resumer {
        baton.give(RESUMER, &resumer);
    }
}
