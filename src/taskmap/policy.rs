//! A map as a value, with its policy.

use super::{map_by, run_here};
use crate::batch;
use crate::control::{CancelToken, Limits};
use crate::current;
use crate::executor::Executor;
use crate::global::global;
use crate::handle::{DetachedTask, TaskHandle};
use crate::path::{PathStep, TaskPath};
use crate::record::{Label, Origin};
use crate::spans::Shown;
use std::any::type_name;
use std::fmt;
use std::panic::Location;
use std::time::{Duration, Instant};

/// A map that has not started, made by [`taskmap`](crate::taskmap()) or [`ExecutorExt::taskmap`](crate::ExecutorExt::taskmap).
///
/// The setters give it a name and a policy; then one of the other methods runs it. Or it is awaited:
/// `let results = taskmap(f, items).await`, in any async runtime, gives what [`run`](Self::run) gives.
///
/// # Cancelling
///
/// A map is cancelled by a token, a deadline, or the outcome of one of its tasks, as each method says. Then tasks of it, and
/// of all maps below it, that have not started never start; suspended ones unwind where they are suspended; running ones
/// unwind at their next yield point: a `yield_*` call, a [`checkpoint`](crate::checkpoint), a wait of this crate's. They unwind
/// with the payload [`Cancelled`](crate::Cancelled), so that destructors run. The call returns when all have ended. A task whose
/// function returned before it was stopped has a result.
///
/// No backend stops a running task between its yield points, since none can do so safely; a leaf that runs long should call
/// [`checkpoint`](crate::checkpoint) now and then.
#[must_use = "a map does nothing until it is run"]
pub struct TaskMap<F, I, P = Here> {
    pub(super) function: F,
    pub(super) items: I,
    pub(super) place: P,
    pub(super) policy: Policy,
}

#[derive(Clone, Debug)]
pub(super) struct Policy {
    pub(super) site: &'static Location<'static>,
    pub(super) name: Option<&'static str>,
    pub(super) max_in_flight: Option<usize>,
    pub(super) deadline: Option<Duration>,
    pub(super) tokens: Vec<CancelToken>,
}

impl Policy {
    /// Whether there is none, not even a name.
    pub(super) fn is_plain(&self) -> bool {
        self.name.is_none() && self.max_in_flight.is_none() && self.deadline.is_none() && self.tokens.is_empty()
    }

    /// The control of a map that starts here and now.
    pub(super) fn limits(&self) -> Limits {
        // A deadline that the clock cannot tell never comes.
        let due = self.deadline.and_then(|deadline| Instant::now().checked_add(deadline));
        Limits::here(self.tokens.iter().map(CancelToken::control), due)
    }

    /// Where the tasks of a map of `F` come from.
    pub(super) fn origin<F>(&self) -> Origin {
        Origin::new(self.site, Some(type_name::<F>)).show(Shown::by_name(self.name))
    }

    pub(super) fn label<F>(&self) -> Label {
        Label { name: self.name, function: type_name::<F> }
    }

    /// The path that the task `idx` of a map called here has.
    pub(super) fn path_of<F>(&self, idx: usize) -> TaskPath {
        let step = PathStep::new(self.site, self.name, type_name::<F>(), idx);
        TaskPath::new(TaskPath::current().iter().copied().chain([step]).collect())
    }
}

/// Where the tasks of a [`TaskMap`] run: [`Here`], or on an executor.
pub trait Place {
    /// The executor; `None` for that of the running task, or [`global()`] outside any.
    fn executor(&self) -> Option<&dyn Executor>;
}

/// The executor of the running task, or [`global()`] outside any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Here;

impl Place for Here {
    fn executor(&self) -> Option<&dyn Executor> {
        None
    }
}

impl<E: Executor + ?Sized> Place for &E {
    fn executor(&self) -> Option<&dyn Executor> {
        Some(self)
    }
}

impl<T, R, F, I, P> TaskMap<F, I, P>
where
    I: IntoIterator<Item = T>,
    F: Fn(T) -> R,
{
    #[track_caller]
    pub(crate) fn new(function: F, items: I, place: P) -> Self {
        let policy =
            Policy { site: Location::caller(), name: None, max_in_flight: None, deadline: None, tokens: Vec::new() };
        Self { function, items, place, policy }
    }
}

impl<F, I, P> TaskMap<F, I, P> {
    /// Names the map in the [`TaskPath`] of its tasks, and so in errors. Default: none.
    pub fn name(mut self, name: &'static str) -> Self {
        self.policy.name = Some(name);
        self
    }

    /// Lets at most that many tasks be started and not ended at a time. Default: any number; for
    /// [`stream_ordered`](Self::stream_ordered) and [`stream_unordered`](Self::stream_unordered), twice the number of workers.
    ///
    /// # Panics
    ///
    /// Panics if the number is zero: nothing could start.
    pub fn max_in_flight(mut self, tasks: usize) -> Self {
        assert!(tasks > 0, "a map with no task in flight would never end: allow one or more");
        self.policy.max_in_flight = Some(tasks);
        self
    }

    /// Cancels the map, and everything below it, if it has not ended that long after it was started. Default: never.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.policy.deadline = Some(deadline);
        self
    }

    /// Cancels the map, and everything below it, when the token is cancelled. May be given several tokens.
    pub fn cancel_token(mut self, token: &CancelToken) -> Self {
        self.policy.tokens.push(token.clone());
        self
    }
}

/// A plain map at a place.
#[expect(unsafe_code, reason = "batches are handed over by raw pointers")]
pub(super) fn map_at<T, R, F, I, P>(place: &P, f: F, items: I, origin: Origin) -> Vec<R>
where
    I: IntoIterator<Item = T>,
    T: Send,
    R: Send,
    F: Fn(T) -> R + Sync,
    P: Place,
{
    map_by(f, items, origin, |batch| match place.executor() {
        // SAFETY: `map_by` keeps the batch in place; the bounds above make the tasks fit for other threads.
        None => unsafe { run_here(batch) },
        // SAFETY: as above.
        Some(executor) => unsafe { batch::run_on(executor, batch) },
    })
}

/// The number of workers at a place.
pub(super) fn size_at(place: &impl Place) -> usize {
    match (place.executor(), current::context()) {
        (Some(executor), _) => executor.size(),
        (None, Some(current::Context::Backend { executor, .. })) => executor.size(),
        (None, _) => current::worker().map_or_else(|| global().size(), |worker| worker.siblings()),
    }
}

/// Starts a detached task at a place.
pub(super) fn submit_at<R, F>(place: &impl Place, f: F, origin: Origin) -> TaskHandle<R>
where
    F: FnOnce() -> R + Send + 'static,
    R: Send + 'static,
{
    let (task, handle) = DetachedTask::new(f, origin);
    match (place.executor(), current::context()) {
        (Some(executor), _) => executor.spawn(task),
        (None, Some(current::Context::Backend { executor, .. })) => executor.spawn(task),
        (None, _) => match current::worker() {
            Some(worker) => worker.open().spawn(task),
            None => global().spawn(task),
        },
    }
    handle
}

impl<F, I, P> fmt::Debug for TaskMap<F, I, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskMap").field("policy", &self.policy).finish_non_exhaustive()
    }
}
