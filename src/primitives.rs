//! The atomics, cells and locks of the protocols: the real ones, or loom's when the models run.
//!
//! The join counter, the inbox, the deque and the idle protocol are written against this module, so that loom explores
//! the code that ships and not a copy of it.

#[cfg(not(all(test, yieldtasks_loom)))]
mod imp {
    pub(crate) use parking_lot::Mutex;
    pub(crate) use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering, fence};
    use std::time::Duration;

    #[cfg(not(yieldtasks_threads))]
    use std_locks as locks;
    #[cfg(yieldtasks_threads)]
    use visible_locks as locks;

    /// A value that threads wait for to change.
    ///
    /// The standard library's, where the other locks are those of `parking_lot`: that one keeps all waiting threads in one
    /// table of the process. A child of a process that forks inherits the table, with entries inside the stacks of threads
    /// that are not there, and the threads that it starts get the same stacks. Workers park for long, and so through forks.
    #[derive(Debug, Default)]
    pub(crate) struct Monitor<T> {
        value: locks::Mutex<T>,
        changed: locks::Condvar,
    }

    impl<T> Monitor<T> {
        pub(crate) fn new(value: T) -> Self {
            Self { value: locks::Mutex::new(value), changed: locks::Condvar::new() }
        }

        pub(crate) fn lock(&self) -> locks::MutexGuard<'_, T> {
            locks::lock(&self.value)
        }

        pub(crate) fn notify_one(&self) {
            self.changed.notify_one();
        }

        pub(crate) fn wait<'a>(&self, guard: locks::MutexGuard<'a, T>) -> locks::MutexGuard<'a, T> {
            locks::wait(&self.changed, guard)
        }

        pub(crate) fn wait_for<'a>(
            &self,
            guard: locks::MutexGuard<'a, T>,
            at_most: Duration,
        ) -> locks::MutexGuard<'a, T> {
            // Who waits looks for itself why it goes on.
            locks::wait_for(&self.changed, guard, at_most)
        }
    }

    #[cfg(not(yieldtasks_threads))]
    mod std_locks {
        pub(super) use std::sync::{Condvar, Mutex, MutexGuard};
        use std::sync::{LockResult, PoisonError};
        use std::time::Duration;

        fn whole<G>(result: LockResult<G>) -> G {
            result.unwrap_or_else(PoisonError::into_inner)
        }

        pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
            whole(mutex.lock())
        }

        pub(super) fn wait<'a, T>(changed: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
            whole(changed.wait(guard))
        }

        pub(super) fn wait_for<'a, T>(
            changed: &Condvar,
            guard: MutexGuard<'a, T>,
            at_most: Duration,
        ) -> MutexGuard<'a, T> {
            whole(changed.wait_timeout(guard, at_most)).0
        }
    }

    /// Locks that ThreadSanitizer sees, because they are compiled with the crate, as the standard library is not.
    #[cfg(yieldtasks_threads)]
    mod visible_locks {
        pub(super) use parking_lot::{Condvar, Mutex, MutexGuard};
        use std::time::Duration;

        pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
            mutex.lock()
        }

        pub(super) fn wait<'a, T>(changed: &Condvar, mut guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
            changed.wait(&mut guard);
            guard
        }

        pub(super) fn wait_for<'a, T>(
            changed: &Condvar,
            mut guard: MutexGuard<'a, T>,
            at_most: Duration,
        ) -> MutexGuard<'a, T> {
            changed.wait_for(&mut guard, at_most);
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
