#![expect(unsafe_code, reason = "batches are handed over by raw pointers")]
//! Executors: what runs batches, and what users call on them.

mod backend;
mod feed;
mod fiber;
mod flat;
mod in_hand;
mod serial;
mod thread_per_task;

pub use backend::{Backend, UnknownBackend};
pub(crate) use feed::Feed;
pub use fiber::{FiberExecutor, FiberExecutorBuilder, Interleave};
pub use flat::FlatExecutor;
pub use serial::SerialExecutor;
pub use thread_per_task::ThreadPerTaskExecutor;

use crate::batch::{self, Batch};
use crate::handle::{DetachedTask, TaskHandle};
use crate::record::Origin;
use crate::starmap::Spread;
use crate::taskmap::{TaskMap, map_by, once_by};
use std::any::type_name;
use std::panic::Location;
use std::sync::Arc;

/// A backend: something that runs batches of tasks.
///
/// This is the side that a backend implements; callers use the methods of [`ExecutorExt`]. Code inside a task, which calls
/// [`yield_taskmap`](crate::yield_taskmap) and its siblings, does not see which backend runs it.
///
/// # Examples
///
/// A backend that gives each batch two threads:
///
/// ```
/// use yieldtasks::{Batch, DetachedTask, Executor, ExecutorExt, yield_taskmap};
///
/// struct Pairs;
///
/// impl Executor for Pairs {
///     fn size(&self) -> usize {
///         2
///     }
///     fn persist(&self) -> bool {
///         false
///     }
///     fn shutdown(&self) {}
///     fn run_batch(&self, batch: &Batch<'_>) {
///         let (even, odd): (Vec<_>, Vec<_>) =
///             std::iter::from_fn(|| batch.next_task()).partition(|task| task.index() % 2 == 0);
///         std::thread::scope(|scope| {
///             for tasks in [even, odd] {
///                 scope.spawn(|| tasks.into_iter().for_each(|task| task.run(self)));
///             }
///         });
///     }
///     fn spawn(&self, task: DetachedTask) {
///         std::thread::spawn(move || task.run(&Pairs));
///     }
/// }
///
/// let squares = Pairs.map(|x| yield_taskmap(|y| x * y, [x])[0], 0..5);
/// assert_eq!(squares, [0, 1, 4, 9, 16]);
/// ```
pub trait Executor: Send + Sync {
    /// The number of workers.
    fn size(&self) -> usize;

    /// Whether workers outlive a call.
    fn persist(&self) -> bool;

    /// Ends the workers after the work in hand, and waits for that. Called inside a task, whichever executor runs it, it
    /// does not wait, since that work may be waiting for this task. Calling it again does nothing more.
    ///
    /// Later calls of [`submit`](ExecutorExt::submit) give a handle that reports
    /// [`ErrorKind::ShutDown`](crate::ErrorKind::ShutDown); later calls of [`map`](ExecutorExt::map) and
    /// [`run`](ExecutorExt::run) panic.
    fn shutdown(&self);

    /// Runs every task of the batch and returns when all have ended. It may block the calling thread, which is never a
    /// worker of a [`FiberExecutor`]: there, the crate lends it another thread.
    ///
    /// # Panics
    ///
    /// Panics if the executor has been shut down. Panics of tasks do not come out here.
    fn run_batch(&self, batch: &Batch<'_>);

    /// Starts a detached task and returns at once. An executor that has been shut down drops the task.
    fn spawn(&self, task: DetachedTask);

    /// What tells this executor from others: its address, or that of the executor a wrapper forwards to.
    #[doc(hidden)]
    fn identity(&self) -> *const () {
        (&raw const *self).cast()
    }

    /// Begins a call at that level that is fed task by task; `None` if the executor has been shut down and the call is not
    /// part of one in hand.
    #[doc(hidden)]
    fn open(&self, level: usize) -> Option<Feed> {
        Some(Feed::spawning(level))
    }

    /// Whether `run_batch` waits by suspending when it is called on a fiber, as the backends of this crate do.
    #[doc(hidden)]
    fn suspends(&self) -> bool {
        false
    }
}

/// What callers do with an executor. Implemented for every [`Executor`], `dyn Executor` included.
///
/// Called inside a task of the same executor, the methods are the `yield_*` functions of the same shape. Called inside a
/// task of another executor that runs fibers, they suspend the calling fiber and leave its worker free.
pub trait ExecutorExt: Executor {
    /// Calls `f` on every item, in parallel, and returns the results in input order.
    ///
    /// # Panics
    ///
    /// As [`yield_taskmap`](crate::yield_taskmap), and if the executor has been shut down.
    ///
    /// # Examples
    ///
    /// ```
    /// use yieldtasks::{ExecutorExt, FiberExecutor};
    ///
    /// let executor = FiberExecutor::new()?;
    /// assert_eq!(executor.map(|x| x * x, 1..=4), [1, 4, 9, 16]);
    /// # Ok::<(), yieldtasks::BuildError>(())
    /// ```
    #[track_caller]
    fn map<T, R, F, I>(&self, f: F, data: I) -> Vec<R>
    where
        I: IntoIterator<Item = T>,
        T: Send,
        R: Send,
        F: Fn(T) -> R + Sync,
    {
        map_on(self, f, data, Origin::new(Location::caller(), Some(type_name::<F>)))
    }

    /// Calls `f` on every tuple, spread over its parameters, in parallel, and returns the results in input order.
    ///
    /// # Panics
    ///
    /// As [`map`](Self::map).
    #[track_caller]
    fn starmap<A, R, F, I>(&self, f: F, args: I) -> Vec<R>
    where
        I: IntoIterator<Item = A>,
        A: Send,
        R: Send,
        F: Spread<A, R> + Sync,
    {
        map_on(self, |args| f.call(args), args, Origin::new(Location::caller(), Some(type_name::<F>)))
    }

    /// The map as a value, to be given a policy and then run: see [`TaskMap`].
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use yieldtasks::{ExecutorExt, FiberExecutor};
    ///
    /// let executor = FiberExecutor::new()?;
    /// let squares = executor.taskmap(|x| x * x, 1..=4).deadline(Duration::from_secs(60)).try_run();
    /// assert_eq!(squares.unwrap(), [1, 4, 9, 16]);
    /// # Ok::<(), yieldtasks::BuildError>(())
    /// ```
    #[track_caller]
    fn taskmap<T, R, F, I>(&self, f: F, data: I) -> TaskMap<F, I, &Self>
    where
        I: IntoIterator<Item = T>,
        T: Send,
        R: Send,
        F: Fn(T) -> R + Sync,
    {
        TaskMap::new(f, data, self)
    }

    /// Runs `f` as one root task and returns its result. It may borrow from the caller's stack.
    ///
    /// # Panics
    ///
    /// Raises a panic of `f` again, and panics if the executor has been shut down.
    #[track_caller]
    fn run<R, F>(&self, f: F) -> R
    where
        F: FnOnce() -> R + Send,
        R: Send,
    {
        once_by(f, Origin::new(Location::caller(), Some(type_name::<F>)), |batch| {
            // SAFETY: `once_by` keeps the batch in place; the bounds above make the task fit for another thread.
            unsafe { batch::run_on(self, batch) };
        })
    }

    /// Starts `f` as a detached root task and returns at once. Its result is at the handle's
    /// [`join`](TaskHandle::join), and so is its panic.
    #[track_caller]
    fn submit<R, F>(&self, f: F) -> TaskHandle<R>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        let (task, handle) = DetachedTask::new(f, Origin::new(Location::caller(), Some(type_name::<F>)));
        self.spawn(task);
        handle
    }
}

impl<E: Executor + ?Sized> ExecutorExt for E {}

/// A map whose batch runs on `executor`.
fn map_on<T, R, F, I>(executor: &(impl Executor + ?Sized), f: F, data: I, origin: Origin) -> Vec<R>
where
    I: IntoIterator<Item = T>,
    T: Send,
    R: Send,
    F: Fn(T) -> R + Sync,
{
    map_by(f, data, origin, |batch| {
        // SAFETY: `map_by` keeps the batch in place; the bounds above make the tasks fit for other threads.
        unsafe { batch::run_on(executor, batch) };
    })
}

macro_rules! forward {
    ($($wrapper:ty),+) => {$(
        impl<E: Executor + ?Sized> Executor for $wrapper {
            fn size(&self) -> usize {
                (**self).size()
            }

            fn persist(&self) -> bool {
                (**self).persist()
            }

            fn shutdown(&self) {
                (**self).shutdown();
            }

            fn run_batch(&self, batch: &Batch<'_>) {
                (**self).run_batch(batch);
            }

            fn spawn(&self, task: DetachedTask) {
                (**self).spawn(task);
            }

            fn identity(&self) -> *const () {
                (**self).identity()
            }

            fn open(&self, level: usize) -> Option<Feed> {
                (**self).open(level)
            }

            fn suspends(&self) -> bool {
                (**self).suspends()
            }
        }
    )+};
}

forward!(&E, Box<E>, Arc<E>);
