#![expect(unsafe_code, reason = "what a fiber waits for, and its batch, are read by pointer")]
//! What of a fiber is there to be seen.
//!
//! A survey (see `survey`) reads the fibers of a worker from a signal handler on the worker's thread. A fiber is *live* while its
//! record is. Of a live fiber it can tell:
//!
//! - It is the worker's `current` one: it runs.
//! - It is the parent of a fiber that runs, or waits in the same way, and that it resumed itself (`resumer`): it is in the middle of
//!   a fork and waits for its tasks. Nothing is noted for that, because forks are frequent.
//! - A wait is noted in `wait`: it is suspended. Noted before a real suspension, and taken back by whoever makes it ready.
//! - Nothing of these: it is ready, has yielded, or is about to be started.

use super::{FiberRef, Resumer};
use crate::batch::Header;
use crate::record::Record;
use crate::runtime::wait::Waited;
use std::cell::Cell;
use std::panic::Location;
use std::ptr::NonNull;
use std::sync::atomic::{Ordering, compiler_fence};

impl FiberRef {
    /// Whether a task runs on it, or waits. On another thread, a hint.
    pub(in crate::runtime) fn is_live(self) -> bool {
        self.get().record.is_live()
    }

    pub(in crate::runtime) fn resumer(self) -> Resumer {
        self.get().resumer.get()
    }

    /// Its place in the roster of the home worker.
    pub(in crate::runtime) fn place(&self) -> &Cell<usize> {
        &self.get().place
    }

    /// Notes that the fiber, which runs, is about to wait at `site`, for that batch if it is one.
    pub(crate) fn note_wait(self, site: &'static Location<'static>, batch: Option<NonNull<Header>>) {
        self.get().wait.begin(site, batch);
    }

    /// Notes that the fiber waits no longer.
    pub(crate) fn note_end_of_wait(self) {
        self.get().wait.end();
    }

    /// What the fiber waits for, if it does.
    ///
    /// # Safety
    ///
    /// The caller is on the home worker's thread, on another fiber or in a handler.
    pub(in crate::runtime) unsafe fn waited(self) -> Option<Waited> {
        // SAFETY: what the fiber waits for stays in place while it waits, and it cannot go on meanwhile.
        unsafe { self.get().wait.read() }
    }

    /// Whether it is noted where the fiber waits.
    pub(crate) fn has_noted_wait(self) -> bool {
        self.get().wait.is_noted()
    }

    /// Notes in which record's task the fiber is about to be suspended; null for its own.
    pub(crate) fn note_inner(self, record: *const Record) {
        self.get().inner.set(record);
        compiler_fence(Ordering::SeqCst);
    }

    /// The innermost record of a fiber that does not run.
    pub(in crate::runtime) fn innermost(&self) -> NonNull<Record> {
        NonNull::new(self.get().inner.get().cast_mut()).unwrap_or(NonNull::from(&self.get().record))
    }

    /// The batch that a live fiber runs tasks of, and how many it has ended without having arrived for them.
    ///
    /// # Safety
    ///
    /// The caller is on the home worker's thread, and the fiber is live.
    pub(in crate::runtime) unsafe fn batch<'a>(self) -> (&'a Header, usize) {
        let fiber = self.get();
        // SAFETY: a fiber begins with the origin of a batch, which is live until its tasks arrive, and exposes its address.
        let header = unsafe { Header::of_origin(fiber.record.origin_address()) };
        let (first, idx) = (fiber.first.get(), fiber.record.idx());
        // A detached task has a number among those of its call.
        let ended = if (first..header.len()).contains(&idx) { idx - first } else { 0 };
        (header, ended)
    }
}
