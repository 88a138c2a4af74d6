//! Many readers or one writer.

use crate::block_on::block_on;
use crate::control::stop_if_told;
use std::fmt;
use std::ops::{Deref, DerefMut};

/// A lock for many readers or one writer, which suspends the fiber that waits for it. May be held across `yield_*` calls.
///
/// A waiting writer keeps new readers out, so a task that reads twice at a time may wait for itself.
#[derive(Default)]
pub struct RwLock<T: ?Sized> {
    /// Held by the one reader that waits for `inner`; other readers wait for this. Two readers that wait for `inner` while a
    /// writer holds it would keep waking each other, each telling the next to look.
    turn: async_lock::Mutex<()>,
    inner: async_lock::RwLock<T>,
}

/// The right to read what a [`RwLock`] holds; gives it back when dropped.
#[must_use = "the lock is given back when the guard is dropped"]
pub struct RwLockReadGuard<'a, T: ?Sized> {
    inner: async_lock::RwLockReadGuard<'a, T>,
}

/// The right to change what a [`RwLock`] holds; gives it back when dropped.
#[must_use = "the lock is given back when the guard is dropped"]
pub struct RwLockWriteGuard<'a, T: ?Sized> {
    inner: async_lock::RwLockWriteGuard<'a, T>,
}

impl<T> RwLock<T> {
    /// A lock that nobody holds.
    pub const fn new(value: T) -> Self {
        Self { turn: async_lock::Mutex::new(()), inner: async_lock::RwLock::new(value) }
    }

    /// What it holds.
    pub fn into_inner(self) -> T {
        self.inner.into_inner()
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Waits until nobody writes or waits to, and joins the readers.
    ///
    /// # Panics
    ///
    /// As [`block_on`](crate::block_on()).
    #[track_caller]
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        stop_if_told();
        // Not by a closure, which would hide the caller.
        match self.try_read() {
            Some(guard) => guard,
            None => {
                let in_turn = async {
                    let _turn = self.turn.lock().await;
                    self.inner.read().await
                };
                RwLockReadGuard { inner: block_on(in_turn) }
            }
        }
    }

    /// Waits until nobody else reads or writes, and takes the lock.
    ///
    /// # Panics
    ///
    /// As [`block_on`](crate::block_on()).
    #[track_caller]
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        stop_if_told();
        match self.try_write() {
            Some(guard) => guard,
            None => RwLockWriteGuard { inner: block_on(self.inner.write()) },
        }
    }

    /// Joins the readers if nobody writes or waits to.
    pub fn try_read(&self) -> Option<RwLockReadGuard<'_, T>> {
        self.inner.try_read().map(|inner| RwLockReadGuard { inner })
    }

    /// Takes the lock if nobody reads or writes.
    pub fn try_write(&self) -> Option<RwLockWriteGuard<'_, T>> {
        self.inner.try_write().map(|inner| RwLockWriteGuard { inner })
    }

    /// What it holds, without locking: the borrow keeps others out.
    pub fn get_mut(&mut self) -> &mut T {
        self.inner.get_mut()
    }
}

impl<T> From<T> for RwLock<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RwLock").finish_non_exhaustive()
    }
}

impl<T: ?Sized> Deref for RwLockReadGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T: ?Sized> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T: ?Sized> DerefMut for RwLockWriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}
