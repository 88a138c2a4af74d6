//! The gate of an executor: roots are counted in and out until it is closed.

use std::sync::atomic::{AtomicUsize, Ordering};

const CLOSED: usize = 1;
const ONE_ROOT: usize = 2;

/// Counts the root batches and detached tasks in hand, and knows whether more may come.
///
/// | word | meaning |
/// |---|---|
/// | even | open, `word / 2` roots in hand |
/// | odd, above 1 | closed, `word / 2` roots in hand: workers go on |
/// | 1 | closed and done: workers end |
///
/// Batches made inside a task are not counted: their root is.
#[derive(Debug)]
pub(super) struct Gate {
    word: AtomicUsize,
}

impl Gate {
    pub(super) fn new() -> Self {
        Self { word: AtomicUsize::new(0) }
    }

    /// Counts a root in, unless the gate is closed.
    #[must_use]
    pub(super) fn enter(&self) -> bool {
        let enter = |word: usize| (word & CLOSED == 0).then_some(word + ONE_ROOT);
        // ORDERING: Relaxed. Roots are handed over by the injector; the gate only counts.
        self.word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, enter).is_ok()
    }

    /// Counts in what belongs to a root that is in hand, though the gate may be closed.
    pub(super) fn enter_nested(&self) {
        self.word.fetch_add(ONE_ROOT, Ordering::Relaxed);
    }

    /// Counts a root out. Returns whether the gate is closed and this was the last one.
    #[must_use]
    pub(super) fn leave(&self) -> bool {
        // ORDERING: Release. A worker that sees the gate done may free what the root used.
        self.word.fetch_sub(ONE_ROOT, Ordering::Release) == CLOSED + ONE_ROOT
    }

    /// Closes the gate. Returns whether it is done.
    #[must_use]
    pub(super) fn close(&self) -> bool {
        self.word.fetch_or(CLOSED, Ordering::Release) | CLOSED == CLOSED
    }

    /// Whether there is a root in hand.
    pub(super) fn is_in_use(&self) -> bool {
        self.word.load(Ordering::Relaxed) >= ONE_ROOT
    }

    pub(super) fn is_done(&self) -> bool {
        // ORDERING: Acquire pairs with the Release of the party that made it so.
        self.word.load(Ordering::Acquire) == CLOSED
    }
}
