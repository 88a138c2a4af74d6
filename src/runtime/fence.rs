#![cfg_attr(all(test, yieldtasks_loom), expect(dead_code, reason = "the models have fences of their own"))]
//! An asymmetric pair of fences: one side runs at every task, the other at every theft.
//!
//! Two threads that each write one word and then read the other's (Dekker's pattern) must both put a full fence between
//! the write and the read. Here one of the two threads does so at every task it starts, the other only when it steals or
//! goes to sleep. So the frequent side pays nothing but a compiler fence, and the rare side asks the kernel to run a full
//! fence on every core that executes this process (`membarrier`, Linux 4.14 and later). After [`heavy_fence`] returns,
//! every other thread has passed a full fence at some point between its call and its return, which may be taken to stand
//! where the thread's [`LightFence`] stands.
//!
//! Where the system call is missing or refused, both are `fence(SeqCst)`.

use std::sync::atomic::{Ordering, compiler_fence, fence};

#[cfg(all(any(target_os = "linux", target_os = "android"), not(miri)))]
mod kernel {
    use rustix::thread::{MembarrierCommand, MembarrierQuery, membarrier, membarrier_query};
    use std::sync::Once;
    use std::sync::atomic::{AtomicBool, Ordering};

    static REGISTER: Once = Once::new();
    static AVAILABLE: AtomicBool = AtomicBool::new(false);

    /// Announces to the kernel that this process uses expedited barriers.
    pub(super) fn register() {
        REGISTER.call_once(|| {
            let supported = membarrier_query().contains(MembarrierQuery::PRIVATE_EXPEDITED);
            let registered = supported && membarrier(MembarrierCommand::RegisterPrivateExpedited).is_ok();
            AVAILABLE.store(registered, Ordering::Relaxed);
        });
    }

    pub(super) fn available() -> bool {
        // ORDERING: Relaxed. Threads that use the fences are started after `register` returned.
        AVAILABLE.load(Ordering::Relaxed)
    }

    pub(super) fn barrier() {
        membarrier(MembarrierCommand::PrivateExpedited).expect("a registered process may ask for an expedited barrier");
    }
}

#[cfg(any(not(any(target_os = "linux", target_os = "android")), miri))]
mod kernel {
    pub(super) fn register() {}

    pub(super) fn available() -> bool {
        false
    }

    pub(super) fn barrier() {}
}

/// Makes the fences ready; called before the first worker thread of the process starts.
pub(crate) fn register() {
    kernel::register();
}

/// The fence of the frequent side. Pairs with [`heavy_fence`].
///
/// Remembers which kind of fence it takes, where its user finds that without a detour to a static variable.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LightFence {
    /// Whether the kernel runs the full fence on behalf of this side. Once that is so, it stays so; a fence made before
    /// that is a full one.
    by_kernel: bool,
}

impl LightFence {
    pub(crate) fn new() -> Self {
        Self { by_kernel: kernel::available() }
    }

    /// Whether the kernel runs the full fence, so that [`in_compiler`](Self::in_compiler) is enough.
    pub(crate) fn is_by_kernel(self) -> bool {
        self.by_kernel
    }

    /// The part of the fence that is always passed.
    #[inline]
    pub(crate) fn in_compiler() {
        compiler_fence(Ordering::SeqCst);
    }

    #[inline]
    pub(crate) fn pass(self) {
        if self.by_kernel {
            Self::in_compiler();
        } else {
            fence(Ordering::SeqCst);
        }
    }
}

/// The fence of the rare side. Pairs with [`LightFence`], and with any other full fence.
pub(crate) fn heavy_fence() {
    fence(Ordering::SeqCst);
    if kernel::available() {
        kernel::barrier();
    }
}
