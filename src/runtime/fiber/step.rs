//! What crosses a switch from a fiber to who resumed it.

use super::{Fiber, FiberRef};
use std::num::NonZero;
use std::ptr::NonNull;

/// How a resume of a fiber ended: a word, so that it crosses the switch in a register.
///
/// | word | meaning |
/// |---|---|
/// | even | the task has yielded to the fiber at that address |
/// | 1 | the task waits for something |
/// | 2n + 3 | the fiber is free, having ended n tasks for which nobody has arrived yet |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a finished fiber is idle, a suspended one is not"]
pub(in crate::runtime) struct Step(NonNull<Fiber>);

const _: () = assert!(align_of::<Fiber>() > 1, "addresses are even");

impl Step {
    /// The task waits for something.
    pub(in crate::runtime) const SUSPENDED: Self = Self(NonNull::without_provenance(NonZero::<usize>::MIN));

    /// The fiber is free, having ended that many tasks for which nobody has arrived yet.
    #[inline]
    pub(in crate::runtime) fn finished(ended: usize) -> Self {
        Self(NonNull::without_provenance(NonZero::new(2 * ended + 3).expect("the word is odd")))
    }

    /// The task has yielded, and `next`, which is the worker's current fiber by now, goes on. Who resumed the task does not see to that unless it is the loop, but
    /// suspends with the same step.
    #[inline]
    pub(in crate::runtime) fn handed(next: FiberRef) -> Self {
        Self(next.0)
    }

    /// How many tasks the fiber ended, if it is free.
    #[inline]
    pub(in crate::runtime) fn ended(self) -> Option<usize> {
        if self.is_address() { None } else { (self.0.addr().get() / 2).checked_sub(1) }
    }

    /// The fiber that goes on, if it is clear which. The fiber that was resumed is not free then.
    #[inline]
    pub(in crate::runtime) fn next(self) -> Option<FiberRef> {
        self.is_address().then_some(FiberRef(self.0))
    }

    #[inline]
    fn is_address(self) -> bool {
        self.0.addr().get().is_multiple_of(2)
    }
}
