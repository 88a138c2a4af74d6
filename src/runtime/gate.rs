//! The gate of an executor: roots are counted in and out until it is closed.

use crate::primitives::{AtomicUsize, Ordering};

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
///
/// All transitions are read-modify-writes of the one word, so they have an order. In it, nobody enters after the gate was
/// closed, but for what belongs to a root in hand; so the word gets to 1 once, by one call, and stays there. That call tells
/// its caller, who wakes the workers. Every word between a departure and 1 comes of a read-modify-write, so who reads 1
/// observes what every departure published.
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
        // ORDERING: Release pairs with `is_done`. A worker that sees the gate done may free what the root used.
        self.word.fetch_sub(ONE_ROOT, Ordering::Release) == CLOSED + ONE_ROOT
    }

    /// Closes the gate. Returns whether it is done.
    #[must_use]
    pub(super) fn close(&self) -> bool {
        // ORDERING: Relaxed. The roots have published what they did when they left, and the caller publishes nothing.
        self.word.fetch_or(CLOSED, Ordering::Relaxed) | CLOSED == CLOSED
    }

    /// Whether there is a root in hand.
    pub(super) fn is_in_use(&self) -> bool {
        self.word.load(Ordering::Relaxed) >= ONE_ROOT
    }

    pub(super) fn is_done(&self) -> bool {
        // ORDERING: Acquire pairs with the Release in `leave`.
        self.word.load(Ordering::Acquire) == CLOSED
    }
}

#[cfg(all(test, yieldtasks_loom))]
#[expect(unsafe_code, reason = "the models look into cells by raw pointers")]
mod models {
    use super::*;
    use crate::runtime::idle::{Awake, Idle};
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::thread;

    struct Place {
        gate: Gate,
        /// What each root uses. Loom notices a use that does not happen before that of who sees the gate done.
        used: [UnsafeCell<usize>; 2],
    }

    impl Place {
        fn use_as(&self, root: usize) {
            // SAFETY: the root is in hand, and nobody else uses this.
            self.used[root].with_mut(|used| unsafe { *used += 1 });
        }

        /// A root comes, with `nested` more that belong to it, and goes. Returns how often it was told that the gate is done.
        fn come_and_go(&self, root: usize, nested: usize) -> usize {
            if !self.gate.enter() {
                return 0;
            }
            (0..nested).for_each(|_| self.gate.enter_nested());
            let leave = |_| {
                self.use_as(root);
                usize::from(self.gate.leave())
            };
            (0..=nested).map(leave).sum()
        }
    }

    #[test]
    fn loom_one_party_is_told_that_the_gate_is_done_and_nobody_enters_then() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let place = Arc::new(Place { gate: Gate::new(), used: Default::default() });
            let start = |party: fn(&Place) -> usize| {
                let place = Arc::clone(&place);
                thread::spawn(move || party(&place))
            };
            let parties = [
                start(|place| place.come_and_go(0, 0)),
                start(|place| place.come_and_go(1, 1)),
                start(|place| {
                    let told = place.gate.close();
                    assert!(!place.gate.enter());
                    usize::from(told)
                }),
            ];
            if place.gate.is_done() {
                (0..2).for_each(|root| place.use_as(root));
                assert!(!place.gate.enter());
            }
            let told = parties.into_iter().map(|party| party.join().unwrap()).sum::<usize>();
            assert_eq!(told, 1);
            assert!(place.gate.is_done());
        });
    }

    #[test]
    fn loom_a_worker_that_sleeps_is_told_that_the_gate_is_done() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let place = Arc::new((Gate::new(), Idle::new(1)));
            let worker = {
                let place = Arc::clone(&place);
                thread::spawn(move || {
                    let (gate, idle) = &*place;
                    while !gate.is_done() {
                        idle.announce(0, Awake::Plain);
                        let _ = if gate.is_done() { idle.retract(0) } else { idle.park(0) };
                    }
                })
            };
            let (gate, idle) = &*place;
            let root = gate.enter().then(|| {
                let place = Arc::clone(&place);
                thread::spawn(move || {
                    if place.0.leave() {
                        place.1.wake_all();
                    }
                })
            });
            if gate.close() {
                idle.wake_all();
            }
            worker.join().unwrap();
            root.map(|root| root.join().unwrap());
        });
    }
}
