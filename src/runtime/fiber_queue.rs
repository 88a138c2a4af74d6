//! Queues of fibers of one worker.

use super::fiber::FiberRef;
use std::cell::Cell;

/// A queue of fibers of one worker, first in, first out. A fiber is in one of them at a time.
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
            Some(last) => fiber.after().set(last.after().replace(Some(fiber))),
            None => fiber.after().set(Some(fiber)),
        }
    }

    pub(super) fn pop(&self) -> Option<FiberRef> {
        let last = self.last.get()?;
        let first = last.after().get()?;
        if first == last {
            self.last.set(None);
        } else {
            last.after().set(first.after().get());
        }
        Some(first)
    }

    /// Makes `fiber` the last, which is that already or linked behind it.
    #[inline]
    pub(super) fn take_in(&self, fiber: FiberRef) {
        self.last.set(Some(fiber));
    }

    /// Unlinks `fiber`, which is linked behind the last and not in the queue.
    #[inline]
    pub(super) fn unlink(&self, fiber: FiberRef) {
        if let Some(last) = self.last.get() {
            last.after().set(fiber.after().get());
        }
    }
}
