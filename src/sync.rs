//! The atomics, cells and locks of the protocols: the real ones, or loom's when the models run.
//!
//! The join counter, the inbox, the deque and the idle protocol are written against this module, so that loom explores
//! the code that ships and not a copy of it.

#[cfg(not(all(test, yieldtasks_loom)))]
mod imp {
    pub(crate) use parking_lot::Mutex;
    pub(crate) use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering, fence};

    /// Orders this thread's earlier accesses before its later ones, for the thread that runs often.
    pub(crate) use crate::runtime::fence::{heavy_fence, light_fence};
}

#[cfg(all(test, yieldtasks_loom))]
mod imp {
    pub(crate) use loom::sync::atomic::{AtomicPtr, AtomicUsize, Ordering, fence};

    /// The lock of `parking_lot` by name, loom's by behaviour.
    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
            self.0.lock().expect("no model panics while it holds a lock")
        }

        pub(crate) fn try_lock(&self) -> Option<loom::sync::MutexGuard<'_, T>> {
            self.0.try_lock().ok()
        }
    }

    pub(crate) fn light_fence() {
        fence(Ordering::SeqCst);
    }

    pub(crate) fn heavy_fence() {
        fence(Ordering::SeqCst);
    }
}

pub(crate) use imp::*;
