//! The word by which a waker and who waits agree on who goes on when.

use crate::primitives::{AtomicUsize, Ordering};

/// The state of one party that waits for a future.
///
/// | state | meaning |
/// |---|---|
/// | `POLLING` | the party runs, and has not been woken since it began to poll |
/// | `WAITING` | the party is suspended or parked, or about to be; whoever leaves this state makes it go on |
/// | `WOKEN` | the party runs or is about to, and will poll once more |
///
/// Only the party enters `WAITING`, from `POLLING`, and `POLLING`. Anybody enters `WOKEN`, by a swap, so exactly one of
/// them sees that it left `WAITING` and has the right to make a fiber ready. The fiber is alive then: it cannot go on, and so
/// not end, before it has been made ready. A waker that outlives the wait finds `POLLING` or `WOKEN` for ever and does
/// not touch the fiber.
///
/// A wake is not lost: if it comes before [`announce`](Self::announce), that fails and the party polls again; if it comes after, it leaves `WAITING`.
#[derive(Debug)]
pub(super) struct WakeState {
    word: AtomicUsize,
}

const POLLING: usize = 0;
const WAITING: usize = 1;
const WOKEN: usize = 2;

/// What a waker has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a party that waits does not go on by itself"]
pub(super) enum Wake {
    /// Make the party go on.
    Resume,
    /// Nothing: the party runs, or somebody else makes it go on.
    Nothing,
}

// ORDERING: all transitions are read-modify-writes. `wake` releases what the waker did to the poll that follows, for which
// `poll_again` acquires it; `announce` releases what the party did before it suspends to who makes it go on, for which `wake`
// acquires it. A party that could not announce itself polls again, so it need acquire nothing there.
impl WakeState {
    pub(super) fn new() -> Self {
        Self { word: AtomicUsize::new(POLLING) }
    }

    /// Says that the party is about to suspend. Returns `false` if it has been woken meanwhile, and must not.
    #[must_use]
    pub(super) fn announce(&self) -> bool {
        self.word.compare_exchange(POLLING, WAITING, Ordering::Release, Ordering::Relaxed).is_ok()
    }

    /// Says that the party is about to poll. Returns whether it has been woken since it last was.
    pub(super) fn poll_again(&self) -> bool {
        self.word.swap(POLLING, Ordering::Acquire) == WOKEN
    }

    pub(super) fn wake(&self) -> Wake {
        if self.word.swap(WOKEN, Ordering::AcqRel) == WAITING { Wake::Resume } else { Wake::Nothing }
    }
}

#[cfg(all(test, yieldtasks_loom))]
mod models {
    use super::*;
    use crate::primitives::Monitor;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::thread;

    /// A fiber, as far as suspending goes.
    #[derive(Default)]
    struct Fiber {
        /// Written by the party, and by who makes it ready. Loom notices if neither write happens before the other.
        link: UnsafeCell<usize>,
        /// How many times it was made ready and has not been resumed.
        ready: Monitor<usize>,
    }

    impl Fiber {
        fn set_link(&self) {
            // SAFETY: the party runs, or is suspended and about to be made ready by one waker.
            self.link.with_mut(|link| unsafe { *link += 1 });
        }

        fn make_ready(&self) {
            self.set_link();
            *self.ready.lock() += 1;
            self.ready.notify_one();
        }

        fn suspend(&self) {
            let mut ready = self.ready.lock();
            while *ready == 0 {
                ready = self.ready.wait(ready);
            }
            *ready -= 1;
        }
    }

    #[test]
    fn loom_a_wake_is_neither_lost_nor_passed_on_twice() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let (state, fiber) = (Arc::new(WakeState::new()), Arc::new(Fiber::default()));
            let events = Arc::new(AtomicUsize::new(0));
            let wakers: Vec<_> = (0..2)
                .map(|_| {
                    let (state, fiber, events) = (Arc::clone(&state), Arc::clone(&fiber), Arc::clone(&events));
                    thread::spawn(move || {
                        // Relaxed, so that the model fails if the word does not order it.
                        events.fetch_add(1, Ordering::Relaxed);
                        if state.wake() == Wake::Resume {
                            fiber.make_ready();
                        }
                    })
                })
                .collect();
            while events.load(Ordering::Relaxed) < 2 {
                fiber.set_link();
                if state.announce() {
                    fiber.suspend();
                }
                state.poll_again();
            }
            for waker in wakers {
                waker.join().unwrap();
            }
            // No right to resume is left over for a fiber that is gone.
            assert_eq!(*fiber.ready.lock(), 0);
        });
    }
}
