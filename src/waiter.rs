#![expect(unsafe_code, reason = "waiters are pointers to frames that wait")]
//! Waiting for a batch or a task: a fiber suspends, a thread parks.

use crate::batch::Header;
use crate::current;
use crate::erased::ErasedFn;
use crate::reaper::reap;
use crate::runtime::affinity::off_core;
use crate::runtime::{FiberRef, RootBatch};
use crate::spans::Carried;
use parking_lot::Mutex;
use std::panic::{self, AssertUnwindSafe, Location};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread};

/// Who is woken when what it waits for has ended. Woken exactly once.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Waiter {
    /// A fiber that is suspended, or will be before its worker looks for ready fibers again.
    Fiber(FiberRef),
    /// A thread that is parked or about to be.
    Thread(NonNull<ParkedThread>),
    /// Nobody waits for a detached task: its batch is freed.
    Root(NonNull<RootBatch>),
}

// SAFETY: the pointers block the auto trait. Waking is what another thread does with them: a fiber is handed to its home
// worker, a thread is unparked.
unsafe impl Send for Waiter {}

impl Waiter {
    /// Makes the waiting party go on. Its frame, and with it the batch, may be gone when this returns.
    pub(crate) fn wake(self) {
        match self {
            Self::Fiber(fiber) => fiber.make_ready(),
            Self::Thread(parked) => {
                // SAFETY: the thread waits in `Parking::wait` until `woken` is set, so the reference is good until then.
                let parked = unsafe { parked.as_ref() };
                let thread = parked.thread.clone();
                // ORDERING: Release hands over what the waker knows; pairs with `Parking::wait`. `parked` is out of bounds
                // from here on.
                parked.woken.store(true, Ordering::Release);
                thread.unpark();
            }
            // SAFETY: the batch is its own waiter, and its task has ended.
            Self::Root(batch) => unsafe { RootBatch::end(batch) },
        }
    }
}

/// A thread that waits.
#[derive(Debug)]
pub(crate) struct ParkedThread {
    thread: Thread,
    woken: AtomicBool,
}

/// The waiting side, in the frame of the party that waits.
#[derive(Debug)]
pub(crate) enum Parking {
    Fiber(FiberRef),
    Thread(ParkedThread),
}

impl Parking {
    /// The place where the caller would wait.
    pub(crate) fn here() -> Self {
        match current::worker() {
            Some(worker) => Self::Fiber(worker.current_fiber()),
            None => Self::Thread(ParkedThread { thread: thread::current(), woken: AtomicBool::new(false) }),
        }
    }

    pub(crate) fn waiter(&self) -> Waiter {
        match self {
            Self::Fiber(fiber) => Waiter::Fiber(*fiber),
            Self::Thread(parked) => Waiter::Thread(NonNull::from(parked)),
        }
    }

    /// Whether the caller runs on a fiber whose thread unwinds, where it must not suspend.
    pub(crate) fn must_not_wait(&self) -> bool {
        matches!(self, Self::Fiber(_)) && thread::panicking()
    }

    /// Notes what is about to be waited for, before anybody may wake the waiter.
    pub(crate) fn note(&self, site: &'static Location<'static>, batch: NonNull<Header>) {
        if let Self::Fiber(fiber) = self {
            fiber.note_wait(site, Some(batch));
        }
    }

    /// Takes the note back because there is nothing to wait for.
    pub(crate) fn take_note_back(&self) {
        if let Self::Fiber(fiber) = self {
            fiber.note_end_of_wait();
        }
    }

    /// Waits for tasks of the caller's own, those of `batch` if they are one.
    #[track_caller]
    pub(crate) fn wait_for_children(&self, batch: Option<NonNull<Header>>) {
        if let (Self::Fiber(_), Some(worker)) = (self, current::worker()) {
            worker.hold(batch);
        }
        self.wait();
    }

    /// Waits until the waiter is woken. Called once, by the party that made the parking.
    #[track_caller]
    pub(crate) fn wait(&self) {
        match self {
            Self::Fiber(_) => current::suspend(Location::caller()),
            Self::Thread(parked) => {
                // ORDERING: Acquire pairs with `Waiter::wake`.
                while !parked.woken.load(Ordering::Acquire) {
                    thread::park();
                }
            }
        }
    }
}

/// Which thread helps a fiber that would otherwise block its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Helper {
    /// One of its own, for calls that may wait for other tasks.
    Own,
    /// One of a pool that is kept, and bounded.
    Pooled,
}

/// Calls `block` on another thread, as a part of the running task, while the calling fiber is suspended. Without a thread of
/// its own to be had, calls it here.
#[track_caller]
pub(crate) fn elsewhere(helper: Helper, block: impl FnOnce() + Send) {
    let parking = Parking::here();
    let waiter = parking.waiter();
    let (task, span) = (current::Task::running(), Carried::here());
    let block = Mutex::new(Some(block));
    let outcome = Mutex::new(Ok(()));
    let call = || {
        let block = block.lock().take();
        block.map_or(Ok(()), |block| panic::catch_unwind(AssertUnwindSafe(block)))
    };
    let place = &outcome;
    // By value, so that nothing of the frame is used after the waiter was woken.
    let on_thread = off_core(move || {
        let in_span = || {
            let _span = span.enter();
            call()
        };
        *place.lock() = task.resume_in(in_span);
        waiter.wake();
    });
    // SAFETY: the frame outlives the call, which ends with waking the waiter, and what a thread that cannot be started drops.
    let on_thread = unsafe { ErasedFn::new(|()| on_thread()) };
    match helper {
        Helper::Own => match thread::Builder::new().name("blocking".to_owned()).spawn(move || on_thread.call(())) {
            Ok(thread) => {
                parking.wait_for_children(None);
                reap(vec![thread]);
            }
            Err(_) => *place.lock() = call(),
        },
        Helper::Pooled => {
            blocking::unblock(move || on_thread.call(())).detach();
            parking.wait();
        }
    }
    if let Err(payload) = outcome.into_inner() {
        panic::resume_unwind(payload);
    }
}
