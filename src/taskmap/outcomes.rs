//! Running a map under its policy, with the outcome of each task as a value.

use super::policy::{Place, Policy, map_at};
use super::{Here, TaskMap};
use crate::batch::{Payload, drop_quietly};
use crate::control::{Cancelled, Control, Limits, Stopped, stop_if_told};
use crate::current;
use crate::error::TaskError;
use crate::path::TaskPath;
use crate::record::{Label, Origin};
use crate::spans::{MapSpan, Shown};
use parking_lot::Mutex;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The payload of a panic that need not be the one that is reported. If it is not, it is dropped quietly: a destructor that panics
/// would come out of a map that has a failure to report, and two of them would abort the process.
pub(super) struct Unreported(Option<Payload>);

impl Unreported {
    fn report(mut self) -> Payload {
        self.0.take().unwrap_or_else(|| unreachable!("a payload is reported once"))
    }
}

impl Drop for Unreported {
    fn drop(&mut self) {
        drop_quietly(self.0.take());
    }
}

/// How a task ended without a result.
pub(super) enum Failure {
    Panicked(Unreported, TaskPath),
    Stopped(Stopped),
    /// The executor dropped it.
    Dropped,
}

pub(super) type Outcome<R> = Result<R, Failure>;

impl Failure {
    /// What is reported rather than what.
    pub(super) fn rank(&self) -> usize {
        match self {
            Self::Panicked(..) => 0,
            Self::Dropped => 1,
            Self::Stopped(_) => 2,
        }
    }

    /// As an error of the task `idx`.
    pub(super) fn into_error<F>(self, policy: &Policy, idx: usize) -> TaskError {
        match self {
            Self::Panicked(payload, path) => TaskError::unwound(payload.report(), path),
            Self::Stopped(why) => TaskError::stopped(why, policy.path_of::<F>(idx)),
            Self::Dropped => TaskError::shut_down(policy.path_of::<F>(idx)),
        }
    }
}

/// Calls `f` as the task `idx` of a map, unless the map has been stopped. Runs in a task.
pub(super) fn attempt<R>(control: &Control, label: &Label, idx: usize, f: impl FnOnce() -> R) -> Outcome<R> {
    let Some(record) = current::record() else { unreachable!("every backend runs tasks as such") };
    record.govern(control, label, idx, || {
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| match control.stopped() {
            Some(why) => Err(Failure::Stopped(why)),
            None => Ok(f()),
        }));
        outcome.unwrap_or_else(|payload| match control.stopped() {
            Some(why) if payload.is::<Cancelled>() => Err(Failure::Stopped(why)),
            _ => {
                let path = record.path_of(&payload);
                Err(Failure::Panicked(Unreported(Some(payload)), path))
            }
        })
    })
}

impl<T, R, F, I, P> TaskMap<F, I, P>
where
    I: IntoIterator<Item = T>,
    T: Send,
    R: Send,
    F: Fn(T) -> R + Sync,
    P: Place,
{
    /// Calls the function on every item, in parallel, and returns the results in input order.
    ///
    /// # Panics
    ///
    /// A panic of a task cancels its siblings, and is raised again here when all have ended; among several, that of the task
    /// with the lowest index. Panics with the message of the [`TaskError`] if the map is cancelled or late: use
    /// [`try_run`](Self::try_run) for maps that may be.
    pub fn run(self) -> Vec<R> {
        if self.policy.is_plain() {
            return map_at(&self.place, self.function, self.items, self.policy.origin::<F>());
        }
        self.try_run().unwrap_or_else(|error| error.raise())
    }

    /// As [`run`](Self::run), with failures as values.
    ///
    /// # Errors
    ///
    /// If a task panics, its siblings are cancelled, and this is its error, or that of the panicking task with the lowest
    /// index. If the map is cancelled or late, this is the error of the first task without a result.
    pub fn try_run(self) -> Result<Vec<R>, TaskError> {
        let limits = self.policy.limits();
        let policy = self.policy.clone();
        let outcomes = self.outcomes(policy.label::<F>(), &limits, |_, outcome| {
            if outcome.is_err() {
                limits.control().stop(Stopped::Cancelled);
            }
        });
        all_or_first(outcomes).map_err(|(idx, failure)| {
            stop_if_told();
            failure.into_error::<F>(&policy, idx)
        })
    }

    /// Runs every task to its end, whatever becomes of the others, and returns all outcomes in input order.
    ///
    /// Only a token or a deadline cancels; a task that has a result by then keeps it.
    pub fn settled(self) -> Vec<Result<R, TaskError>> {
        let limits = self.policy.limits();
        let policy = self.policy.clone();
        let outcomes = self.outcomes(policy.label::<F>(), &limits, |_, _| {});
        if outcomes.iter().any(|outcome| matches!(outcome, Err(Failure::Stopped(_)))) {
            stop_if_told();
        }
        let settle = |(idx, outcome): (usize, Outcome<R>)| outcome.map_err(|f| f.into_error::<F>(&policy, idx));
        outcomes.into_iter().enumerate().map(settle).collect()
    }

    /// Returns the first result, in time, that `accept` accepts, with the index of its task; the others are cancelled. `None`
    /// if there is none: all tasks have ended, or the map was cancelled or is late.
    ///
    /// `accept` is called in the task, when its function has returned.
    ///
    /// # Panics
    ///
    /// A panic of a task before there is a winner cancels its siblings, and is raised again here.
    pub fn race(self, accept: impl Fn(&R) -> bool + Sync) -> Option<(usize, R)> {
        const NOBODY: usize = usize::MAX;
        /// There was a panic before there was a winner.
        const NOBODY_EVER: usize = usize::MAX - 1;
        let Self { function, items, place, policy } = self;
        let limits = policy.limits();
        let judged = |item| {
            let result = function(item);
            let accepted = accept(&result);
            (result, accepted)
        };
        let winner = AtomicUsize::new(NOBODY);
        let map = TaskMap { function: judged, items, place, policy: policy.clone() };
        let decide = |by| {
            // ORDERING: Relaxed. It is read when the map has ended.
            let _ = winner.compare_exchange(NOBODY, by, Ordering::Relaxed, Ordering::Relaxed);
            limits.control().stop(Stopped::Cancelled);
        };
        let mut outcomes = map.outcomes(policy.label::<F>(), &limits, |idx, outcome| match outcome {
            Ok((_, true)) => decide(idx),
            Ok((_, false)) | Err(Failure::Stopped(_)) => {}
            Err(Failure::Panicked(..) | Failure::Dropped) => decide(NOBODY_EVER),
        });
        let winner = winner.into_inner();
        if winner < outcomes.len() {
            return outcomes.swap_remove(winner).ok().map(|(result, _)| (winner, result));
        }
        let (idx, failure) = all_or_first(outcomes).err()?;
        stop_if_told();
        match failure {
            Failure::Panicked(..) | Failure::Dropped => failure.into_error::<F>(&policy, idx).raise(),
            Failure::Stopped(_) => None,
        }
    }

    /// Runs the map under `limits`, with its tasks labelled, and gives the outcome of each. `ended` is told of each as it comes,
    /// in the task.
    fn outcomes(self, label: Label, limits: &Limits, ended: impl Fn(usize, &Outcome<R>) + Sync) -> Vec<Outcome<R>> {
        let Self { function, items, place, policy } = self;
        // Of the function of the policy's map, which may be another than this one.
        let origin = Origin::new(policy.site, Some(label.function)).show(Shown::by_name(label.name));
        let (control, function) = (&**limits.control(), &function);
        let run = |(idx, item)| {
            let outcome = attempt(control, &label, idx, || function(item));
            ended(idx, &outcome);
            outcome
        };
        match policy.max_in_flight {
            None => map_at(&place, run, items.into_iter().enumerate(), origin),
            Some(lanes) => in_lanes(lanes, &place, run, items.into_iter().enumerate().collect(), origin),
        }
    }
}

/// Runs the tasks of a map in that many lanes. A lane is a task that runs one item after another, each as a task of the map.
fn in_lanes<T, R, F, P>(lanes: usize, place: &P, run: F, items: Vec<(usize, T)>, origin: Origin) -> Vec<R>
where
    T: Send,
    R: Send,
    F: Fn((usize, T)) -> R + Sync,
    P: Place,
{
    let len = items.len();
    let span = MapSpan::begin(&origin, Some(len));
    let items = Mutex::new(items.into_iter());
    let lane = |_| {
        let mut ended = Vec::new();
        loop {
            let next = items.lock().next();
            let Some((idx, item)) = next else { return ended };
            {
                let _span = span.task(&origin, idx);
                ended.push((idx, run((idx, item))));
            }
            stop_if_told();
            current::give_way();
        }
    };
    let ended = map_at(place, lane, 0..lanes.min(len), origin.show(Shown::NEVER));
    let mut in_order: Vec<_> = ended.into_iter().flatten().collect();
    in_order.sort_unstable_by_key(|(idx, _)| *idx);
    in_order.into_iter().map(|(_, outcome)| outcome).collect()
}

/// All results, or the failure to report: the panic with the lowest index, or else the first task that was dropped or stopped.
fn all_or_first<R>(outcomes: Vec<Outcome<R>>) -> Result<Vec<R>, (usize, Failure)> {
    if outcomes.iter().all(Result::is_ok) {
        return Ok(outcomes.into_iter().filter_map(Result::ok).collect());
    }
    let failures = outcomes.into_iter().enumerate().filter_map(|(idx, outcome)| Some((idx, outcome.err()?)));
    let first = failures.min_by_key(|(idx, failure)| (failure.rank(), *idx));
    Err(first.unwrap_or_else(|| unreachable!("an outcome is a failure")))
}

/// Calls `f` on every item, in parallel, and returns the results in input order, or an error.
///
/// # Errors
///
/// The error of the failing call with the lowest index. A failing call cancels its siblings: see
/// [`TaskMap`](TaskMap#cancelling).
///
/// # Panics
///
/// A panic of a call cancels its siblings as well, and is raised again here, whether others have failed or not.
///
/// # Examples
///
/// ```
/// use yieldtasks::try_yield_taskmap;
///
/// let numbers = try_yield_taskmap(str::parse::<u32>, ["1", "2", "3"]);
/// assert_eq!(numbers.unwrap(), [1, 2, 3]);
/// assert!(try_yield_taskmap(str::parse::<u32>, ["1", "two", "3"]).is_err());
/// ```
#[track_caller]
pub fn try_yield_taskmap<T, R, E, F, I>(f: F, data: I) -> Result<Vec<R>, E>
where
    I: IntoIterator<Item = T>,
    T: Send,
    R: Send,
    E: Send,
    F: Fn(T) -> Result<R, E> + Sync,
{
    let map = TaskMap::new(f, data, Here);
    let limits = map.policy.limits();
    let policy = map.policy.clone();
    let outcomes = map.outcomes(policy.label::<F>(), &limits, |_, outcome| {
        if !matches!(outcome, Ok(Ok(_))) {
            limits.control().stop(Stopped::Cancelled);
        }
    });
    let panicked = outcomes.iter().any(|outcome| matches!(outcome, Err(Failure::Panicked(..))));
    let failed = outcomes.iter().any(|outcome| matches!(outcome, Ok(Err(_))));
    if panicked || !failed {
        return all_or_first(outcomes).map_or_else(
            |(idx, failure)| failure.into_error::<F>(&policy, idx).raise(),
            |results| results.into_iter().collect(),
        );
    }
    // The calls that were stopped because of the error have nothing to say.
    outcomes.into_iter().filter_map(Result::ok).collect()
}
