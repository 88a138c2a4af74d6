//! The backend of this crate: tasks on fibers, one pinned worker thread per core.

use super::Executor;
use super::in_hand::InHand;
use crate::batch::Batch;
use crate::current;
use crate::error::BuildError;
use crate::handle::DetachedTask;
use crate::runtime::affinity::{Pinning, PinningOutcome, Placement, ProcessMask};
use crate::runtime::{self, Runtime, SMALLEST_STACK, Settings, check_size};
use parking_lot::Mutex;
use std::env;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Usable bytes of a fiber's stack: what a thread of the standard library gets.
const DEFAULT_STACK_SIZE: usize = 2 * 1024 * 1024;

/// Runs tasks on fibers: one worker thread per core, each task on a stack of its own.
///
/// A task that makes a batch suspends, which costs a few nanoseconds, and its worker goes on with the children. Tasks that
/// have not started can be run by any worker; a started one stays on its worker's thread to its end.
///
/// Dropping the executor shuts it down and joins its threads. Inside a task of another fiber executor, the wait for them
/// suspends the fiber.
pub struct FiberExecutor {
    settings: Settings,
    pinning: PinningOutcome,
    workers: Workers,
}

/// The workers of a fiber executor, by how long they live.
enum Workers {
    /// From building to shutdown.
    Persistent(Runtime),
    /// For the length of a call.
    PerCall {
        in_hand: InHand,
        /// Those of detached tasks, which may still run.
        detached: Mutex<Vec<Runtime>>,
    },
}

impl FiberExecutor {
    /// Starts an executor with the default settings of [`builder`](Self::builder).
    ///
    /// # Errors
    ///
    /// As [`FiberExecutorBuilder::build`].
    pub fn new() -> Result<Self, BuildError> {
        Self::builder().build()
    }

    /// Settings to start from.
    pub fn builder() -> FiberExecutorBuilder {
        FiberExecutorBuilder::default()
    }

    /// What became of the pinning that was asked for.
    pub fn pinning(&self) -> &PinningOutcome {
        &self.pinning
    }
}

impl Executor for FiberExecutor {
    fn size(&self) -> usize {
        self.settings.placement.workers()
    }

    fn persist(&self) -> bool {
        matches!(self.workers, Workers::Persistent(_))
    }

    fn shutdown(&self) {
        self.close();
        if !current::is_in_task() {
            self.wait();
        }
    }

    fn run_batch(&self, batch: &Batch<'_>) {
        if runtime::run_at_home(self.settings.owner, batch) {
            return;
        }
        let ran = match &self.workers {
            Workers::Persistent(runtime) => runtime.run_batch(batch),
            Workers::PerCall { in_hand, .. } => {
                let _call = in_hand.enter_or_panic(false);
                let runtime = self.start_for_call();
                let ran = runtime.run_batch(batch);
                runtime.end();
                ran
            }
        };
        assert!(ran, "the executor has been shut down: build another one to run more tasks");
    }

    fn spawn(&self, task: DetachedTask) {
        match &self.workers {
            Workers::Persistent(runtime) => runtime.spawn(task),
            Workers::PerCall { in_hand, detached } => {
                if let Some(_call) = in_hand.enter(false) {
                    let runtime = self.start_for_call();
                    runtime.spawn(task);
                    runtime.close();
                    let mut detached = detached.lock();
                    detached.retain(|runtime| !runtime.has_ended());
                    detached.push(runtime);
                }
            }
        }
    }

    fn suspends(&self) -> bool {
        true
    }

    fn identity(&self) -> *const () {
        std::ptr::without_provenance(self.settings.owner)
    }
}

impl FiberExecutor {
    /// Lets no more work in; the workers end after the work in hand.
    pub(super) fn close(&self) {
        match &self.workers {
            Workers::Persistent(runtime) => runtime.close(),
            Workers::PerCall { in_hand, .. } => in_hand.close(),
        }
    }

    /// Waits for the workers to end, unless the caller is one of their tasks or unwinds on a fiber.
    fn wait(&self) {
        match &self.workers {
            Workers::Persistent(runtime) => runtime.end(),
            Workers::PerCall { .. } if runtime::is_at_home(self.settings.owner) => {}
            Workers::PerCall { in_hand, detached } => {
                in_hand.wait();
                let detached = std::mem::take(&mut *detached.lock());
                detached.iter().for_each(Runtime::end);
            }
        }
    }

    fn start_for_call(&self) -> Runtime {
        match Runtime::start(&self.settings) {
            Ok(runtime) => runtime,
            Err(error) => panic!("the workers for this call could not be started: {error}"),
        }
    }
}

// A panic of a task leaves the executor and its workers as they were.
impl UnwindSafe for FiberExecutor {}
impl RefUnwindSafe for FiberExecutor {}

impl Drop for FiberExecutor {
    fn drop(&mut self) {
        self.close();
        self.wait();
    }
}

impl fmt::Debug for FiberExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FiberExecutor")
            .field("size", &self.size())
            .field("persist", &self.persist())
            .field("pinning", &self.pinning)
            .finish_non_exhaustive()
    }
}

/// The settings of a [`FiberExecutor`] to be.
#[derive(Clone, Debug)]
#[must_use = "settings do nothing until `build` is called"]
pub struct FiberExecutorBuilder {
    workers: Option<usize>,
    pinning: Pinning,
    stack_size: usize,
    persist: bool,
    thread_name: String,
}

impl Default for FiberExecutorBuilder {
    fn default() -> Self {
        Self {
            workers: None,
            pinning: Pinning::default(),
            stack_size: DEFAULT_STACK_SIZE,
            persist: true,
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
    /// A task that overflows its stack ends the process, by a signal and without a message.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = bytes;
        self
    }

    /// Whether the workers outlive a call. Default: `true`. If not, each outermost call starts workers and ends them.
    pub fn persist(mut self, persist: bool) -> Self {
        self.persist = persist;
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
    /// - [`BuildError::StackSize`] for stacks too small to run a task, or too large to reserve.
    /// - [`BuildError::CoreOutsideMask`] and [`BuildError::CoresForWorkers`] for a pinning list that does not fit.
    /// - [`BuildError::Environment`] for an environment variable that means nothing.
    /// - [`BuildError::Thread`] if a thread cannot be started.
    pub fn build(self) -> Result<FiberExecutor, BuildError> {
        check_size(self.stack_size).map_err(|source| BuildError::StackSize {
            size: self.stack_size,
            smallest: SMALLEST_STACK,
            source,
        })?;
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
            thread_name: self.thread_name,
            owner: next_owner(),
        };
        let (workers, pinning) = if self.persist {
            let runtime = Runtime::start(&settings)?;
            let pinning = settings.placement.outcome(runtime.refused());
            (Workers::Persistent(runtime), pinning)
        } else {
            let workers = Workers::PerCall { in_hand: InHand::default(), detached: Mutex::new(Vec::new()) };
            (workers, settings.placement.outcome(&[]))
        };
        if !matches!(pinning, PinningOutcome::Pinned(_) | PinningOutcome::Off) {
            tracing::warn!(?pinning, "workers run unpinned");
        }
        Ok(FiberExecutor { settings, pinning, workers })
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
