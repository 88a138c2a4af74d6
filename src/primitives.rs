//! The atomics, cells and locks of the protocols: the real ones, or loom's when the models run.
//!
//! The join counter, the inbox, the deque and the idle protocol are written against this module, so that loom explores
//! the code that ships and not a copy of it.

#[cfg(not(all(test, yieldtasks_loom)))]
mod imp {
    pub(crate) use parking_lot::Mutex;
    use parking_lot::MutexGuard;
    pub(crate) use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering, fence};
    use std::time::Duration;

    /// The condition variable of `parking_lot`, called like loom's.
    #[derive(Debug, Default)]
    pub(crate) struct Condvar(parking_lot::Condvar);

    impl Condvar {
        pub(crate) fn new() -> Self {
            Self::default()
        }

        pub(crate) fn notify_one(&self) {
            self.0.notify_one();
        }

        pub(crate) fn wait<'a, T>(&self, mut guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
            self.0.wait(&mut guard);
            guard
        }

        pub(crate) fn wait_for<'a, T>(&self, mut guard: MutexGuard<'a, T>, at_most: Duration) -> MutexGuard<'a, T> {
            // Who waits looks for itself why it goes on.
            let _ = self.0.wait_for(&mut guard, at_most);
            guard
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

    /// As above for the condition variable.
    #[derive(Debug, Default)]
    pub(crate) struct Condvar(loom::sync::Condvar);

    impl Condvar {
        pub(crate) fn new() -> Self {
            Self(loom::sync::Condvar::new())
        }

        pub(crate) fn notify_one(&self) {
            self.0.notify_one();
        }

        pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
            self.0.wait(guard).expect("no model panics while it holds a lock")
        }

        /// Waits without end, so that a model that counts on the time limit deadlocks.
        pub(crate) fn wait_for<'a, T>(&self, guard: MutexGuard<'a, T>, _at_most: Duration) -> MutexGuard<'a, T> {
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
