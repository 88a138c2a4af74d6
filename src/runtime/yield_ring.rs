//! The fibers of a worker that have yielded.

use super::fiber::FiberRef;
use std::cell::Cell;

/// The fibers of one worker that let others go first: a queue, first in, first out.
///
/// They form a ring by a link that nothing else uses: the last one is linked to the first. Where tasks do nothing but yield, the ring
/// is the order in which they go on, over and over, so the first fiber stays in it when it is [taken out](Self::rotate) by the yield
/// of another, until it does something else than yield in its turn. Such a *guest* is linked behind the last, and does not count
/// as a member. Each switch then reads one link and writes none.
///
/// | fiber | where |
/// |---|---|
/// | has yielded, and waits for its turn | a member |
/// | runs, and was resumed because another yielded | the guest; there is a member |
/// | has suspended otherwise, or ended | nowhere, from when on the loop has [settled](Self::settle) the ring |
#[derive(Debug)]
pub(super) struct YieldRing {
    last: Cell<Option<FiberRef>>,
    guest: Cell<Option<FiberRef>>,
}

impl YieldRing {
    pub(super) fn new() -> Self {
        Self { last: Cell::new(None), guest: Cell::new(None) }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.last_address() == 0
    }

    /// The address of the last fiber; zero if there is none.
    #[inline]
    pub(super) fn last_address(&self) -> usize {
        self.last.get().map_or(0, FiberRef::address)
    }

    /// Puts `fiber`, which has run, last.
    pub(super) fn push(&self, fiber: FiberRef) {
        self.settle();
        self.insert(fiber);
    }

    /// Takes the first fiber.
    pub(super) fn pop(&self) -> Option<FiberRef> {
        self.settle();
        let last = self.last.get()?;
        let first = last.after().get()?;
        if first == last {
            self.last.set(None);
        } else {
            last.after().set(first.after().get());
        }
        Some(first)
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
        self.last.set(Some(fiber));
        self.guest.set(first);
        first
    }

    /// Takes the first fiber, for it to run next, and puts `fiber` last, which has run, unless there is none to take.
    pub(super) fn rotate(&self, fiber: FiberRef) -> Option<FiberRef> {
        self.last.get()?;
        self.settle();
        self.insert(fiber);
        self.advance(fiber)
    }

    /// Takes the guest out of the ring, if there is one: it is about to do something else, or has.
    #[inline]
    pub(super) fn settle(&self) {
        if let Some(guest) = self.guest.take()
            && let Some(last) = self.last.get()
        {
            last.after().set(guest.after().get());
        }
    }

    /// Links `fiber` behind the last. There is no guest.
    fn insert(&self, fiber: FiberRef) {
        match self.last.replace(Some(fiber)) {
            Some(last) => fiber.after().set(last.after().replace(Some(fiber))),
            None => fiber.after().set(Some(fiber)),
        }
    }
}
