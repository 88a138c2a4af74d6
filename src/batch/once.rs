#![expect(unsafe_code, reason = "functions and results are behind cells")]
//! The tasks of a join, and a task by itself: functions that are called once.

use super::Tasks;
use std::cell::UnsafeCell;

/// One function and the place of its result.
pub(crate) struct OnceTask<F, R> {
    function: UnsafeCell<Option<F>>,
    result: UnsafeCell<Option<R>>,
}

impl<F: FnOnce() -> R, R> OnceTask<F, R> {
    #[inline]
    pub(crate) fn new(function: F) -> Self {
        Self { function: UnsafeCell::new(Some(function)), result: UnsafeCell::new(None) }
    }

    /// The result, if the function ran to its end.
    #[inline]
    pub(crate) fn take_result(&mut self) -> Option<R> {
        self.result.get_mut().take()
    }

    /// Calls the function.
    ///
    /// # Safety
    ///
    /// Called at most once, with nobody else looking at the cells.
    #[inline]
    unsafe fn call(&self) {
        // SAFETY: this is the only access to the function.
        let function = unsafe { (*self.function.get()).take() };
        if let Some(function) = function {
            let result = function();
            // SAFETY: this is the only access to the result until the task has ended.
            unsafe { *self.result.get() = Some(result) };
        }
    }
}

impl<F: FnOnce() -> R, R> Tasks for OnceTask<F, R> {
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
