#![expect(unsafe_code, reason = "a function that borrows is on its way as one that does not")]
//! The one place where the lifetime of what a function borrows is erased.

use std::fmt;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

/// A boxed function of one argument that is called once, or dropped, on any thread, before what it borrows is gone.
pub(crate) struct ErasedFn<A> {
    function: NonNull<()>,
    /// Takes the function out of its box, and calls it if there is an argument.
    end: unsafe fn(NonNull<()>, Option<A>),
}

// SAFETY: `function` blocks the auto trait; it points to a box that `new` asked to be `Send`.
unsafe impl<A> Send for ErasedFn<A> {}

impl<A> ErasedFn<A> {
    /// # Safety
    ///
    /// The result is called or dropped before anything that `f` borrows is gone.
    pub(crate) unsafe fn new<F: FnOnce(A) + Send>(f: F) -> Self {
        Self { function: NonNull::from(Box::leak(Box::new(f))).cast(), end: end::<A, F> }
    }

    pub(crate) fn call(self, argument: A) {
        let this = ManuallyDrop::new(self);
        // SAFETY: the box is as `new` made it, and given up here.
        unsafe { (this.end)(this.function, Some(argument)) };
    }
}

/// # Safety
///
/// `function` came from a box of an `F`, and this is its last use.
unsafe fn end<A, F: FnOnce(A)>(function: NonNull<()>, argument: Option<A>) {
    // SAFETY: as the caller says.
    let function = unsafe { Box::from_raw(function.cast::<F>().as_ptr()) };
    if let Some(argument) = argument {
        function(argument);
    }
}

impl<A> Drop for ErasedFn<A> {
    fn drop(&mut self) {
        // SAFETY: the box is as `new` made it, and `call` forgets this.
        unsafe { (self.end)(self.function, None) };
    }
}

impl<A> fmt::Debug for ErasedFn<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ErasedFn").finish_non_exhaustive()
    }
}
