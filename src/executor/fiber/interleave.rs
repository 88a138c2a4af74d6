//! Which tasks meet on a worker.

/// Which tasks a worker of a [`FiberExecutor`](crate::FiberExecutor) runs while fibers of its own wait for their children.
///
/// The chapter [`hazards`](crate::docs::hazards) says which mode is for whom.
///
/// # Examples
///
/// A lock of the standard library, held across a nested map:
///
/// ```
/// use std::sync::Mutex;
/// use yieldtasks::{ExecutorExt, FiberExecutor, Interleave, yield_taskmap};
///
/// let executor = FiberExecutor::builder().interleave(Interleave::Nested).build()?;
/// let total = Mutex::new(0);
/// executor.map(
///     |x: u64| {
///         let mut total = total.lock().unwrap();
///         *total += yield_taskmap(|y| x * y, 0..8).into_iter().sum::<u64>();
///     },
///     0..100,
/// );
/// assert_eq!(total.into_inner().unwrap(), 138_600);
/// # Ok::<(), yieldtasks::BuildError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Interleave {
    /// Any. The fastest, and right for tasks that hold nothing of their thread's across a `yield_*` call.
    #[default]
    Free,
    /// Only tasks that descend from the fibers that wait for their children; a worker that finds none parks.
    ///
    /// What a task holds across a `yield_*` call, be it a lock of the standard library, a `OnceLock` that it initialises, a
    /// borrow of a thread-local or a scoped thread-local, is met by its own descendants only, as in a serial program. So a
    /// program that ends when it is run serially ends here, unless tasks take locks in such an order that they could
    /// deadlock on threads, too.
    ///
    /// A fiber that waits for something else than tasks of its own ([`block_on`](crate::block_on), [`sleep`](crate::sleep),
    /// [`unblock`](crate::unblock), [`sync`](crate::sync), the join of a handle) holds nothing up, and is not protected: any
    /// task may run meanwhile. [`yield_now`](crate::yield_now) and [`checkpoint`](crate::checkpoint) let nobody go first but
    /// descendants.
    Nested,
}
