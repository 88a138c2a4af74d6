//! The fibers of a worker that have yielded.

use super::fiber::FiberRef;
use super::fiber_queue::FiberQueue;
use std::cell::Cell;

/// The fibers of one worker that let others go first: a queue, which may have a guest.
///
/// Where tasks do nothing but yield, the ring of the queue is the order in which they go on, over and over, so the first fiber stays
/// linked when it is [taken out](Self::rotate) by the yield of another, until it does something else than yield in its turn. Such a
/// *guest* is linked behind the last, and is not in the queue. Each switch then reads one link and writes none.
///
/// | fiber | where |
/// |---|---|
/// | has yielded, and waits for its turn | in the queue |
/// | runs, and was resumed because another yielded | the guest; the queue is not empty |
/// | has suspended otherwise, or ended | nowhere, from when on the loop has [settled](Self::settle) the ring |
#[derive(Debug)]
pub(super) struct YieldRing {
    queue: FiberQueue,
    guest: Cell<Option<FiberRef>>,
}

impl YieldRing {
    pub(super) fn new() -> Self {
        Self { queue: FiberQueue::new(), guest: Cell::new(None) }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// See [`FiberQueue::last_address`].
    #[inline]
    pub(super) fn last_address(&self) -> usize {
        self.queue.last_address()
    }

    /// Puts `fiber`, which has run, last.
    pub(super) fn push(&self, fiber: FiberRef) {
        self.settle();
        self.queue.push(fiber);
    }

    /// Takes the first fiber.
    pub(super) fn pop(&self) -> Option<FiberRef> {
        self.settle();
        self.queue.pop()
    }

    /// Zero if `fiber` is the guest: a word, so that one branch can look at this and at more.
    #[inline]
    pub(super) fn distance_of_guest(&self, fiber: FiberRef) -> usize {
        self.guest.get().map_or(0, FiberRef::address) ^ fiber.address()
    }

    /// Takes the first fiber, for it to run next, and puts `fiber`, which is the guest and has run, last. There always is one.
    #[inline]
    pub(super) fn advance(&self, fiber: FiberRef) -> Option<FiberRef> {
        let first = fiber.after().get();
        self.queue.take_in(fiber);
        self.guest.set(first);
        first
    }

    /// Takes the first fiber, for it to run next, and puts `fiber` last, which has run, unless there is none to take.
    pub(super) fn rotate(&self, fiber: FiberRef) -> Option<FiberRef> {
        if self.is_empty() {
            return None;
        }
        self.push(fiber);
        self.advance(fiber)
    }

    /// Unlinks the guest, if there is one: it is about to do something else, or has.
    #[inline]
    pub(super) fn settle(&self) {
        if let Some(guest) = self.guest.take() {
            self.queue.unlink(guest);
        }
    }
}
