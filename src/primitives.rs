//! The atomics, cells and locks of the protocols: the real ones, or loom's when the models run.
//!
//! The join counter, the inbox, the deque and the idle protocol are written against this module, so that loom explores
//! the code that ships and not a copy of it.

#[cfg(not(all(test, yieldtasks_loom)))]
mod imp {
    pub(crate) use parking_lot::Mutex;
    pub(crate) use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering, fence};
    use std::sync::{Condvar, Mutex as StdMutex, MutexGuard, PoisonError};
    use std::time::Duration;

    /// A value that threads wait for to change.
    ///
    /// The standard library's, where the other locks are those of `parking_lot`: that one keeps all waiting threads in one
    /// table of the process. A child of a process that forks inherits the table, with entries inside the stacks of threads
    /// that are not there, and the threads that it starts get the same stacks. Workers park for long, and so through forks.
    #[derive(Debug, Default)]
    pub(crate) struct Monitor<T> {
        value: StdMutex<T>,
        changed: Condvar,
    }

    impl<T> Monitor<T> {
        pub(crate) fn new(value: T) -> Self {
            Self { value: StdMutex::new(value), changed: Condvar::new() }
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.value.lock().unwrap_or_else(PoisonError::into_inner)
        }

        pub(crate) fn notify_one(&self) {
            self.changed.notify_one();
        }

        pub(crate) fn wait<'a>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
            self.changed.wait(guard).unwrap_or_else(PoisonError::into_inner)
        }

        pub(crate) fn wait_for<'a>(&self, guard: MutexGuard<'a, T>, at_most: Duration) -> MutexGuard<'a, T> {
            // Who waits looks for itself why it goes on.
            self.changed.wait_timeout(guard, at_most).unwrap_or_else(PoisonError::into_inner).0
        }
    }

    /// Orders this thread's earlier accesses before its later ones, for the thread that runs often.
    pub(crate) use crate::runtime::fence::{LightFence, heavy_fence};
}

#[cfg(all(test, yieldtasks_loom))]
mod imp {
    use loom::sync::MutexGuard;
    pub(crate) use loom::sync::atomic::{AtomicPtr, AtomicUsize, Ordering, fence};
    use std::time::Duration;

    /// The lock of `parking_lot` by name, loom's by behaviour.
    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().expect("no model panics while it holds a lock")
        }

        pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            self.0.try_lock().ok()
        }
    }

    /// The same of loom's parts.
    #[derive(Debug, Default)]
    pub(crate) struct Monitor<T> {
        value: Mutex<T>,
        changed: loom::sync::Condvar,
    }

    impl<T> Monitor<T> {
        pub(crate) fn new(value: T) -> Self {
            Self { value: Mutex::new(value), changed: loom::sync::Condvar::new() }
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.value.lock()
        }

        pub(crate) fn notify_one(&self) {
            self.changed.notify_one();
        }

        pub(crate) fn wait<'a>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
            self.changed.wait(guard).expect("no model panics while it holds a lock")
        }

        /// Waits without end, so that a model that counts on the time limit deadlocks.
        pub(crate) fn wait_for<'a>(&self, guard: MutexGuard<'a, T>, _at_most: Duration) -> MutexGuard<'a, T> {
            self.wait(guard)
        }
    }

    #[derive(Clone, Copy, Debug)]
    pub(crate) struct LightFence;

    impl LightFence {
        pub(crate) fn new() -> Self {
            Self
        }

        pub(crate) fn is_by_kernel(self) -> bool {
            false
        }

        pub(crate) fn in_compiler() {}

        pub(crate) fn pass(self) {
            fence(Ordering::SeqCst);
        }
    }

    pub(crate) fn heavy_fence() {
        fence(Ordering::SeqCst);
    }
}

pub(crate) use imp::*;
