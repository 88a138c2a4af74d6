#![expect(unsafe_code, reason = "the system is asked about ranges of memory")]
//! How much of the stacks is in memory, and how far down they have been used.
//!
//! A stack's pages are committed when they are touched, and stay until the stack's memory is given back. So the lowest page
//! that is in memory tells how far down the stack was used since.

use super::stack::page_size;
use std::ptr::NonNull;

/// What is known of the use of a stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Use {
    /// Bytes in memory.
    pub(super) resident: usize,
    /// Bytes from the top down to the lowest page in memory.
    pub(super) height: usize,
}

/// Calls `see` with what the system says of each of `pages` pages. `None` if it does not say.
pub(super) fn look<R>(bottom: NonNull<u8>, pages: usize, see: impl FnOnce(&[u8]) -> R) -> Option<R> {
    /// The pages of a stack of the default size.
    const FEW: usize = 512;
    let mut few = [0; FEW];
    let mut many = Vec::new();
    let bytes = match few.get_mut(..pages) {
        Some(bytes) => bytes,
        None => {
            many.resize(pages, 0);
            &mut many[..]
        }
    };
    // SAFETY: there is a byte for each page of the range. One that is not mapped is refused.
    let result = unsafe { libc::mincore(bottom.as_ptr().cast(), pages * page_size(), bytes.as_mut_ptr().cast()) };
    (result == 0).then(|| see(bytes))
}

/// Whether a page is in memory, by what the system says of it.
pub(super) fn is_resident(page: &u8) -> bool {
    page & 1 != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::roster::Roster;
    use crate::runtime::stack::{SMALLEST_STACK, StackPool};

    #[test]
    fn pages_that_were_touched_are_seen_until_they_are_given_back() {
        let page = page_size();
        let mut pool = StackPool::new(SMALLEST_STACK + 8 * page);
        let space = pool.take(&Roster::default()).unwrap();
        let (top, _) = space.split_top::<u8>();
        assert_eq!(space.height_above(0), 0);
        for pages in 1..=6 {
            // SAFETY: within the stack, which nothing uses.
            let place = unsafe { top.sub((pages - 1) * page) };
            // SAFETY: as above.
            unsafe { place.write(1) };
            assert_eq!(space.height_above(0), pages * page);
            assert_eq!(space.measure().height, pages * page);
            assert_eq!(space.height_above((pages - 1) * page), pages * page);
            assert_eq!(space.height_above(7 * page), 7 * page);
        }
        assert_eq!(space.measure().resident, 6 * page);
        // SAFETY: nothing uses the stack.
        unsafe { space.decommit() };
        assert_eq!(space.height_above(0), 0);
        assert_eq!(space.measure(), Use::default());
    }
}
