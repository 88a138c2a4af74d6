#![expect(unsafe_code, reason = "nodes are published by pointer")]
//! Where stacks lie in memory, for a signal handler.
//!
//! The handler may meet any thread anywhere, so it reads without a lock, from nodes that are never freed. A node that a
//! slab has left is taken by the next one: a process has no more nodes than it ever had slabs at a time.

use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// The latest node.
static LATEST: AtomicPtr<Region> = AtomicPtr::new(ptr::null_mut());

/// In the place of an address: nobody has the node.
const VACANT: usize = 0;
/// In the place of an address: somebody is about to fill in the node.
const TAKEN: usize = 1;

/// One mapping that is cut into stacks.
#[derive(Debug)]
pub(super) struct Region {
    /// The lowest address, or [`VACANT`] or [`TAKEN`].
    bottom: AtomicUsize,
    bytes: AtomicUsize,
    /// Bytes from one stack to the next.
    stack_size: AtomicUsize,
    before: Option<&'static Region>,
}

/// Which stack an address is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    /// The lowest address of the region.
    pub(super) region: usize,
    /// Bytes per stack of the region.
    pub(super) stack_size: usize,
    /// The stack's place in the region.
    pub(super) stack: usize,
    /// How far above the lowest address of the stack.
    pub(super) height: usize,
}

impl Region {
    /// Makes a mapping known.
    pub(super) fn enter(bottom: usize, bytes: usize, stack_size: usize) -> &'static Self {
        let take = |region: &&Self| {
            // ORDERING: Acquire pairs with `leave`, whose caller does not look at the node any more.
            region.bottom.compare_exchange(VACANT, TAKEN, Ordering::Acquire, Ordering::Relaxed).is_ok()
        };
        let region = all().find(take).unwrap_or_else(Self::add);
        region.bytes.store(bytes, Ordering::Relaxed);
        region.stack_size.store(stack_size, Ordering::Relaxed);
        // ORDERING: Release publishes the sizes; pairs with `spot_of`.
        region.bottom.store(bottom, Ordering::Release);
        region
    }

    /// A node more, which nobody else takes.
    fn add() -> &'static Self {
        let mut latest = LATEST.load(Ordering::Acquire);
        let new = Box::leak(Box::new(Self {
            bottom: AtomicUsize::new(TAKEN),
            bytes: AtomicUsize::new(0),
            stack_size: AtomicUsize::new(0),
            before: None,
        }));
        let new: *mut Self = new;
        loop {
            // SAFETY: the node is this call's until the exchange publishes it.
            let node = unsafe { &mut *new };
            // SAFETY: nodes are never freed, and not changed but for their atomics once they are in the list.
            node.before = unsafe { latest.as_ref() };
            // ORDERING: Release publishes the node, Acquire observes those that others added; pairs with `all`.
            match LATEST.compare_exchange(latest, new, Ordering::AcqRel, Ordering::Acquire) {
                // SAFETY: as above.
                Ok(_) => return unsafe { &*new },
                Err(now) => latest = now,
            }
        }
    }

    /// Says that the mapping will be gone.
    pub(super) fn leave(&self) {
        self.bottom.store(VACANT, Ordering::Release);
    }
}

/// All nodes, latest first.
fn all() -> impl Iterator<Item = &'static Region> {
    // ORDERING: Acquire pairs with `add`.
    let latest = LATEST.load(Ordering::Acquire);
    // SAFETY: nodes are never freed, and not changed but for their atomics once they are in the list.
    let latest = unsafe { latest.as_ref() };
    std::iter::successors(latest, |region| region.before)
}

/// Which stack an address is on; `None` if it is on none of any executor. Fit for a signal handler.
///
/// If a region is entered or left meanwhile by another thread, its stacks may be missed or confused. A thread that runs on
/// a stack finds it.
pub(super) fn spot_of(address: usize) -> Option<Spot> {
    all().find_map(|region| {
        // ORDERING: Acquire pairs with `enter`.
        let bottom = region.bottom.load(Ordering::Acquire);
        let distance = address.checked_sub(bottom).filter(|_| bottom != VACANT && bottom != TAKEN)?;
        let stack_size = region.stack_size.load(Ordering::Relaxed);
        (distance < region.bytes.load(Ordering::Relaxed) && stack_size > 0).then(|| Spot {
            region: bottom,
            stack_size,
            stack: distance / stack_size,
            height: distance % stack_size,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_while_their_region_is_known() {
        // No mapping lies in the highest page of the address space.
        let bottom = usize::MAX - 0x3FFF;
        let region = Region::enter(bottom, 0x3000, 0x1000);
        let spot = Spot { region: bottom, stack_size: 0x1000, stack: 2, height: 5 };
        assert_eq!(spot_of(bottom + 0x2005), Some(spot));
        assert_eq!(spot_of(bottom - 1), None);
        assert_eq!(spot_of(bottom + 0x3000), None);
        region.leave();
        assert_eq!(spot_of(bottom + 0x2005), None);
    }

    #[test]
    fn a_region_that_was_left_is_used_again() {
        let before = all().count();
        for round in 0..1000 {
            Region::enter(usize::MAX - 0x7FFF - round, 1, 1).leave();
        }
        assert!(all().count() < before + 500, "other tests may have added some");
    }
}
