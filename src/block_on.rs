#![expect(unsafe_code, reason = "a waker refers to the fiber that waits")]
//! Waiting for a future: a fiber suspends, a thread parks.

mod wake_state;

use crate::control::stop_if_told;
use crate::current;
use crate::record::Record;
use crate::timer;
use crate::waiter::{self, Helper, Parking, Waiter};
use std::future::Future;
use std::panic::Location;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;
use wake_state::WakeState;

/// Waits for a future. In a task on a fiber this suspends the fiber, and the worker goes on with others; elsewhere it parks
/// the thread.
///
/// The future is polled where the call is made; no async runtime is needed. What the future needs of one, such as a timer or
/// a socket of tokio's, has to be driven by that runtime elsewhere. A future that asks for its runtime while it is polled is
/// best spawned there: `block_on(runtime.spawn(future))`. Entering the runtime instead sets a thread-local, which must not be
/// held across a wait.
///
/// # Panics
///
/// A panic of the future passes through. If the running task is cancelled or late, the future is dropped and the task unwinds
/// with [`Cancelled`](crate::Cancelled). Panics if the future is not ready and the caller runs on a fiber that unwinds, where
/// it must not suspend.
///
/// # Examples
///
/// ```
/// use yieldtasks::{ExecutorExt, FiberExecutor, block_on, yield_taskmap};
///
/// let executor = FiberExecutor::builder().workers(1).build()?;
/// let handle = executor.submit(|| 6);
/// let product = executor.run(move || block_on(async { handle.await.unwrap() * 7 }));
/// assert_eq!(product, 42);
/// # Ok::<(), yieldtasks::BuildError>(())
/// ```
#[track_caller]
pub fn block_on<F: Future>(future: F) -> F::Output {
    wait_for(future, Subject::Other)
}

/// What a task waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// Tasks of its own.
    Children,
    Other,
}

/// As [`block_on`], for a future that `subject` brings about.
#[track_caller]
pub(crate) fn wait_for<F: Future>(future: F, subject: Subject) -> F::Output {
    let site = Location::caller();
    stop_if_told();
    let mut future = pin!(future);
    let parker = Arc::new(Parker::here());
    let waker = Waker::from(Arc::clone(&parker));
    let mut context = Context::from_waker(&waker);
    let mut listening = None;
    let _awaiting = current::record().map(Awaiting::begin);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        stop_if_told();
        if listening.is_none()
            && !thread::panicking()
            && let Some(control) = current::record().and_then(|record| record.control())
        {
            match control.share().wake_when_stopped(waker.clone()) {
                Ok(place) => listening = Some(place),
                Err(why) => why.unwind(),
            }
        }
        parker.wait(subject, site);
    }
}

/// Takes back, in the end, what was noted of the tasks that the running task waits for.
pub(crate) struct Awaiting<'a> {
    record: &'a Record,
    /// What a wait that this one is part of has noted.
    kept: usize,
}

impl<'a> Awaiting<'a> {
    pub(crate) fn begin(record: &'a Record) -> Self {
        Self { record, kept: record.begin_wait() }
    }
}

impl Drop for Awaiting<'_> {
    fn drop(&mut self) {
        self.record.end_wait(self.kept);
    }
}

/// Waits for that long. In a task on a fiber this suspends the fiber, elsewhere it parks the thread.
///
/// # Panics
///
/// As [`block_on`].
#[track_caller]
pub fn sleep(duration: Duration) {
    block_on(timer::after(duration));
}

/// Calls `f`, which may block its thread, on a helper thread, while the calling fiber is suspended and its worker goes on with
/// others. Outside a fiber, `f` is called right here.
///
/// `f` counts as part of the running task. It is not interrupted by a cancellation, which is looked at when it has ended.
/// The helper threads are those of the crate `blocking`: some hundreds at most, so `f` should not wait for other tasks.
///
/// # Panics
///
/// Raises a panic of `f` again. Unwinds if the running task is cancelled or late.
///
/// # Examples
///
/// ```
/// use yieldtasks::{unblock, yield_taskmap};
///
/// let lengths = yield_taskmap(|path| unblock(|| std::fs::metadata(path).unwrap().len()), ["Cargo.toml", "LICENSE"]);
/// assert!(lengths.iter().all(|&len| len > 0));
/// ```
#[track_caller]
pub fn unblock<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    stop_if_told();
    if current::worker().is_none() || thread::panicking() {
        return f();
    }
    let mut result = None;
    waiter::elsewhere(Helper::Pooled, || result = Some(f()));
    stop_if_told();
    result.unwrap_or_else(|| unreachable!("the helper has called the function"))
}

/// What a waker wakes: one party that waits for a future.
struct Parker {
    state: WakeState,
    party: Party,
}

enum Party {
    /// The fiber that polls, as its own waiter.
    Fiber(Waiter),
    Thread(Thread),
}

// SAFETY: the waiter blocks the auto trait. It is used by who was told by the state to resume the party, of which there is
// one at a time; a fiber may be made ready from any thread.
unsafe impl Sync for Parker {}

impl Parker {
    fn here() -> Self {
        let party = match Parking::here() {
            parking @ Parking::Fiber(_) => Party::Fiber(parking.waiter()),
            Parking::Thread(_) => Party::Thread(thread::current()),
        };
        Self { state: WakeState::new(), party }
    }

    /// Waits, at `site`, until the party has been woken since it last polled.
    fn wait(&self, subject: Subject, site: &'static Location<'static>) {
        match &self.party {
            Party::Fiber(fiber) => {
                assert!(
                    !thread::panicking(),
                    "a task cannot wait while it unwinds: let its destructors use what does not wait, such as `try_lock`"
                );
                current::note_wait(site);
                if !self.state.announce() {
                    // Woken already, so it is ready at once. It does not poll again right here, lest a future that keeps
                    // waking itself keeps everything else from its turn.
                    fiber.wake();
                }
                if subject == Subject::Children {
                    current::hold();
                }
                current::suspend(site);
                self.state.poll_again();
            }
            Party::Thread(_) => {
                while !self.state.poll_again() {
                    thread::park();
                }
            }
        }
    }
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        match (self.state.wake(), &self.party) {
            (wake_state::Wake::Resume, Party::Fiber(fiber)) => fiber.wake(),
            (wake_state::Wake::Nothing, Party::Fiber(_)) => {}
            (_, Party::Thread(thread)) => thread.unpark(),
        }
    }
}
