#![expect(unsafe_code, reason = "what is waited for is read by pointer")]
//! What a fiber waits for, noted for dumps.
//!
//! Noted where a fiber is about to be suspended for something other than its turn, which costs a look at the coarsest clock there
//! is. A fork that its own worker completes notes nothing.

use crate::batch::Header;
use std::panic::Location;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering, compiler_fence};
use std::time::Duration;

/// What a fiber waits for.
///
/// Begun by the fiber itself, ended by whoever makes it ready, and read by its home worker's thread.
#[derive(Debug, Default)]
pub(super) struct Wait {
    /// Where the call is that waits; null if none does.
    site: AtomicPtr<Location<'static>>,
    /// The batch that is waited for; null for something else. As good as `site`.
    batch: AtomicPtr<Header>,
    /// When it began. As good as `site`.
    since: AtomicU64,
}

/// A wait, as it was found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waited {
    pub(crate) site: &'static Location<'static>,
    pub(crate) since: CoarseTime,
    pub(crate) batch: Option<BatchSeen>,
}

/// A batch, as it was found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchSeen {
    /// What tells it from others that are there at the same time.
    pub(crate) address: usize,
    pub(crate) len: usize,
    /// The parties that have not arrived.
    pub(crate) outstanding: usize,
}

impl BatchSeen {
    pub(super) fn of(header: &Header) -> Self {
        Self { address: ptr::from_ref(header).addr(), len: header.len(), outstanding: header.outstanding() }
    }
}

impl Wait {
    pub(super) fn begin(&self, site: &'static Location<'static>, batch: Option<NonNull<Header>>) {
        self.since.store(CoarseTime::now().0, Ordering::Relaxed);
        self.batch.store(batch.map_or(ptr::null_mut(), NonNull::as_ptr), Ordering::Relaxed);
        // ORDERING: Release, for a handler on this thread. Nothing else reads it but `end`, which overwrites.
        self.site.store(ptr::from_ref(site).cast_mut(), Ordering::Release);
    }

    pub(super) fn end(&self) {
        self.site.store(ptr::null_mut(), Ordering::Relaxed);
        // Whatever takes the place of the batch is written later, for a handler on this thread.
        compiler_fence(Ordering::SeqCst);
    }

    pub(super) fn is_noted(&self) -> bool {
        !self.site.load(Ordering::Relaxed).is_null()
    }

    /// # Safety
    ///
    /// The batch that is noted, if one is, is live.
    pub(super) unsafe fn read(&self) -> Option<Waited> {
        // SAFETY: a site is there for ever.
        let site = unsafe { self.site.load(Ordering::Relaxed).as_ref() }?;
        let batch = self.batch.load(Ordering::Relaxed);
        // SAFETY: live, says the caller.
        let batch = unsafe { batch.as_ref() }.map(BatchSeen::of);
        Some(Waited { site, since: CoarseTime(self.since.load(Ordering::Relaxed)), batch })
    }
}

/// A time, to some milliseconds, that costs little to take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CoarseTime(u64);

impl CoarseTime {
    pub(crate) fn now() -> Self {
        #[cfg(target_os = "linux")]
        const CLOCK: libc::clockid_t = libc::CLOCK_MONOTONIC_COARSE;
        #[cfg(not(target_os = "linux"))]
        const CLOCK: libc::clockid_t = libc::CLOCK_MONOTONIC;
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the time is there to be written.
        unsafe { libc::clock_gettime(CLOCK, &raw mut now) };
        Self(now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned())
    }

    /// How long ago that is.
    pub(crate) fn elapsed(self) -> Duration {
        Duration::from_nanos(Self::now().0.saturating_sub(self.0))
    }
}
