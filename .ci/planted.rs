//! Synchronisation that is missing on purpose: part of a copy of the crate, see `.ci/sanitizers`.
#![allow(unsafe_code, unreachable_pub, reason = "a race is what this is for")]

use parking_lot::{Mutex, MutexGuard};
use std::ops::{Deref, DerefMut};
use std::sync::LazyLock;
use std::sync::atomic::Ordering;

static PLANTED: LazyLock<String> = LazyLock::new(|| std::env::var("PLANTED").unwrap_or_default());

/// The ordering, or none in the run that is to break `name`.
pub(crate) fn weak(name: &str, whole: Ordering) -> Ordering {
    if *PLANTED == name { Ordering::Relaxed } else { whole }
}

/// Locks, or not in the run that is to break `name`.
pub(crate) fn lock<'a, T>(name: &str, mutex: &'a Mutex<T>) -> Held<'a, T> {
    Held { _guard: (*PLANTED != name).then(|| mutex.lock()), value: mutex.data_ptr() }
}

pub(crate) struct Held<'a, T> {
    _guard: Option<MutexGuard<'a, T>>,
    value: *mut T,
}

impl<T> Deref for Held<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: under the lock, or a race that is wanted.
        unsafe { &*self.value }
    }
}

impl<T> DerefMut for Held<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above.
        unsafe { &mut *self.value }
    }
}
