#![expect(unsafe_code, reason = "the C library tells of forks")]
//! Which process this is: of a process that forks, only the calling thread goes on in the child.
//!
//! An executor that the child inherits has no workers there, and its locks may be held by threads that are not there
//! either. So whatever waits for workers notes the process that it was made in, and whoever comes from outside compares
//! before taking a lock: using an inherited executor panics, and ending it does nothing. Inside a task nothing is compared.
//! A task that forks goes on in the child, on the one worker there is; it had better replace the program, or exit.

use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How often the process and its ancestors have been forked, since the first was asked.
static GENERATION: AtomicUsize = AtomicUsize::new(0);

/// A process, as told from those that it was forked from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    generation: usize,
}

impl Process {
    /// The process that the caller is in.
    pub(crate) fn current() -> Self {
        if cfg!(miri) {
            // It does not fork.
            return Self { generation: 0 };
        }
        static REGISTER: Once = Once::new();
        REGISTER.call_once(|| {
            // SAFETY: the function does what is allowed in the child of a process with threads. Where there is no memory to
            // register it, forks go unnoticed.
            unsafe { libc::pthread_atfork(None, None, Some(count_fork)) };
        });
        Self { generation: GENERATION.load(Ordering::Relaxed) }
    }

    /// Whether the caller is in it, and not in one that was forked from it.
    #[inline]
    pub(crate) fn is_current(self) -> bool {
        // ORDERING: Relaxed. Written where there is one thread only.
        self.generation == GENERATION.load(Ordering::Relaxed)
    }

    /// Makes sure that the caller is in it.
    ///
    /// # Panics
    ///
    /// Panics if not.
    #[inline]
    pub(crate) fn require(self) {
        if !self.is_current() {
            inherited();
        }
    }

    /// How often the process and its ancestors have been forked.
    pub(crate) fn generation(self) -> usize {
        self.generation
    }
}

/// Called in the child.
extern "C" fn count_fork() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}

#[cold]
pub(crate) fn inherited() -> ! {
    panic!("this belongs to the process that this one was forked from, and so do its workers: build an executor here")
}
