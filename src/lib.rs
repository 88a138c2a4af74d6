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
//! - **With a policy:** [`taskmap()`] makes a [`TaskMap`], which can be named, limited, given a deadline or a [`CancelToken`], and
//!   run with failures as values, as a race, as a stream of results, or awaited; [`try_yield_taskmap`] stops at the first error;
//!   [`yield_scope`] starts tasks one by one. A long leaf calls [`checkpoint`]. A [`TaskError`] says what failed, and by its
//!   [`TaskPath`] where in the nest.
//! - **Waiting:** [`block_on`] a future, [`sleep`], [`unblock`], and the locks and channels of [`sync`] suspend the fiber and
//!   leave its worker free.
//! - **Executors:** [`FiberExecutor`], [`SerialExecutor`], [`ThreadPerTaskExecutor`], [`FlatExecutor`], with the methods of
//!   [`ExecutorExt`]; by name, [`Backend`]; of one's own, [`Executor`]. [`Interleave::Nested`] makes it safe to hold locks of the
//!   standard library and borrows of thread-locals across maps.
//! - **Being seen:** [`FiberExecutor::stats`] counts, [`FiberExecutor::dump`] shows the tree of live tasks, and
//!   [`FiberExecutorBuilder::watchdog`] warns of stalls. With the feature `spans`, each map and task is a span of [`tracing`];
//!   with `trace`, the module `trace` writes them as a timeline. See [the design](docs::design#spans).
//! - **Chapters:** [`docs::design`] says how it works and what it guarantees, [`docs::hazards`] what to look out for,
//!   [`docs::performance`] what things cost, [`docs::verification`] how it is checked.

#[cfg(not(all(unix, target_pointer_width = "64")))]
compile_error!("yieldtasks runs on 64-bit Unix systems only: it reserves large stacks by `mmap`");

mod batch;
mod block_on;
mod control;
mod current;
pub mod docs;
mod dump;
mod erased;
mod error;
mod executor;
mod global;
mod handle;
mod path;
mod primitives;
mod process;
mod reaper;
mod record;
mod runtime;
mod scope;
mod spans;
mod starmap;
mod stats;
pub mod sync;
mod taskmap;
mod timer;
#[cfg(feature = "trace")]
pub mod trace;
mod waiter;

pub use batch::{Batch, Task};
pub use block_on::{block_on, sleep, unblock};
pub use control::{CancelToken, Cancelled, checkpoint, is_cancelled};
pub use dump::{Awaited, Dump, LiveTask, TaskState};
pub use error::{BuildError, ErrorKind, TaskError};
pub use executor::{
    Backend, Executor, ExecutorExt, FiberExecutor, FiberExecutorBuilder, FlatExecutor, Interleave, SerialExecutor,
    ThreadPerTaskExecutor, UnknownBackend,
};
pub use global::global;
pub use handle::{DetachedTask, TaskHandle};
pub use path::{PathStep, TaskPath};
pub use runtime::affinity::{Pinning, PinningOutcome, unpinned};
pub use scope::{Scope, ScopedTaskHandle, yield_scope};
pub use starmap::Spread;
pub use stats::{Stats, WorkerStats};
pub use taskmap::{
    Here, Place, TaskMap, TaskMapFuture, taskmap, try_yield_taskmap, yield_join, yield_now, yield_starmap,
    yield_taskmap, yield_taskwrap,
};
