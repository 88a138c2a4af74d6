#![expect(unsafe_code, reason = "batches are handed over by raw pointers")]
//! The `yield_*` functions, and what they share with the methods of executors.

mod future;
mod outcomes;
mod policy;
mod stream;

pub use future::TaskMapFuture;
pub use outcomes::try_yield_taskmap;
pub use policy::{Here, Place, TaskMap};

use crate::batch::{self, BothTasks, Header, Items, ItemsInFrame, MapTasks, OnceTask, Siblings};
use crate::control::stop_if_told;
use crate::current::{self, Context};
use crate::global::global;
use crate::record::Origin;
use crate::starmap::Spread;
use std::any::type_name;
use std::panic::Location;
use std::ptr::NonNull;
use std::thread;

/// Calls `f` on every item, in parallel, and returns the results in input order.
///
/// The calling fiber suspends until all children have ended; the code around the call is ordinary blocking code. The
/// children run on the executor of the calling task, or on [`global()`] outside any task. `f` and the items may
/// borrow from the caller's stack. An empty input returns at once.
///
/// # Panics
///
/// If children panic, those not yet started never start, the running ones end, and the panic of the child with the lowest
/// index is raised again here, with its payload.
///
/// # Examples
///
/// ```
/// use yieldtasks::yield_taskmap;
///
/// let offset = 10;
/// let sums = yield_taskmap(|row: u64| yield_taskmap(|x| x + offset, 0..row).iter().sum::<u64>(), 0..4);
/// assert_eq!(sums, [0, 10, 21, 33]);
/// ```
#[track_caller]
pub fn yield_taskmap<T, R, F, I>(f: F, data: I) -> Vec<R>
where
    I: IntoIterator<Item = T>,
    T: Send,
    R: Send,
    F: Fn(T) -> R + Sync,
{
    map_here(f, data, Origin::new(Location::caller(), Some(type_name::<F>)))
}

/// A map that runs where the calling task runs.
#[inline]
fn map_here<T, R, F, I>(f: F, data: I, origin: Origin) -> Vec<R>
where
    I: IntoIterator<Item = T>,
    T: Send,
    R: Send,
    F: Fn(T) -> R + Sync,
{
    map_by(f, data, origin, |batch| {
        // SAFETY: `map_by` keeps the batch in place; the bounds above make the tasks fit for other threads.
        unsafe { run_here(batch) };
    })
}

/// The map of `f` over the items as a value, not started: what Python's `taskmap(f, xs)` returns. It can be given a name and
/// a policy, and is then run in one of several ways; `yield_taskmap(f, xs)` is `taskmap(f, xs).run()`.
///
/// # Examples
///
/// ```
/// use yieldtasks::taskmap;
///
/// let checked = |x: i32| x.checked_abs().expect("it has an absolute value");
/// assert_eq!(taskmap(checked, [-1, 2]).run(), [1, 2]);
///
/// // The first to find a divisor ends the search.
/// let divides = |d: u64| (91 % d == 0).then_some(d);
/// let (_, divisor) = taskmap(divides, 2..91).race(Option::is_some).unwrap();
/// assert!(divisor == Some(7) || divisor == Some(13));
/// ```
#[track_caller]
pub fn taskmap<T, R, F, I>(f: F, data: I) -> TaskMap<F, I>
where
    I: IntoIterator<Item = T>,
    T: Send,
    R: Send,
    F: Fn(T) -> R + Sync,
{
    TaskMap::new(f, data, Here)
}

/// Calls `f` on every tuple, spread over its parameters, in parallel, and returns the results in input order.
///
/// Like [`yield_taskmap`] in every other respect. Tuples have one to eight elements. A closure that
/// calls methods on its parameters needs their types written out.
///
/// # Panics
///
/// As [`yield_taskmap`].
///
/// # Examples
///
/// ```
/// use yieldtasks::yield_starmap;
///
/// let powers = yield_starmap(u64::pow, [(2, 10), (3, 3)]);
/// assert_eq!(powers, [1024, 27]);
/// ```
#[track_caller]
pub fn yield_starmap<A, R, F, I>(f: F, args: I) -> Vec<R>
where
    I: IntoIterator<Item = A>,
    A: Send,
    R: Send,
    F: Spread<A, R> + Sync,
{
    map_here(|args| f.call(args), args, Origin::new(Location::caller(), Some(type_name::<F>)))
}

/// Calls `f` as one child task and returns its result.
///
/// # Panics
///
/// Raises a panic of `f` again.
///
/// # Examples
///
/// ```
/// let name = String::from("fiber");
/// assert_eq!(yieldtasks::yield_taskwrap(|| name.len()), 5);
/// ```
#[track_caller]
pub fn yield_taskwrap<R, F>(f: F) -> R
where
    F: FnOnce() -> R + Send,
    R: Send,
{
    once_by(f, Origin::new(Location::caller(), Some(type_name::<F>)), |batch| {
        // SAFETY: `once_by` keeps the batch in place; the bounds above make the task fit for another thread.
        unsafe { run_one_here(batch) };
    })
}

/// Calls `a` and `b` as two child tasks, in parallel, and returns both results.
///
/// # Panics
///
/// Raises a panic of `a` again, or else one of `b`, after both have ended. If one of them panics before the other has
/// started, the other never starts.
///
/// # Examples
///
/// ```
/// use yieldtasks::yield_join;
///
/// fn fib(n: u32) -> u64 {
///     if n < 2 {
///         return n.into();
///     }
///     let (a, b) = yield_join(|| fib(n - 1), || fib(n - 2));
///     a + b
/// }
/// assert_eq!(fib(12), 144);
/// ```
#[inline]
#[track_caller]
pub fn yield_join<A, B, RA, RB>(a: A, b: B) -> (RA, RB)
where
    A: FnOnce() -> RA + Send,
    B: FnOnce() -> RB + Send,
    RA: Send,
    RB: Send,
{
    let tasks = BothTasks { first: OnceTask::new(a), second: OnceTask::new(b) };
    let mut siblings = Siblings::new(2, tasks, Origin::new(Location::caller(), None));
    // SAFETY: the batch stays in place until the call returns; the bounds above make the tasks fit for other threads.
    unsafe { run_two_here(siblings.header()) };
    let BothTasks { first, second } = siblings.ended();
    // SAFETY: `run_here` returns when all tasks have ended, and `ended` when none has failed.
    let a = unsafe { first.take_result() };
    // SAFETY: as above.
    let b = unsafe { second.take_result() };
    (a, b)
}

/// Lets ready fibers and other tasks of this worker run before the calling task goes on.
///
/// Returns at once when there is nothing else to run. With [`Interleave::Nested`](crate::Interleave::Nested) only descendants of
/// the task go first. On backends whose tasks are threads, and outside any task, this is
/// [`std::thread::yield_now`].
#[inline(always)] // A return after the switch would be one that the processor cannot predict.
pub fn yield_now() {
    match current::context() {
        Some(Context::Fibers(worker)) => {
            // SAFETY: a worker outlives its fibers, and the caller runs on one of them.
            unsafe { worker.as_ref() }.yield_now();
        }
        Some(Context::Backend { worker: Some(_), .. }) => {
            stop_if_told();
            current::give_turn();
        }
        Some(Context::Backend { worker: None, .. } | Context::Lent { .. }) => {
            stop_if_told();
            thread::yield_now();
        }
        None => thread::yield_now(),
    }
}

/// Runs a batch where the calling task runs, and returns when all its tasks have ended.
///
/// # Safety
///
/// - The batch stays in place until the call returns, and nobody else knows it.
/// - Its tasks may run on other threads.
#[inline(never)] // So a task that does not fork need not save the registers that a switch takes.
unsafe fn run_here(batch: NonNull<Header>) {
    // SAFETY: as the caller says.
    unsafe { run_of::<0>(batch) }
}

/// As [`run_here`], for a batch of one task.
///
/// # Safety
///
/// As there.
#[inline(never)] // As there.
unsafe fn run_one_here(batch: NonNull<Header>) {
    // SAFETY: as the caller says.
    unsafe { run_of::<1>(batch) }
}

/// As [`run_here`], for a batch of two tasks.
///
/// # Safety
///
/// As there.
#[inline(never)] // As there.
unsafe fn run_two_here(batch: NonNull<Header>) {
    // SAFETY: as the caller says.
    unsafe { run_of::<2>(batch) }
}

/// See [`run_here`]. `LEN` is the length of the batch, for the compiler to know it, or zero.
#[inline(always)] // One return less per level of a nest.
unsafe fn run_of<const LEN: usize>(batch: NonNull<Header>) {
    if let Some(worker) = current::home() {
        // SAFETY: a worker outlives its fibers, and the caller runs on one of them.
        let worker = unsafe { worker.as_ref() };
        // SAFETY: as the caller says.
        unsafe { worker.fork::<LEN>(batch) };
    } else {
        // SAFETY: as the caller says.
        unsafe { run_elsewhere(batch) };
    }
}

/// As [`run_here`], where that is not on a fiber.
///
/// # Safety
///
/// As there.
#[cold]
#[inline(never)]
unsafe fn run_elsewhere(batch: NonNull<Header>) {
    match current::context() {
        Some(Context::Backend { executor, .. }) => {
            // SAFETY: as the caller says.
            unsafe { batch::run_on(executor, batch) };
        }
        // SAFETY: as the caller says.
        Some(Context::Fibers(_) | Context::Lent { .. }) | None => unsafe { batch::run_on(global(), batch) },
    }
}

/// A map whose batch is run by `run`.
#[inline]
pub(crate) fn map_by<T, R, F, I>(f: F, data: I, origin: Origin, run: impl FnOnce(NonNull<Header>)) -> Vec<R>
where
    I: IntoIterator<Item = T>,
    F: Fn(T) -> R,
{
    let mut frame = ItemsInFrame::new();
    let items = Items::collect(data.into_iter(), &mut frame);
    let len = items.len();
    if len == 0 {
        stop_if_told();
        return Vec::new();
    }
    let mut siblings = Siblings::new(len, MapTasks::new(f, items), origin);
    run(siblings.header());
    // SAFETY: `run` returns when all tasks have ended, and `ended` when none has failed.
    unsafe { siblings.ended().take_results() }
}

/// A single task whose batch is run by `run`.
#[inline]
pub(crate) fn once_by<R, F: FnOnce() -> R>(f: F, origin: Origin, run: impl FnOnce(NonNull<Header>)) -> R {
    let mut siblings = Siblings::new(1, OnceTask::new(f), origin);
    run(siblings.header());
    // SAFETY: `run` returns when the task has ended, and `ended` when it has not failed.
    unsafe { siblings.ended().take_result() }
}
