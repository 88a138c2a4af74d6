//! The backends of this crate by name.

use super::{Executor, FiberExecutor, FlatExecutor, SerialExecutor, ThreadPerTaskExecutor};
use crate::error::BuildError;
use std::error::Error;
use std::fmt;
use std::str::FromStr;

/// A backend of this crate, for programs that choose one at run time.
///
/// # Examples
///
/// ```
/// use yieldtasks::{Backend, ExecutorExt};
///
/// let backend: Backend = "thread-per-task".parse()?;
/// let executor = backend.build(2)?;
/// assert_eq!(executor.map(|x| x + 1, [1, 2, 3]), [2, 3, 4]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Backend {
    /// [`FiberExecutor`], `fiber` by name.
    Fiber,
    /// [`SerialExecutor`], `serial` by name.
    Serial,
    /// [`ThreadPerTaskExecutor`], `thread-per-task` by name.
    ThreadPerTask,
    /// [`FlatExecutor`] on the outermost level, `flat` by name.
    Flat,
}

impl Backend {
    /// All backends.
    pub const fn all() -> [Self; 4] {
        [Self::Fiber, Self::Serial, Self::ThreadPerTask, Self::Flat]
    }

    /// Builds the backend with that many workers. `serial` and `thread-per-task` have no use for the number.
    ///
    /// # Errors
    ///
    /// [`BuildError::NoWorkers`] for zero workers, whichever the backend; otherwise as
    /// [`FiberExecutorBuilder::build`](crate::FiberExecutorBuilder::build).
    pub fn build(self, workers: usize) -> Result<Box<dyn Executor>, BuildError> {
        if workers == 0 {
            return Err(BuildError::NoWorkers);
        }
        Ok(match self {
            Self::Fiber => Box::new(FiberExecutor::builder().workers(workers).build()?),
            Self::Serial => Box::new(SerialExecutor::new()),
            Self::ThreadPerTask => Box::new(ThreadPerTaskExecutor::new()),
            Self::Flat => Box::new(FlatExecutor::new(workers)?),
        })
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Fiber => "fiber",
            Self::Serial => "serial",
            Self::ThreadPerTask => "thread-per-task",
            Self::Flat => "flat",
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Backend {
    type Err = UnknownBackend;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::all().into_iter().find(|backend| backend.name() == name);
        found.ok_or_else(|| UnknownBackend { name: name.to_owned() })
    }
}

/// There is no backend of that name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownBackend {
    name: String,
}

impl fmt::Display for UnknownBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let valid = Backend::all().map(Backend::name).join(", ");
        write!(f, "there is no backend {:?}: choose one of {valid}", self.name)
    }
}

impl Error for UnknownBackend {}
