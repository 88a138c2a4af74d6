//! The atomics, cells and locks of the protocols: the real ones, or loom's when the models run.
//!
//! The join counter, the wake state, the inbox, the gate, the tally, the errand, the deque and the idle protocol are written
//! against this module, so that loom explores the code that ships and not a copy of it.

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
    use std::cell::Cell;
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

    loom::lazy_static! {
        /// What light and heavy fences have in common in a model.
        static ref MEETING: AtomicUsize = AtomicUsize::new(0);
    }

    /// Which fences a model has.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum Fences {
        /// The rare side has the kernel run the fence of the frequent side.
        ByKernel,
        /// Both sides pass full fences.
        Full,
    }

    thread_local! {
        /// Of the model that runs on this thread. Loom runs all threads of a model on the one that started it.
        static FENCES: Cell<Fences> = const { Cell::new(Fences::Full) };
    }

    impl Fences {
        /// Calls `check`, which runs a model, with these fences.
        pub(crate) fn in_model(self, check: impl FnOnce()) {
            let former = FENCES.replace(self);
            check();
            FENCES.set(former);
        }
    }

    /// What the rare side has the kernel do is no fence where it stands in the program of the frequent side: it orders what
    /// comes before against a heavy fence, and nothing else. A full fence would also publish, to whoever reads what is
    /// stored after it. So here both sides change the same word: whichever comes second sees all that came before the
    /// other, and that is all. Two light fences of different threads also meet there, which they do not in truth: no model has
    /// two threads that rely on light fences.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct LightFence {
        by_kernel: bool,
    }

    impl LightFence {
        /// Called before the model starts threads, or loom would order them by who used the word first.
        pub(crate) fn new() -> Self {
            let _ = &*MEETING;
            Self { by_kernel: FENCES.get() == Fences::ByKernel }
        }

        pub(crate) fn is_by_kernel(self) -> bool {
            self.by_kernel
        }

        pub(crate) fn in_compiler() {
            if FENCES.get() == Fences::ByKernel {
                meet();
            }
        }

        pub(crate) fn pass(self) {
            if self.by_kernel {
                meet();
            } else {
                fence(Ordering::SeqCst);
            }
        }
    }

    fn meet() {
        MEETING.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn heavy_fence() {
        fence(Ordering::SeqCst);
        if FENCES.get() == Fences::ByKernel {
            meet();
        }
    }
}

pub(crate) use imp::*;
