#![expect(unsafe_code, reason = "what made the siblings, and what may stop them, is said later than the rest")]
//! Where sibling tasks came from, and what may stop them.

use super::Record;
use crate::control::{Control, Stopped};
#[cfg(feature = "spans")]
use crate::path::PathStep;
use crate::spans::Shown;
use std::mem::MaybeUninit;
use std::panic::Location;
use std::ptr;
use std::sync::atomic::Ordering;

/// Where sibling tasks came from.
#[derive(Clone, Copy)]
pub(crate) struct Origin {
    /// Where the call was written that made them.
    pub(super) site: &'static Location<'static>,
    /// The type of the function that they call, if it is one.
    function: Option<fn() -> &'static str>,
    /// The task that made them; null if it was none. Not initialised before it is said.
    parent: MaybeUninit<*const Record>,
    /// What may stop them from above; null for nothing. Not initialised before it is said.
    control: MaybeUninit<*const Control>,
    shown: Shown,
}

// SAFETY: the pointers block the auto traits. `parent` and `control` are alive as long as the siblings, which the parent
// waits for; both are `Sync`.
unsafe impl Send for Origin {}
// SAFETY: as above.
unsafe impl Sync for Origin {}

impl Origin {
    /// Siblings of which nothing is asked before [`set`](Self::set), [`inherit`](Self::inherit) or [`shield`](Self::shield) has
    /// said what made them, and what stops them. Whoever shares them, or makes a record for them, comes after that.
    #[inline]
    pub(crate) fn new(site: &'static Location<'static>, function: Option<fn() -> &'static str>) -> Self {
        let (parent, control) = (MaybeUninit::uninit(), MaybeUninit::uninit());
        Self { site, function, parent, control, shown: Shown::PLAINLY }
    }

    /// The task that made the siblings; null if it was none.
    #[inline]
    pub(super) fn parent(&self) -> *const Record {
        // SAFETY: see `new`.
        unsafe { self.parent.assume_init() }
    }

    /// What may stop them from above; null for nothing.
    #[inline]
    pub(super) fn control(&self) -> *const Control {
        // SAFETY: see `new`.
        unsafe { self.control.assume_init() }
    }

    /// The type of the function that the siblings call, or nothing.
    pub(super) fn function(&self) -> &'static str {
        self.function.map_or("", |function| function())
    }

    /// Says whether the siblings have spans, and by what name. Unless told otherwise, they have, by their function's.
    #[inline]
    pub(crate) fn show(mut self, shown: Shown) -> Self {
        self.shown = shown;
        self
    }

    /// See [`show`](Self::show).
    #[cfg(feature = "spans")]
    pub(crate) fn shown(&self) -> Shown {
        self.shown
    }

    /// The step of the task `idx` in a path, if its map has that name.
    #[cfg(feature = "spans")]
    pub(crate) fn step(&self, name: Option<&'static str>, idx: usize) -> PathStep {
        PathStep::new(self.site, name, self.function(), idx)
    }

    /// Makes the siblings children of the task `parent`, stopped by what stops it.
    #[inline]
    pub(crate) fn inherit(&mut self, parent: &Record) {
        self.set(parent, parent.control.load(Ordering::Relaxed));
    }

    /// Makes the siblings children of a task, stopped by `control`, which outlives them.
    #[inline]
    pub(crate) fn set(&mut self, parent: *const Record, control: *const Control) {
        self.parent.write(parent);
        self.control.write(control);
    }

    /// Makes the siblings children of the task `parent` that nothing stops.
    pub(crate) fn shield(&mut self, parent: Option<&Record>) {
        self.set(parent.map_or(ptr::null(), ptr::from_ref), ptr::null());
    }

    /// Where the call was written that made the siblings.
    pub(crate) fn site(&self) -> &'static Location<'static> {
        self.site
    }

    /// The address of the record of the task that made the siblings, if it was one.
    pub(crate) fn parent_address(&self) -> Option<usize> {
        (!self.parent().is_null()).then(|| self.parent().addr())
    }

    /// Whether the siblings descend from the task `ancestor`, or from one that a descendant of it waits for. The siblings, or
    /// one of them, have not ended.
    pub(crate) fn is_below(&self, ancestor: &Record) -> bool {
        let address = ancestor.address();
        let mut asked = ptr::null();
        let mut origin = self;
        loop {
            if origin.parent().addr() == address {
                return true;
            }
            if origin.control() != asked {
                asked = origin.control();
                // SAFETY: a control outlives the tasks that it stops, of which there are some.
                if unsafe { asked.as_ref() }.is_some_and(|control| control.is_awaited_below(address)) {
                    return true;
                }
            }
            // SAFETY: a parent waits for its children, of which some have not ended, or is in the middle of a call that does.
            let Some(parent) = (unsafe { origin.parent().as_ref() }) else { return false };
            // SAFETY: see `Record::begin`.
            let Some(next) = (unsafe { parent.origin.load(Ordering::Relaxed).as_ref() }) else { return false };
            origin = next;
        }
    }

    /// The address of what may stop them; zero for nothing.
    #[inline]
    pub(crate) fn control_address(&self) -> usize {
        self.control().addr()
    }

    /// Whether the siblings are to stop.
    #[inline]
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped().is_some()
    }

    /// Whether and why the siblings are to stop.
    #[inline]
    pub(crate) fn stopped(&self) -> Option<Stopped> {
        // SAFETY: the control outlives the siblings.
        unsafe { self.control().as_ref() }.and_then(Control::stopped)
    }
}
