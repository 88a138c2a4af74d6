#![expect(unsafe_code, reason = "the counter may be gone when an arrival returns")]
//! The counter that tells which party ends a batch.

use crate::primitives::{AtomicUsize, Ordering, fence};

/// Counts the children of a batch and the parent's own arrival down to zero.
///
/// | value | meaning |
/// |---|---|
/// | `children + 1` | nobody has arrived |
/// | `n`, in between | `n` parties have not arrived |
/// | 0 | all have arrived; the last one owns the parent |
///
/// Every transition is a subtraction by [`arrive`](Self::arrive), so exactly one call sees the counter reach zero. That
/// call's party owns the parent and the frame the batch lives in: a child that is last makes the parent ready, a parent
/// that is last goes on without suspending. Any other party must not touch the frame again, because from then on the
/// parent may return from it at any time.
#[derive(Debug)]
pub(crate) struct JoinCounter {
    outstanding: AtomicUsize,
}

/// What an arrival at a [`JoinCounter`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the last party owns the parent, every other party has lost the right to touch the batch"]
pub(crate) enum Arrival {
    /// Others are outstanding: the frame is out of bounds from here on.
    Earlier,
    /// All have arrived: the caller owns the parent.
    Last,
}

impl JoinCounter {
    /// A counter that waits for `children` tasks and their parent.
    #[inline]
    pub(crate) fn new(children: usize) -> Self {
        Self { outstanding: AtomicUsize::new(children + 1) }
    }

    /// How many parties have not arrived. A hint, unless the caller can rule out that any does meanwhile.
    pub(crate) fn outstanding(&self) -> usize {
        // ORDERING: Relaxed. Nothing is read that the parties have written.
        self.outstanding.load(Ordering::Relaxed)
    }

    /// Arrives on behalf of `parties` parties at once.
    ///
    /// Takes a raw pointer because the counter may be gone by the time the call returns.
    ///
    /// # Safety
    ///
    /// - `this` points to a live counter.
    /// - The parties have not arrived before, so that the counter outlives the subtraction.
    #[inline]
    pub(crate) unsafe fn arrive(this: *const Self, parties: usize) -> Arrival {
        // SAFETY: the counter is live until all parties have arrived, and these have not.
        let outstanding = unsafe { &(*this).outstanding };
        // ORDERING: Release publishes the results these parties wrote; pairs with the fence of the last party.
        let before = outstanding.fetch_sub(parties, Ordering::Release);
        debug_assert!(before >= parties, "more parties arrived than were announced");
        if before == parties {
            // ORDERING: Acquire observes what every earlier party published by its subtraction.
            if cfg!(yieldtasks_threads) {
                // ThreadSanitizer does not know fences.
                outstanding.load(Ordering::Acquire);
            } else {
                fence(Ordering::Acquire);
            }
            Arrival::Last
        } else {
            Arrival::Earlier
        }
    }
}

#[cfg(all(test, yieldtasks_loom))]
mod models {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    #[test]
    fn loom_exactly_one_party_is_last_and_sees_every_result() {
        loom::model(|| {
            let shared = Arc::new((JoinCounter::new(2), [AtomicUsize::new(0), AtomicUsize::new(0)]));
            let children: Vec<_> = (0..2)
                .map(|child| {
                    let shared = Arc::clone(&shared);
                    thread::spawn(move || {
                        shared.1[child].store(1, Ordering::Relaxed);
                        // SAFETY: the Arc keeps the counter; each child arrives once.
                        arrive_and_check(&shared)
                    })
                })
                .collect();
            let parent = arrive_and_check(&shared);
            let last = children.into_iter().map(|child| child.join().unwrap()).sum::<usize>() + parent;
            assert_eq!(last, 1);
        });
    }

    fn arrive_and_check(shared: &(JoinCounter, [AtomicUsize; 2])) -> usize {
        // SAFETY: the counter is borrowed, and each party of the model calls this once.
        match unsafe { JoinCounter::arrive(&raw const shared.0, 1) } {
            Arrival::Earlier => 0,
            Arrival::Last => {
                assert!(shared.1.iter().all(|result| result.load(Ordering::Relaxed) == 1));
                1
            }
        }
    }
}
