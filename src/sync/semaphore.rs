//! A number of permits.

use crate::block_on::block_on;
use crate::control::stop_if_told;
use std::fmt;

/// Permits for so many at a time; suspends the fiber that waits for one.
pub struct Semaphore {
    inner: async_lock::Semaphore,
}

/// A permit of a [`Semaphore`]; given back when dropped.
#[must_use = "the permit is given back when this is dropped"]
pub struct SemaphorePermit<'a> {
    _inner: async_lock::SemaphoreGuard<'a>,
}

impl Semaphore {
    /// A semaphore with that many permits.
    pub const fn new(permits: usize) -> Self {
        Self { inner: async_lock::Semaphore::new(permits) }
    }

    /// Waits for a permit and takes it.
    ///
    /// # Panics
    ///
    /// As [`block_on`](crate::block_on()).
    #[track_caller]
    pub fn acquire(&self) -> SemaphorePermit<'_> {
        stop_if_told();
        // Not by a closure, which would hide the caller.
        match self.try_acquire() {
            Some(permit) => permit,
            None => SemaphorePermit { _inner: block_on(self.inner.acquire()) },
        }
    }

    /// Takes a permit if there is one.
    pub fn try_acquire(&self) -> Option<SemaphorePermit<'_>> {
        self.inner.try_acquire().map(|inner| SemaphorePermit { _inner: inner })
    }

    /// Makes more permits.
    pub fn add_permits(&self, permits: usize) {
        self.inner.add_permits(permits);
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore").finish_non_exhaustive()
    }
}

impl fmt::Debug for SemaphorePermit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SemaphorePermit").finish_non_exhaustive()
    }
}
