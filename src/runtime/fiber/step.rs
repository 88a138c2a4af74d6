//! What crosses a switch from a fiber to who resumed it.

use super::{Fiber, FiberRef};
use std::ptr::{self, NonNull};

/// How a resume of a fiber ended: a word, so that it crosses the switch in a register.
///
/// | word | meaning |
/// |---|---|
/// | null | the task waits for something |
/// | even | the task has yielded to the fiber at that address |
/// | odd | the fiber is free, having ended half as many tasks for which nobody has arrived yet |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a finished fiber must be recycled, a suspended one must not"]
pub(in crate::runtime) struct Step(*mut Fiber);

impl Step {
    /// The task waits for something.
    pub(in crate::runtime) const SUSPENDED: Self = Self(ptr::null_mut());

    /// The fiber is free, having ended that many tasks for which nobody has arrived yet.
    #[inline]
    pub(in crate::runtime) fn finished(ended: usize) -> Self {
        Self(ptr::without_provenance_mut(2 * ended + 1))
    }

    /// The task has yielded, and `next` goes on. Who resumed the task does not see to that unless it is the loop, but
    /// suspends with the same step.
    #[inline]
    pub(in crate::runtime) fn handed(next: FiberRef) -> Self {
        Self(next.0.as_ptr())
    }

    /// How many tasks the fiber ended, if it is free.
    #[inline]
    pub(in crate::runtime) fn ended(self) -> Option<usize> {
        (self.0.addr() % 2 == 1).then_some(self.0.addr() / 2)
    }

    /// The fiber that goes on, if it is clear which. The fiber that was resumed is not free then.
    #[inline]
    pub(in crate::runtime) fn next(self) -> Option<FiberRef> {
        if self.0.addr() % 2 == 1 { None } else { NonNull::new(self.0).map(FiberRef) }
    }
}
