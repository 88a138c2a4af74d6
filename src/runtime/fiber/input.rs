#![expect(unsafe_code, reason = "even words are known to be addresses")]
//! What crosses a switch to a fiber.

use crate::batch::Header;
use std::ptr::{self, NonNull};

/// What a fiber is resumed with: a word, so that it crosses the switch in a register, and one bit tells the frequent case.
///
/// | word | to an idle fiber | to one in the midst of a task |
/// |---|---|---|
/// | even | run tasks of the batch at that address, from the first on, for its parent, who has resumed the fiber | |
/// | 1 | end | go on |
/// | any other | run tasks of the batch at the address before, from the one on that is noted in the fiber, for the worker's loop | |
#[derive(Clone, Copy, Debug)]
pub(crate) struct Input(*const Header);

const _: () = assert!(align_of::<Header>() > 1, "addresses are even");

impl Input {
    pub(super) const END: Self = Self(ptr::without_provenance(1));

    #[inline]
    pub(super) fn from_parent(batch: NonNull<Header>) -> Self {
        Self(batch.as_ptr())
    }

    pub(super) fn from_loop(batch: NonNull<Header>) -> Self {
        Self(batch.as_ptr().wrapping_byte_add(1))
    }

    /// The batch that is to be run for its parent.
    #[inline]
    pub(crate) fn direct(self) -> Option<NonNull<Header>> {
        // SAFETY: even words are addresses of batches, which are not null.
        self.0.addr().is_multiple_of(2).then(|| unsafe { NonNull::new_unchecked(self.0.cast_mut()) })
    }

    /// The batch that is to be run for the loop.
    pub(super) fn for_loop(self) -> Option<NonNull<Header>> {
        NonNull::new(self.0.wrapping_byte_sub(1).cast_mut()).filter(|_| !self.0.addr().is_multiple_of(2))
    }
}
