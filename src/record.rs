#![expect(unsafe_code, reason = "records and origins are linked by pointers to frames that wait")]
//! What is known of a running task: where it came from, which of its siblings it is, and what may stop it.
//!
//! # Who may touch what when
//!
//! A record lies in the control block of the fiber that its task runs on, or in the frame by which another backend entered
//! the task. Only the thread that runs the task writes it. Tasks further down the nest read it, from any thread: their
//! batch was handed over after the last write, and the task waits for them, or is in the middle of a call that does
//! (a scope), during which nothing of the record changes. The fields are atomics all the same, which costs nothing and makes
//! the claim one about values only.
//!
//! A dump reads the records of a worker's fibers from a signal handler on the worker's own thread, at any instruction. It looks at
//! those that are *live*, which have an origin. So the record of a fiber begins before the worker calls the fiber its current one,
//! and ends before its batch may be gone.

mod origin;

pub(crate) use origin::Origin;

use crate::batch::Payload;
use crate::control::{Control, Stopped};
use crate::error::text_of;
use crate::path::{PathStep, TaskPath};
use std::any::{Any, TypeId};
use std::cell::Cell;
use std::fmt;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering, compiler_fence};

/// What the policy of a map adds to the step of its tasks in a path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Label {
    pub(crate) name: Option<&'static str>,
    pub(crate) function: fn() -> &'static str,
}

/// What is known of a running task.
pub(crate) struct Record {
    origin: AtomicPtr<Origin>,
    idx: AtomicUsize,
    control: AtomicPtr<Control>,
    /// What a policy has to say of the task.
    label: AtomicPtr<Label>,
    /// The number that goes with the label.
    labelled_idx: AtomicUsize,
    /// The survey that has seen the record last.
    seen: AtomicUsize,
    /// The panic that was last raised again in this task, and where it came from. Used by the task's thread alone.
    raised: Cell<Option<Box<Raised>>>,
    /// The controls of the detached tasks that the task waits for. Used by the task's thread alone.
    awaited: Cell<Awaited>,
    /// In how many waits for a future the task is, one within another. Used by the task's thread alone.
    waits: Cell<u32>,
}

type Awaited = Option<Box<Vec<Arc<Control>>>>;

// SAFETY: `raised` and `awaited` block the auto trait; only the thread that runs the task uses them, or
// the one that is lent to it while it waits.
unsafe impl Sync for Record {}

/// A panic on its way up the nest, by what can be known of its payload without owning it.
struct Raised {
    /// The origin of the task that was to raise it, and which of the siblings that was.
    task: (usize, usize),
    address: *const (),
    kind: TypeId,
    text: String,
    path: TaskPath,
}

impl Record {
    /// A record for tasks to come.
    pub(crate) fn new() -> Self {
        Self {
            origin: AtomicPtr::new(ptr::null_mut()),
            idx: AtomicUsize::new(0),
            control: AtomicPtr::new(ptr::null_mut()),
            label: AtomicPtr::new(ptr::null_mut()),
            labelled_idx: AtomicUsize::new(0),
            seen: AtomicUsize::new(0),
            raised: Cell::new(None),
            awaited: Cell::new(None),
            waits: Cell::new(0),
        }
    }

    /// The record of the task `idx` of those that came from `origin`.
    pub(crate) fn of(origin: &Origin, idx: usize) -> Self {
        let record = Self::new();
        record.begin(origin, idx);
        record
    }

    /// Notes that tasks from `origin` run, the task `idx` first. It outlives them.
    #[inline]
    pub(crate) fn begin(&self, origin: &Origin, idx: usize) {
        self.control.store(origin.control().cast_mut(), Ordering::Relaxed);
        self.idx.store(idx, Ordering::Relaxed);
        // A handler on this thread that sees the origin sees what it says.
        compiler_fence(Ordering::Release);
        self.origin.store(ptr::from_ref(origin).cast_mut(), Ordering::Relaxed);
    }

    /// Notes that no task runs any more. Called before the origin may be gone.
    #[inline]
    pub(crate) fn end(&self) {
        self.origin.store(ptr::null_mut(), Ordering::Relaxed);
        // Whatever takes the place of the origin is written later, for a handler on this thread.
        compiler_fence(Ordering::SeqCst);
    }

    /// Whether a task runs. Of another thread's record, a hint.
    pub(crate) fn is_live(&self) -> bool {
        !self.origin.load(Ordering::Relaxed).is_null()
    }

    /// The address of the origin; zero if no task runs.
    pub(crate) fn origin_address(&self) -> usize {
        self.origin.load(Ordering::Relaxed).addr()
    }

    /// Which of the siblings runs, whatever number a policy has given it.
    pub(crate) fn idx(&self) -> usize {
        self.idx.load(Ordering::Relaxed)
    }

    /// Notes that a survey has seen the record. Returns whether it is the first time in this survey.
    pub(crate) fn note_seen(&self, survey: usize) -> bool {
        self.seen.swap(survey, Ordering::Relaxed) != survey
    }

    /// Notes which of the siblings runs.
    #[inline]
    pub(crate) fn set_idx(&self, idx: usize) {
        self.idx.store(idx, Ordering::Relaxed);
    }

    /// Whether and why the task is to stop.
    #[inline]
    pub(crate) fn stopped(&self) -> Option<Stopped> {
        self.control().and_then(Control::stopped)
    }

    /// What may stop the task; null for nothing.
    #[inline]
    pub(crate) fn control_pointer(&self) -> *const Control {
        self.control.load(Ordering::Relaxed)
    }

    /// What may stop the task.
    #[inline]
    pub(crate) fn control(&self) -> Option<&Control> {
        // SAFETY: a control outlives the tasks that it stops.
        unsafe { self.control.load(Ordering::Relaxed).as_ref() }
    }

    /// Calls `f` with the task under another control, and its step labelled, as the task `idx`.
    pub(crate) fn govern<R>(&self, control: &Control, label: &Label, idx: usize, f: impl FnOnce() -> R) -> R {
        let _former = Governed {
            record: self,
            control: self.control.swap(ptr::from_ref(control).cast_mut(), Ordering::Relaxed),
            label: self.label.swap(ptr::from_ref(label).cast_mut(), Ordering::Relaxed),
            idx: self.labelled_idx.swap(idx, Ordering::Relaxed),
        };
        f()
    }

    /// Notes where a panic came from that is about to be raised in this task.
    pub(crate) fn note_raised(&self, payload: &(dyn Any + Send), path: TaskPath) {
        let (address, kind, text) = identity_of(payload);
        self.raised.set(Some(Box::new(Raised { task: self.task(), address, kind, text, path })));
    }

    /// The place that a panic of this task came from: further down the nest, or this task itself.
    pub(crate) fn path_of(&self, payload: &Payload) -> TaskPath {
        let (address, kind, text) = identity_of(&**payload);
        match self.raised.take() {
            // What another task on the same fiber has caught may have had the same address.
            Some(raised)
                if raised.task == self.task()
                    && (raised.address, raised.kind) == (address, kind)
                    && raised.text == text =>
            {
                raised.path
            }
            _ => self.path(),
        }
    }

    fn task(&self) -> (usize, usize) {
        (self.origin_address(), self.idx())
    }

    /// The path of the task.
    pub(crate) fn path(&self) -> TaskPath {
        let mut steps = Vec::new();
        self.visit(|step| steps.push(step));
        steps.reverse();
        TaskPath::new(steps)
    }

    /// Gives the steps of the path to `see`, innermost first, and returns their number. Allocates nothing.
    pub(crate) fn visit(&self, mut see: impl FnMut(PathStep)) -> usize {
        let mut depth = 0;
        let mut next = NonNull::new(ptr::from_ref(self).cast_mut());
        while let Some(record) = next {
            // SAFETY: see `Origin::parent`.
            let record = unsafe { record.as_ref() };
            let Some((step, parent)) = record.step() else { break };
            see(step);
            depth += 1;
            next = parent;
        }
        depth
    }

    /// The innermost step of the path, and the record of the task that made this one; `None` if no task runs. Allocates nothing.
    pub(crate) fn step(&self) -> Option<(PathStep, Option<NonNull<Self>>)> {
        // SAFETY: see `begin`.
        let origin = unsafe { self.origin.load(Ordering::Relaxed).as_ref() }?;
        // SAFETY: a label outlives the call of `govern` that set it.
        let label = unsafe { self.label.load(Ordering::Relaxed).as_ref() };
        let function = label.map_or_else(|| origin.function(), |label| (label.function)());
        let name = label.and_then(|label| label.name);
        let idx = if label.is_some() { &self.labelled_idx } else { &self.idx };
        let step = PathStep::new(origin.site, name, function, idx.load(Ordering::Relaxed));
        Some((step, NonNull::new(origin.parent().cast_mut())))
    }

    /// What tells the task from others that have not ended.
    pub(crate) fn address(&self) -> usize {
        ptr::from_ref(self).addr()
    }

    /// Whether the task descends from `ancestor`, or from one that a descendant of it waits for.
    pub(crate) fn is_below(&self, ancestor: &Self) -> bool {
        // SAFETY: see `begin`.
        let origin = unsafe { self.origin.load(Ordering::Relaxed).as_ref() };
        origin.is_some_and(|origin| origin.is_below(ancestor))
    }

    /// Gives the address and the control of the task and of those above to `see`, innermost first.
    pub(crate) fn visit_ancestry(&self, mut see: impl FnMut(usize, Option<&Control>)) {
        let mut next = Some(self);
        while let Some(record) = next {
            // SAFETY: see `begin`.
            let origin = unsafe { record.origin.load(Ordering::Relaxed).as_ref() };
            // SAFETY: a control outlives the tasks that it stops.
            let control = origin.and_then(|origin| unsafe { origin.control().as_ref() });
            see(record.address(), control);
            // SAFETY: see `Origin::parent`.
            next = origin.and_then(|origin| unsafe { origin.parent().as_ref() });
        }
    }

    /// Notes that the task begins to wait for a future. Returns what [`end_wait`](Self::end_wait) is to keep.
    pub(crate) fn begin_wait(&self) -> usize {
        self.waits.set(self.waits.get() + 1);
        let awaited = self.awaited.take();
        let count = awaited.as_ref().map_or(0, |awaited| awaited.len());
        self.awaited.set(awaited);
        count
    }

    /// Notes that the task waits for the detached task under `control`, until the end of the wait that it is in.
    pub(crate) fn await_under(&self, control: &Arc<Control>) {
        if self.waits.get() > 0 && control.note_awaiter(self) {
            let mut awaited = self.awaited.take().unwrap_or_default();
            awaited.push(Arc::clone(control));
            self.awaited.set(Some(awaited));
        }
    }

    /// Notes that a wait ends, and takes back what [`await_under`](Self::await_under) noted, but for the first `kept`.
    pub(crate) fn end_wait(&self, kept: usize) {
        self.waits.set(self.waits.get() - 1);
        if let Some(mut awaited) = self.awaited.take() {
            awaited.drain(kept..).for_each(|control| control.forget_awaiter(self));
            self.awaited.set((kept > 0).then_some(awaited));
        }
    }

    /// How many tasks the task is in, itself included.
    #[cfg(feature = "spans")]
    pub(crate) fn depth(&self) -> usize {
        self.visit(drop)
    }

    /// The path that the task `idx` of those from `origin` has, or would have.
    pub(crate) fn path_in(origin: &Origin, idx: usize) -> TaskPath {
        Self::of(origin, idx).path()
    }
}

fn identity_of(payload: &(dyn Any + Send)) -> (*const (), TypeId, String) {
    (ptr::from_ref(payload).cast(), payload.type_id(), text_of(payload).unwrap_or_default().to_owned())
}

/// Puts back what [`Record::govern`] changed.
struct Governed<'a> {
    record: &'a Record,
    control: *mut Control,
    label: *mut Label,
    idx: usize,
}

impl Drop for Governed<'_> {
    fn drop(&mut self) {
        self.record.control.store(self.control, Ordering::Relaxed);
        self.record.label.store(self.label, Ordering::Relaxed);
        self.record.labelled_idx.store(self.idx, Ordering::Relaxed);
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record").field("idx", &self.idx).finish_non_exhaustive()
    }
}
