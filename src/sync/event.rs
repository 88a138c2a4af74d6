//! A signal that is given once.

use crate::block_on::block_on;
use crate::control::stop_if_told;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

/// A signal that is given once, for any number of waiters; suspends the fibers that wait for it.
#[derive(Default)]
pub struct Event {
    is_set: AtomicBool,
    waiters: event_listener::Event,
}

impl Event {
    /// A signal that has not been given.
    pub const fn new() -> Self {
        Self { is_set: AtomicBool::new(false), waiters: event_listener::Event::new() }
    }

    /// Gives the signal. All who wait go on, and nobody waits any more.
    pub fn set(&self) {
        // ORDERING: Release hands over what the setter did; pairs with `is_set`.
        self.is_set.store(true, Ordering::Release);
        self.waiters.notify(usize::MAX);
    }

    /// Waits until the signal is given; returns at once if it has been.
    ///
    /// # Panics
    ///
    /// As [`block_on`](crate::block_on()).
    #[track_caller]
    pub fn wait(&self) {
        stop_if_told();
        while !self.is_set() {
            let given = self.waiters.listen();
            // Looked at again, since it may have been given before the listener was there.
            if self.is_set() {
                return;
            }
            block_on(given);
        }
    }

    /// Whether the signal has been given.
    pub fn is_set(&self) -> bool {
        // ORDERING: Acquire pairs with `set`.
        self.is_set.load(Ordering::Acquire)
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event").field("is_set", &self.is_set()).finish_non_exhaustive()
    }
}
