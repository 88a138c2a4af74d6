//! Nested parallel maps written as plain blocking code.
//!
//! ```
//! use yieldtasks::yield_taskmap;
//!
//! // Any function may map in parallel and call functions that do, to any depth, with loops in between.
//! let table = yield_taskmap(|row: u32| yield_taskmap(|column| row * column, 0..3), 0..3);
//! assert_eq!(table, [[0, 0, 0], [0, 1, 2], [0, 2, 4]]);
//! ```

#![cfg_attr(not(unix), expect(unused, reason = "the build ends with the error below"))]
#[cfg(not(unix))]
compile_error!("yieldtasks runs on Unix systems only: its stacks are mapped by `mmap`");

mod batch;
mod current;
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
