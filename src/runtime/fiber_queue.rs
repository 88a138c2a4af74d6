//! A worker's own queues of fibers.

use super::fiber::FiberRef;
use std::cell::Cell;

/// A queue of fibers of one worker, first in, first out.
#[derive(Debug)]
pub(super) struct FiberQueue {
    first: Cell<Option<FiberRef>>,
    last: Cell<Option<FiberRef>>,
}

impl FiberQueue {
    pub(super) fn new() -> Self {
        Self { first: Cell::new(None), last: Cell::new(None) }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.first.get().is_none()
    }

    #[inline]
    pub(super) fn push(&self, fiber: FiberRef) {
        fiber.set_next(None);
        match self.last.replace(Some(fiber)) {
            Some(last) if !self.is_empty() => last.set_next(Some(fiber)),
            _ => self.first.set(Some(fiber)),
        }
    }

    #[inline]
    pub(super) fn pop(&self) -> Option<FiberRef> {
        let first = self.first.get()?;
        self.first.set(first.next());
        Some(first)
    }
}
