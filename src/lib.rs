//! Nested parallel maps written as plain blocking code.
//!
//! Any function may call [`yield_taskmap`] and functions that do, to any depth, with sequential loops in between. The call
//! suspends the fiber it is made on, runs one child task per item, and returns the results in input order.
//!
//! ```
//! use yieldtasks::{ExecutorExt, FiberExecutor, yield_taskmap};
//!
//! let executor = FiberExecutor::new()?;
//! let table = executor.map(|row: u32| yield_taskmap(|column| row * column, 0..3), 0..3);
//! assert_eq!(table, [[0, 0, 0], [0, 1, 2], [0, 2, 4]]);
//! # Ok::<(), yieldtasks::BuildError>(())
//! ```
//!
//! - **Mapping:** [`yield_taskmap`], [`yield_starmap`], [`yield_taskwrap`], [`yield_join`], [`yield_now`]. They run on the
//!   executor of the calling task, whichever backend that is, or on [`global()`] outside any.
//! - **Executors:** [`FiberExecutor`], [`SerialExecutor`], [`ThreadPerTaskExecutor`], [`FlatExecutor`], with the methods of
//!   [`ExecutorExt`]; by name, [`Backend`]; of one's own, [`Executor`].
//! - **Chapters:** [`docs::design`] says how it works and what it guarantees, [`docs::hazards`] what to look out for,
//!   [`docs::performance`] what things cost.

#[cfg(not(all(unix, target_pointer_width = "64")))]
compile_error!("yieldtasks runs on 64-bit Unix systems only: it reserves large stacks by `mmap`");

mod batch;
mod current;
pub mod docs;
mod error;
mod executor;
mod global;
mod handle;
mod runtime;
mod starmap;
mod sync;
mod taskmap;
mod waiter;

pub use batch::{Batch, Task};
pub use error::{BuildError, Panicked, TaskError};
pub use executor::{
    Backend, Executor, ExecutorExt, FiberExecutor, FiberExecutorBuilder, FlatExecutor, SerialExecutor,
    ThreadPerTaskExecutor, UnknownBackend,
};
pub use global::global;
pub use handle::{DetachedTask, TaskHandle};
pub use runtime::affinity::{Pinning, PinningOutcome, unpinned};
pub use starmap::Spread;
pub use taskmap::{yield_join, yield_now, yield_starmap, yield_taskmap, yield_taskwrap};
