#![expect(unsafe_code, reason = "functions and results are behind cells")]
//! The tasks of a join, and a task by itself: functions that are called once.

use super::Tasks;
use std::cell::UnsafeCell;
use std::mem::{self, ManuallyDrop, MaybeUninit};

/// One function and, later in the same place, its result.
///
/// The states, which whoever claimed the task changes, and the parent reads after the join. They are for the destructor,
/// and there are none where neither the function nor the result has one:
///
/// | state | `place` holds |
/// |---|---|
/// | `Unstarted` | the function |
/// | `Started` | nothing: the function runs, or panicked |
/// | `Ended` | the result |
pub(crate) struct OnceTask<F, R> {
    /// Initialised if tracked.
    state: UnsafeCell<MaybeUninit<State>>,
    place: UnsafeCell<Place<F, R>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Unstarted,
    Started,
    Ended,
}

union Place<F, R> {
    function: ManuallyDrop<F>,
    result: ManuallyDrop<R>,
}

impl<F, R> OnceTask<F, R> {
    /// Whether anything reads the state.
    const TRACKED: bool = mem::needs_drop::<F>() || mem::needs_drop::<R>();

    #[inline]
    fn note(state: &mut MaybeUninit<State>, now: State) {
        if Self::TRACKED {
            state.write(now);
        }
    }
}

impl<F: FnOnce() -> R, R> OnceTask<F, R> {
    #[inline]
    pub(crate) fn new(function: F) -> Self {
        let place = Place { function: ManuallyDrop::new(function) };
        let state = if Self::TRACKED { MaybeUninit::new(State::Unstarted) } else { MaybeUninit::uninit() };
        Self { state: UnsafeCell::new(state), place: UnsafeCell::new(place) }
    }

    /// The result.
    ///
    /// # Safety
    ///
    /// The task has ended, without a panic, and its result was not taken before.
    #[inline]
    pub(crate) unsafe fn take_result(&mut self) -> R {
        let state = self.state.get_mut();
        Self::note(state, State::Started);
        let place = self.place.get_mut();
        // SAFETY: the place holds the result, says the caller, and the state says otherwise from here on.
        unsafe { ManuallyDrop::take(&mut place.result) }
    }

    /// Calls the function.
    ///
    /// # Safety
    ///
    /// Called at most once, with nobody else looking at the task until it has ended.
    #[inline]
    unsafe fn call(&self) {
        // SAFETY: nobody else looks at the state.
        let state = unsafe { &mut *self.state.get() };
        // SAFETY: nobody else looks at the place.
        let place = unsafe { &mut *self.place.get() };
        Self::note(state, State::Started);
        // SAFETY: the task has not been called before, so the place holds the function; the state says otherwise now.
        let function = unsafe { ManuallyDrop::take(&mut place.function) };
        place.result = ManuallyDrop::new(function());
        Self::note(state, State::Ended);
    }
}

impl<F, R> Drop for OnceTask<F, R> {
    #[inline]
    fn drop(&mut self) {
        if !Self::TRACKED {
            return;
        }
        let place = self.place.get_mut();
        // SAFETY: tracked, so initialised.
        match unsafe { self.state.get_mut().assume_init() } {
            // SAFETY: the place holds the function, and this is the last access.
            State::Unstarted => unsafe { ManuallyDrop::drop(&mut place.function) },
            State::Started => {}
            // SAFETY: the place holds the result, and this is the last access.
            State::Ended => unsafe { ManuallyDrop::drop(&mut place.result) },
        }
    }
}

impl<F: FnOnce() -> R, R> Tasks for OnceTask<F, R> {
    const LEN: Option<usize> = Some(1);

    #[inline]
    unsafe fn run_task(&self, _idx: usize) {
        // SAFETY: the batch has one task, which is claimed once.
        unsafe { self.call() };
    }
}

/// Two functions.
pub(crate) struct BothTasks<A, RA, B, RB> {
    pub(crate) first: OnceTask<A, RA>,
    pub(crate) second: OnceTask<B, RB>,
}

impl<A: FnOnce() -> RA, RA, B: FnOnce() -> RB, RB> Tasks for BothTasks<A, RA, B, RB> {
    const LEN: Option<usize> = Some(2);

    #[inline]
    unsafe fn run_task(&self, idx: usize) {
        if idx == 0 {
            // SAFETY: the first task is claimed once.
            unsafe { self.first.call() };
        } else {
            // SAFETY: the second task is claimed once.
            unsafe { self.second.call() };
        }
    }
}
