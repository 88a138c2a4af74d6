//! Mutual exclusion.

use crate::block_on::block_on;
use crate::control::stop_if_told;
use std::fmt;
use std::ops::{Deref, DerefMut};

/// A lock that suspends the fiber that waits for it. May be held across `yield_*` calls.
///
/// Fair enough that nobody starves; not reentrant: a task that locks it twice waits for itself.
#[derive(Default)]
pub struct Mutex<T: ?Sized> {
    inner: async_lock::Mutex<T>,
}

/// The right to use what a [`Mutex`] holds; gives it back when dropped.
#[must_use = "the lock is given back when the guard is dropped"]
pub struct MutexGuard<'a, T: ?Sized> {
    inner: async_lock::MutexGuard<'a, T>,
}

impl<T> Mutex<T> {
    /// A lock that nobody holds.
    pub const fn new(value: T) -> Self {
        Self { inner: async_lock::Mutex::new(value) }
    }

    /// What it holds.
    pub fn into_inner(self) -> T {
        self.inner.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Waits until nobody else holds the lock, and takes it.
    ///
    /// # Panics
    ///
    /// As [`block_on`](crate::block_on()).
    #[track_caller]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        stop_if_told();
        // Not by a closure, which would hide the caller.
        match self.try_lock() {
            Some(guard) => guard,
            None => MutexGuard { inner: block_on(self.inner.lock()) },
        }
    }

    /// Takes the lock if nobody holds it.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.inner.try_lock().map(|inner| MutexGuard { inner })
    }

    /// What it holds, without locking: the borrow keeps others out.
    pub fn get_mut(&mut self) -> &mut T {
        self.inner.get_mut()
    }
}

impl<T> From<T> for Mutex<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mutex").finish_non_exhaustive()
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}
