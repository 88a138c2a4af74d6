#![expect(unsafe_code, reason = "a task refers to its control by a pointer")]
//! Stopping what runs: a tree of controls, each of which stops the tasks under it.
//!
//! Every map with a policy, every scope, every detached task and every [`CancelToken`] has a [`Control`]. A control hangs
//! below others: the one that the running task is under, and the token that a map was given. Stopping a control stops all
//! that hang below it, at once and by pushing, so that a task finds out by reading one word of its own control, however
//! deep the nest.
//!
//! # States
//!
//! | word | meaning |
//! |---|---|
//! | `LIVE` | nothing has stopped it |
//! | `CANCELLED`, `LATE` | stopped, and why; final |
//!
//! The word leaves `LIVE` once, under the lock of the listeners, which are taken out in the same critical section. A
//! listener is put in under the same lock, and only while the control is live. So each listener is either refused, and its
//! owner sees that the control has stopped, or told exactly once, or removed by its owner before it was told.
//!
//! Listeners are told with no lock held, and a child is stopped as its parent was: by a work list, not by recursion, since
//! nests may be deep.

mod awaiting;
mod deadline;
mod token;

pub(crate) use awaiting::{Asking, is_anybody_asking, is_anything_awaited, notes_so_far};
pub(crate) use deadline::Deadline;
pub use token::CancelToken;

use crate::current::{self, Context};
use crate::error::ErrorKind;
use crate::record::Record;
use awaiting::Awaiter;
use parking_lot::Mutex;
use slab::Slab;
use std::mem;
use std::panic;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Weak};
use std::task::Waker;
use std::thread;
use std::time::Instant;

const LIVE: u8 = 0;
const CANCELLED: u8 = 1;
const LATE: u8 = 2;

/// Why a control was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    Cancelled,
    Late,
}

impl Stopped {
    pub(crate) fn kind(self) -> ErrorKind {
        match self {
            Self::Cancelled => ErrorKind::Cancelled,
            Self::Late => ErrorKind::DeadlineExceeded,
        }
    }

    /// Unwinds the running task.
    #[cold]
    pub(crate) fn unwind(self) -> ! {
        panic::resume_unwind(Box::new(Cancelled { kind: self.kind() }))
    }
}

/// What a task unwinds with that was cancelled or is late.
///
/// It is the payload that [`std::panic::catch_unwind`] gives to user code that catches it. The panic hook does not see it. A
/// task that catches it and goes on unwinds again at its next `yield_*` call, [`checkpoint`], [`block_on`](crate::block_on)
/// or lock of [`sync`](crate::sync).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cancelled {
    kind: ErrorKind,
}

impl Cancelled {
    /// [`ErrorKind::Cancelled`] or [`ErrorKind::DeadlineExceeded`].
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

/// Stops the tasks under it.
#[derive(Debug)]
pub(crate) struct Control {
    word: AtomicU8,
    /// When the tasks under it become late, and the control above whose time that is, if it is not this one's own.
    due: Option<(Instant, Option<Arc<Control>>)>,
    listeners: Mutex<Slab<Listener>>,
    /// Who waits for the detached task under it, if there is one and somebody does.
    awaiter: Mutex<Option<Box<Awaiter>>>,
}

/// Who is told that a control was stopped.
#[derive(Debug)]
enum Listener {
    Below(Weak<Control>),
    Waiting(Waker),
}

impl Control {
    fn due_at(due: Option<(Instant, Option<Arc<Self>>)>) -> Arc<Self> {
        let (listeners, awaiter) = (Mutex::new(Slab::new()), Mutex::new(None));
        Arc::new(Self { word: AtomicU8::new(LIVE), due, listeners, awaiter })
    }

    /// Whether and why it was stopped.
    #[inline]
    pub(crate) fn stopped(&self) -> Option<Stopped> {
        // ORDERING: Relaxed. It tells tasks to stop, and hands nothing over.
        match self.word.load(Ordering::Relaxed) {
            LIVE => None,
            CANCELLED => Some(Stopped::Cancelled),
            _ => Some(Stopped::Late),
        }
    }

    /// As [`stopped`](Self::stopped), with a look at the clock if there is a deadline.
    fn stopped_by_now(&self) -> Option<Stopped> {
        if self.stopped().is_none()
            && let Some((at, owner)) = &self.due
            && Instant::now() >= *at
        {
            owner.as_deref().unwrap_or(self).stop(Stopped::Late);
        }
        self.stopped()
    }

    /// Stops everything under it. Does nothing if it was stopped before.
    pub(crate) fn stop(&self, why: Stopped) {
        let mut below = self.stop_this(why);
        while let Some(control) = below.pop() {
            if let Some(control) = control.upgrade() {
                below.append(&mut control.stop_this(why));
            }
        }
    }

    /// Stops this one, wakes who waits under it, and gives the controls right below.
    fn stop_this(&self, why: Stopped) -> Vec<Weak<Self>> {
        let word = match why {
            Stopped::Cancelled => CANCELLED,
            Stopped::Late => LATE,
        };
        let told = {
            let mut listeners = self.listeners.lock();
            if self.stopped().is_some() {
                return Vec::new();
            }
            self.word.store(word, Ordering::Relaxed);
            mem::take(&mut *listeners)
        };
        let mut below = Vec::new();
        for (_, listener) in told {
            match listener {
                Listener::Below(control) => below.push(control),
                Listener::Waiting(waker) => waker.wake(),
            }
        }
        below
    }

    /// Puts a listener in.
    ///
    /// # Errors
    ///
    /// Why the control was stopped, if it was.
    fn listen(self: &Arc<Self>, listener: Listener) -> Result<Listening, Stopped> {
        let mut listeners = self.listeners.lock();
        match self.stopped() {
            Some(why) => Err(why),
            None => Ok(Listening { key: listeners.insert(listener), control: Arc::clone(self) }),
        }
    }

    /// Has `waker` woken when the control is stopped, until the result is dropped.
    ///
    /// # Errors
    ///
    /// Why the control was stopped, if it was.
    pub(crate) fn wake_when_stopped(self: &Arc<Self>, waker: Waker) -> Result<Listening, Stopped> {
        self.listen(Listener::Waiting(waker))
    }

    /// A share in a control that a task is under.
    pub(crate) fn share(&self) -> Arc<Self> {
        // SAFETY: controls are made by `due_at` only, in an `Arc`.
        unsafe { Arc::increment_strong_count(self) };
        // SAFETY: the count was raised for this one.
        unsafe { Arc::from_raw(self) }
    }
}

/// A listener's place at a control, taken back when dropped.
#[derive(Debug)]
pub(crate) struct Listening {
    control: Arc<Control>,
    key: usize,
}

impl Drop for Listening {
    fn drop(&mut self) {
        // Stopping takes all listeners out, and nobody is let in afterwards.
        let _told = self.control.listeners.lock().try_remove(self.key);
    }
}

/// A control of its own for a call, below others; taken out from below them when dropped.
#[derive(Debug)]
pub(crate) struct Limits {
    control: Arc<Control>,
    above: Vec<Listening>,
    _deadline: Option<Deadline>,
}

impl Limits {
    /// A control below all of `above`, for tasks that become late at `due`.
    pub(crate) fn below(above: impl IntoIterator<Item = Arc<Control>>, due: Option<Instant>) -> Self {
        let above: Vec<_> = above.into_iter().collect();
        let from_above = above.iter().filter_map(|control| {
            let (at, owner) = control.due.as_ref()?;
            Some((*at, Some(Arc::clone(owner.as_ref().unwrap_or(control)))))
        });
        let earliest = from_above.chain(due.map(|at| (at, None))).min_by_key(|(at, _)| *at);
        let control = Control::due_at(earliest);
        let listening = above.into_iter().filter_map(|above| {
            let listening = above.listen(Listener::Below(Arc::downgrade(&control)));
            listening.map_err(|why| control.stop(why)).ok()
        });
        let listening = listening.collect();
        let deadline = due.and_then(|at| Deadline::start(&control, at));
        Self { control, above: listening, _deadline: deadline }
    }

    /// As [`below`](Self::below), and below what may stop the running task. What runs in a destructor while its task unwinds
    /// runs to its end: nothing stops it from above.
    pub(crate) fn here<'a>(above: impl IntoIterator<Item = &'a Arc<Control>>, due: Option<Instant>) -> Self {
        let here = current::record().filter(|_| !thread::panicking());
        let here = here.and_then(Record::control).map(Control::share);
        Self::below(above.into_iter().cloned().chain(here), due)
    }

    pub(crate) fn control(&self) -> &Arc<Control> {
        &self.control
    }

    /// The controls that it is right below, and not been stopped with.
    fn above(&self) -> impl Iterator<Item = &Arc<Control>> {
        self.above.iter().map(|listening| &listening.control)
    }
}

/// For a leaf that runs long: a place where it can be stopped, and where others may go first.
///
/// Unwinds if the running task is cancelled or late, with the payload [`Cancelled`]. Otherwise, on a
/// [`FiberExecutor`](crate::FiberExecutor), lets the fibers go first that are ready on this worker: parents whose children
/// have ended, tasks whose lock or message is there, and those that have called [`yield_now`](crate::yield_now). Costs a few nanoseconds if there is nothing to do, and a look at the
/// clock if a deadline is set. Does nothing outside a task, or while the thread unwinds. With
/// [`Interleave::Nested`](crate::Interleave::Nested), nobody goes first.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use yieldtasks::{ErrorKind, checkpoint, taskmap};
///
/// let endless = |_| loop {
///     checkpoint();
/// };
/// let late = taskmap(endless, 0..2).deadline(Duration::from_millis(5)).try_run();
/// assert_eq!(late.map(|_: Vec<()>| ()).unwrap_err().kind(), ErrorKind::DeadlineExceeded);
/// ```
#[inline]
pub fn checkpoint() {
    match current::context() {
        Some(Context::Fibers(worker)) => {
            // SAFETY: a worker outlives its fibers, and the caller runs on one of them.
            unsafe { worker.as_ref() }.checkpoint();
        }
        Some(_) => {
            stop_if_due();
            // A task that runs inline on a fiber, of whichever executor: who would stop it may be ready on this worker.
            current::give_way();
        }
        None => {}
    }
}

/// Whether the running task was cancelled or is late, so that its next [`checkpoint`] would unwind. `false` outside a task.
pub fn is_cancelled() -> bool {
    current::record().and_then(|record| record.control()).is_some_and(|control| control.stopped_by_now().is_some())
}

/// Unwinds the running task if it has been stopped, unless it unwinds already.
pub(crate) fn stop_if_told() {
    if let Some(why) = current::record().and_then(|record| record.stopped())
        && !thread::panicking()
    {
        why.unwind();
    }
}

/// As [`stop_if_told`], with a look at the clock.
#[cold]
pub(crate) fn stop_if_due() {
    if is_cancelled() {
        stop_if_told();
    }
}
