//! A worker's own queues of fibers.

use super::fiber::FiberRef;
use std::cell::Cell;

/// A queue of fibers of one worker, first in, first out.
///
/// The fibers form a ring: the last one is linked to the first.
#[derive(Debug)]
pub(super) struct FiberQueue {
    last: Cell<Option<FiberRef>>,
}

impl FiberQueue {
    pub(super) fn new() -> Self {
        Self { last: Cell::new(None) }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.last_address() == 0
    }

    /// The address of the last fiber; zero if the queue is empty.
    #[inline]
    pub(super) fn last_address(&self) -> usize {
        self.last.get().map_or(0, FiberRef::address)
    }

    pub(super) fn push(&self, fiber: FiberRef) {
        match self.last.replace(Some(fiber)) {
            Some(last) => {
                fiber.set_next(last.next());
                last.set_next(Some(fiber));
            }
            None => fiber.set_next(Some(fiber)),
        }
    }

    pub(super) fn pop(&self) -> Option<FiberRef> {
        let last = self.last.get()?;
        let first = last.next()?;
        if first == last {
            self.last.set(None);
        } else {
            last.set_next(first.next());
        }
        Some(first)
    }
}
