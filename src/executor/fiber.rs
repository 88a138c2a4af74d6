//! The backend of this crate: tasks on fibers, one pinned worker thread per core.

mod builder;
mod interleave;

pub use builder::FiberExecutorBuilder;
pub use interleave::Interleave;

use super::in_hand::InHand;
use super::{Executor, Feed};
use crate::batch::Batch;
use crate::current;
use crate::dump::Dump;
use crate::error::BuildError;
use crate::handle::DetachedTask;
use crate::process::Process;
use crate::runtime::affinity::PinningOutcome;
use crate::runtime::{self, Runtime, Settings, Shared};
use crate::stats::Stats;
use parking_lot::Mutex;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::{Arc, Weak};

/// Runs tasks on fibers: one worker thread per core, each task on a stack of its own.
///
/// A task that makes a batch suspends, which costs a few nanoseconds, and its worker goes on with the children. Tasks that
/// have not started can be run by any worker; a started one stays on its worker's thread to its end.
///
/// Dropping the executor shuts it down and joins its threads. Inside a task of another fiber executor, the wait for them
/// suspends the fiber.
///
/// An executor stays behind when its process forks: in the child, using it panics, and dropping it does nothing.
pub struct FiberExecutor {
    settings: Settings,
    pinning: PinningOutcome,
    workers: Workers,
    /// Where the workers are.
    process: Process,
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
        /// Those that may be running, for who looks at them.
        runs: Mutex<Vec<Weak<Shared>>>,
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

    /// What the workers have done since the executor was built, and the memory that their stacks take.
    ///
    /// To be called now and then: it asks the system about each page of the stacks, and a worker that needs a new fiber
    /// meanwhile waits. Of an executor that does not [persist](FiberExecutorBuilder::persist), only the workers of calls that are
    /// in hand have figures.
    ///
    /// # Panics
    ///
    /// Panics in a process that was forked from the executor's own.
    pub fn stats(&self) -> Stats {
        self.process.require();
        let mut stats = Stats::default();
        self.running().iter().for_each(|shared| stats.add(shared.stats()));
        stats
    }

    /// The tasks that are live at the moment, and what each of them does. May be called anywhere, also in a task, and while the
    /// workers are in the middle of long ones.
    ///
    /// Each worker thread is interrupted for some microseconds, and longer if it has very many live tasks, by the signal
    /// `SIGURG`, for which a handler is set up at the first call; one that was there before is called for signals
    /// that come from elsewhere. Calls of the system that a signal interrupts although its handler wants them restarted, such as
    /// `poll`, fail with `EINTR` then. Programs that wait for `SIGURG` themselves on a worker's thread, or block it there, see
    /// that worker as [silent](Dump::silent_workers).
    ///
    /// # Panics
    ///
    /// Panics in a process that was forked from the executor's own.
    pub fn dump(&self) -> Dump {
        self.process.require();
        Dump::new(self.running().iter().flat_map(|shared| shared.survey()).collect())
    }

    /// What the workers share that run at the moment, those of each call for themselves.
    fn running(&self) -> Vec<Arc<Shared>> {
        match &self.workers {
            Workers::Persistent(runtime) => vec![Arc::clone(runtime.shared())],
            Workers::PerCall { runs, .. } => runs.lock().iter().filter_map(Weak::upgrade).collect(),
        }
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
        self.process.require();
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
        self.process.require();
        match &self.workers {
            Workers::Persistent(runtime) => runtime.spawn(task),
            Workers::PerCall { in_hand, detached, .. } => {
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

    fn open(&self, _level: usize) -> Option<Feed> {
        if let Some(feed) = runtime::open_at_home(self.settings.owner) {
            return Some(Feed::runtime(feed));
        }
        self.process.require();
        match &self.workers {
            Workers::Persistent(runtime) => runtime.open().map(Feed::runtime),
            Workers::PerCall { in_hand, .. } => {
                let call = in_hand.enter(false)?;
                Feed::own_runtime(self.start_for_call(), call)
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
        if !self.process.is_current() {
            return;
        }
        match &self.workers {
            Workers::Persistent(runtime) => runtime.close(),
            Workers::PerCall { in_hand, .. } => in_hand.close(),
        }
    }

    /// Waits for the workers to end, unless the caller is one of their tasks or unwinds on a fiber.
    fn wait(&self) {
        if !self.process.is_current() {
            return;
        }
        match &self.workers {
            Workers::Persistent(runtime) => runtime.end(),
            Workers::PerCall { .. } if runtime::is_at_home(self.settings.owner) => {}
            Workers::PerCall { in_hand, detached, .. } => {
                in_hand.wait();
                let detached = std::mem::take(&mut *detached.lock());
                detached.iter().for_each(Runtime::end);
            }
        }
    }

    fn start_for_call(&self) -> Runtime {
        match Runtime::start(&self.settings) {
            Ok(runtime) => {
                if let Workers::PerCall { runs, .. } = &self.workers {
                    let mut runs = runs.lock();
                    runs.retain(|run| run.strong_count() > 0);
                    runs.push(Arc::downgrade(runtime.shared()));
                }
                runtime
            }
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
