//! How a fiber executor is set up.

use super::{FiberExecutor, Interleave, Workers};
use crate::error::BuildError;
use crate::executor::in_hand::InHand;
use crate::process::Process;
use crate::runtime::affinity::{Pinning, PinningOutcome, Placement, ProcessMask};
use crate::runtime::{Runtime, SMALLEST_STACK, Settings, check_size};
use parking_lot::Mutex;
use std::env;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Usable bytes of a fiber's stack: what a thread of the standard library gets.
const DEFAULT_STACK_SIZE: usize = 2 * 1024 * 1024;

/// The settings of a [`FiberExecutor`] to be.
#[derive(Clone, Debug)]
#[must_use = "settings do nothing until `build` is called"]
pub struct FiberExecutorBuilder {
    workers: Option<usize>,
    pinning: Pinning,
    stack_size: usize,
    max_fibers: Option<usize>,
    watchdog: Option<Duration>,
    persist: bool,
    interleave: Interleave,
    thread_name: String,
}

impl Default for FiberExecutorBuilder {
    fn default() -> Self {
        Self {
            workers: None,
            pinning: Pinning::default(),
            stack_size: DEFAULT_STACK_SIZE,
            max_fibers: None,
            watchdog: None,
            persist: true,
            interleave: Interleave::default(),
            thread_name: "yieldtasks".to_owned(),
        }
    }
}

impl FiberExecutorBuilder {
    /// The number of workers.
    ///
    /// Default: the environment variable `YIELDTASKS_WORKERS`, or else the number of CPUs that this process may use by its
    /// affinity mask and its CPU quota; with [`Pinning::List`], the length of the list.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// How workers are pinned to cores. Default: [`Pinning::Cores`]. The environment variable `YIELDTASKS_PIN=0` turns
    /// pinning off, whatever is set here.
    pub fn pinning(mut self, pinning: Pinning) -> Self {
        self.pinning = pinning;
        self
    }

    /// The size of each fiber's stack in bytes. It is reserved, and committed page by page as it is touched. Default: 2 MiB.
    ///
    /// A task that overflows its stack ends the process, after a message to standard error, by `SIGABRT`, as a thread does.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = bytes;
        self
    }

    /// The most fibers that the executor has at a time, idle ones included. Default: no limit but the memory there is.
    ///
    /// At the limit, and where the system gives no memory for another stack, a map runs its tasks on the stack of the task
    /// that makes it, one after another, and new root tasks wait until a fiber is free: the results are the same, and come
    /// later. A warning through `tracing` says so once. Tasks that wait for a sibling to have done something, other than by
    /// joining its handle, need a fiber each.
    ///
    /// Each worker has one fiber whatever the limit is. Where all fibers wait and only a task that has none can end that,
    /// as when each task of the executor joins the handle of another, the executor makes more fibers than this. With
    /// [`Interleave::Nested`] it does so too where a worker needs one to go on while others have been busy for a tenth of a
    /// second, since they may wait for a lock that is held on that worker.
    pub fn max_fibers(mut self, fibers: usize) -> Self {
        self.max_fibers = Some(fibers);
        self
    }

    /// Has a thread of its own look whether the workers get on, and warn through `tracing`, with the [dump](FiberExecutor::dump) of
    /// the live tasks, when for that long
    ///
    /// - a worker has neither finished a task nor parked, while a fiber that is ready waits for it: a task runs for long without
    ///   calling [`checkpoint`](crate::checkpoint), or blocks the thread;
    /// - every worker has been parked, while there are tasks that have not ended: they wait for something from outside, or for
    ///   each other.
    ///
    /// Each stall is reported once, when it has lasted for the duration and at most a quarter more. Default: no watchdog.
    pub fn watchdog(mut self, duration: Duration) -> Self {
        self.watchdog = Some(duration);
        self
    }

    /// Whether the workers outlive a call. Default: `true`. If not, each outermost call starts workers and ends them.
    pub fn persist(mut self, persist: bool) -> Self {
        self.persist = persist;
        self
    }

    /// Which tasks a worker runs while fibers of its own wait for their children. Default: [`Interleave::Free`].
    pub fn interleave(mut self, interleave: Interleave) -> Self {
        self.interleave = interleave;
        self
    }

    /// What the worker threads are called; a dash and the worker's index are appended. Default: `yieldtasks`.
    pub fn thread_name(mut self, name: impl Into<String>) -> Self {
        self.thread_name = name.into();
        self
    }

    /// Checks the settings and starts the workers, if they are to persist.
    ///
    /// # Errors
    ///
    /// - [`BuildError::NoWorkers`] for zero workers.
    /// - [`BuildError::NoFibers`] for zero fibers.
    /// - [`BuildError::NoWatchdogPeriod`] for a watchdog that is given no time.
    /// - [`BuildError::StackSize`] for stacks too small to run a task, or too large to reserve.
    /// - [`BuildError::CoreOutsideMask`] and [`BuildError::CoresForWorkers`] for a pinning list that does not fit.
    /// - [`BuildError::Environment`] for an environment variable that means nothing.
    /// - [`BuildError::Thread`] and [`BuildError::WatchdogThread`] if a thread cannot be started.
    pub fn build(self) -> Result<FiberExecutor, BuildError> {
        check_size(self.stack_size).map_err(|source| BuildError::StackSize {
            size: self.stack_size,
            smallest: SMALLEST_STACK,
            source,
        })?;
        if self.max_fibers == Some(0) {
            return Err(BuildError::NoFibers);
        }
        if self.watchdog.is_some_and(|period| period.is_zero()) {
            return Err(BuildError::NoWatchdogPeriod);
        }
        let mask = ProcessMask::read();
        let workers = match (self.workers, &self.pinning) {
            (Some(workers), _) => workers,
            (None, Pinning::List(list)) => list.len(),
            (None, _) => workers_of_environment()?.unwrap_or(mask.parallelism()),
        };
        if workers == 0 {
            return Err(BuildError::NoWorkers);
        }
        let pinning = if pinning_is_off()? { Pinning::None } else { self.pinning };
        let settings = Settings {
            placement: Placement::plan(workers, &pinning, &mask)?,
            mask,
            stack_size: self.stack_size,
            max_fibers: self.max_fibers,
            watchdog: self.watchdog,
            interleave: self.interleave,
            thread_name: self.thread_name,
            owner: next_owner(),
        };
        let (workers, pinning) = if self.persist {
            let runtime = Runtime::start(&settings)?;
            let pinning = settings.placement.outcome(runtime.refused());
            (Workers::Persistent(runtime), pinning)
        } else {
            let workers =
                Workers::PerCall { in_hand: InHand::default(), detached: Mutex::default(), runs: Mutex::default() };
            (workers, settings.placement.outcome(&[]))
        };
        if !matches!(pinning, PinningOutcome::Pinned(_) | PinningOutcome::Off) {
            tracing::warn!(?pinning, "workers run unpinned");
        }
        Ok(FiberExecutor { settings, pinning, workers, process: Process::current() })
    }
}

/// A number that no other executor of this process has.
fn next_owner() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn workers_of_environment() -> Result<Option<usize>, BuildError> {
    const VARIABLE: &str = "YIELDTASKS_WORKERS";
    let Some(value) = env::var_os(VARIABLE) else {
        return Ok(None);
    };
    let value = value.to_string_lossy().into_owned();
    match value.trim().parse() {
        Ok(workers) if workers > 0 => Ok(Some(workers)),
        _ => Err(BuildError::Environment { variable: VARIABLE, value, expected: "the number of workers, one or more" }),
    }
}

fn pinning_is_off() -> Result<bool, BuildError> {
    const VARIABLE: &str = "YIELDTASKS_PIN";
    let Some(value) = env::var_os(VARIABLE) else {
        return Ok(false);
    };
    match value.to_string_lossy().trim() {
        "0" => Ok(true),
        "1" => Ok(false),
        value => {
            let expected = "0 to turn pinning off or 1 to leave it on";
            Err(BuildError::Environment { variable: VARIABLE, value: value.to_owned(), expected })
        }
    }
}
