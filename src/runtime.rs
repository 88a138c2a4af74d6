//! The fiber runtime: workers, what they share, and how work comes in from outside.

pub(crate) mod affinity;
mod calls;
mod coroutine;
mod counters;
mod deque;
mod errand;
pub(crate) mod fence;
mod fiber;
mod fiber_limit;
mod fiber_pool;
mod fiber_queue;
mod gate;
mod heights;
mod idle;
mod inbox;
mod kin;
mod overflow;
mod regions;
mod root;
mod roster;
mod shared;
mod stack;
pub(crate) mod survey;
mod tally;
pub(crate) mod wait;
mod watchdog;
mod worker;
mod yield_ring;

pub(crate) use calls::{RuntimeFeed, is_at_home, open_at_home, run_at_home};
pub(crate) use fiber::{FiberRef, Habit, Served};
pub(crate) use root::RootBatch;
pub(crate) use shared::Shared;
pub(crate) use stack::{SMALLEST_STACK, check_size};
pub(crate) use worker::Worker;

use crate::batch::{Batch, Header};
use crate::current;
use crate::error::BuildError;
use crate::executor::Interleave;
use crate::handle::DetachedTask;
use crate::process::Process;
use crate::reaper::reap;
use crate::waiter::Parking;
use affinity::{Placement, ProcessMask};
use calls::Call;
use deque::{Deque, Job};
use overflow::AlternateStack;
use parking_lot::Mutex;
use std::io;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// What a runtime is started with.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Where the workers run; one entry each.
    pub(crate) placement: Placement,
    /// The cores of the process.
    pub(crate) mask: ProcessMask,
    /// Usable bytes per stack.
    pub(crate) stack_size: usize,
    /// The most fibers that the workers may have together, if there is a limit.
    pub(crate) max_fibers: Option<usize>,
    /// Which tasks meet on a worker.
    pub(crate) interleave: Interleave,
    /// What the worker threads are called, up to their index.
    pub(crate) thread_name: String,
    /// How long a stall lasts that is worth a warning, if any is.
    pub(crate) watchdog: Option<Duration>,
    /// What tells the executor that starts the runtime from others.
    pub(crate) owner: usize,
}

/// Ends the process if it is dropped by a panic. No panic of a task gets here; one of the crate's own would free the stacks
/// of fibers that other threads still refer to.
struct AbortOnUnwind;

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!(
                "yieldtasks: a worker panicked outside any task, which is a mistake of the crate; please report it"
            );
            std::process::abort();
        }
    }
}

/// Running workers. Dropping it closes it without waiting.
pub(crate) struct Runtime {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    refused: Vec<usize>,
    /// Where the workers are.
    process: Process,
}

impl Runtime {
    /// Starts the workers and waits until each has taken its place.
    pub(crate) fn start(settings: &Settings) -> Result<Self, BuildError> {
        fence::register();
        overflow::install();
        let workers = settings.placement.workers();
        let deques: Vec<_> = (0..workers).map(|_| Deque::new()).collect();
        let shared = Arc::new(Shared::new(settings, &deques));
        let threads = Mutex::new(Vec::with_capacity(workers));
        let mut runtime = Self { shared, threads, refused: Vec::new(), process: Process::current() };
        runtime.start_watchdog(settings).map_err(|source| BuildError::WatchdogThread { source })?;
        let (placed, placements) = mpsc::channel();
        for (index, deque) in deques.into_iter().enumerate() {
            let started = runtime.start_worker(settings, index, deque, placed.clone());
            if let Err(source) = started {
                runtime.end();
                return Err(BuildError::Thread { worker: index, source });
            }
        }
        drop(placed);
        for (index, placed) in placements {
            match placed {
                Ok(true) => {}
                Ok(false) => runtime.refused.push(index),
                Err(error) => {
                    runtime.end();
                    let source = Some(error);
                    return Err(BuildError::StackSize { size: settings.stack_size, smallest: SMALLEST_STACK, source });
                }
            }
        }
        Ok(runtime)
    }

    /// Starts the thread that watches the workers, if one is to.
    fn start_watchdog(&self, settings: &Settings) -> io::Result<()> {
        if self.shared.watchdog.is_none() {
            return Ok(());
        }
        let shared = Arc::clone(&self.shared);
        let watch = move || {
            // The thread that builds the executor may be pinned itself.
            shared.mask.widen_current_thread();
            shared.watchdog.as_ref().inspect(|watchdog| watchdog.watch(&shared));
        };
        let started = thread::Builder::new().name(format!("{}-watchdog", settings.thread_name)).spawn(watch)?;
        self.threads.lock().push(started);
        Ok(())
    }

    fn start_worker(
        &self,
        settings: &Settings,
        index: usize,
        deque: Deque<Header>,
        placed: mpsc::Sender<(usize, io::Result<bool>)>,
    ) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let core = settings.placement.core_of(index);
        shared.ending.lock().workers += 1;
        let started = thread::Builder::new().name(format!("{}-{index}", settings.thread_name)).spawn(move || {
            let took_place = match core {
                Some(core) => affinity::pin_current_thread(core),
                None => {
                    // The thread that builds the executor may be pinned itself.
                    shared.mask.widen_current_thread();
                    true
                }
            };
            {
                let _signals = AlternateStack::ensure();
                survey::unblock_signal();
                let worker = Worker::new(Arc::clone(&shared), index, deque, core.filter(|_| took_place));
                let _abort = AbortOnUnwind;
                shared.roster(index).open(&worker);
                // Whoever started the thread may have given up on the others.
                let _ = placed.send((index, worker.reserve().map(|()| took_place)));
                drop(placed);
                worker.run();
                shared.roster(index).close(&worker);
            }
            shared.worker_ended();
        });
        match started {
            Ok(thread) => {
                self.threads.lock().push(thread);
                Ok(())
            }
            Err(source) => {
                self.shared.ending.lock().workers -= 1;
                Err(source)
            }
        }
    }

    /// The workers that the system did not let be pinned.
    pub(crate) fn refused(&self) -> &[usize] {
        &self.refused
    }

    /// Runs a batch made outside this runtime. Returns `false` without having run it if the runtime is closed.
    #[must_use]
    pub(crate) fn run_batch(&self, batch: &Batch<'_>) -> bool {
        batch.require_untouched();
        if !self.shared.gate.enter() {
            return false;
        }
        let tasks = 0..batch.len();
        self.shared.inject(Job { batch: batch.claim_all(), tasks }, self.shared.worker_near_thread());
        batch.join();
        self.shared.leave();
        true
    }

    /// Starts a detached task, or drops it if the runtime is closed.
    pub(crate) fn spawn(&self, task: DetachedTask) {
        if self.shared.gate.enter() {
            let batch = RootBatch::for_task(task, Arc::clone(&self.shared));
            self.shared.inject(Job { batch, tasks: 0..1 }, None);
        }
    }

    /// A call from outside that is fed task by task, unless the runtime is closed.
    pub(crate) fn open(&self) -> Option<RuntimeFeed> {
        self.shared.gate.enter().then(|| RuntimeFeed { shared: Arc::clone(&self.shared), call: Call::Root })
    }

    /// Lets no more work in. The workers end after the work in hand.
    pub(crate) fn close(&self) {
        if self.shared.gate.close() {
            self.shared.idle.wake_all();
        }
    }

    /// Closes the runtime and waits for its threads, unless the caller is one of its tasks or unwinds on a fiber.
    pub(crate) fn end(&self) {
        self.close();
        let worker = current::worker();
        let own = worker.is_some_and(|worker| worker.belongs_to(NonNull::from(&*self.shared)));
        if own || worker.is_some() && thread::panicking() {
            return;
        }
        let parking = Parking::here();
        let ended = {
            let mut ending = self.shared.ending.lock();
            if ending.workers > 0 {
                ending.waiters.push(parking.waiter());
            }
            ending.workers == 0
        };
        if !ended {
            parking.wait();
        }
        // Also if no worker was ever started that could have ended it.
        self.shared.watchdog.as_ref().inspect(|watchdog| watchdog.end());
        let threads = std::mem::take(&mut *self.threads.lock());
        for thread in threads {
            // Nothing but the end of the thread is left, and nothing on it can have panicked.
            let _ = thread.join();
        }
    }

    /// What the workers share, for those who look at them.
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Whether all workers have ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.shared.ending.lock().workers == 0
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        let threads = std::mem::take(self.threads.get_mut());
        if self.process.is_current() {
            self.close();
            reap(threads);
        } else {
            // The threads are not there to be joined, nor to be detached.
            let _ = ManuallyDrop::new(threads);
        }
    }
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime").field("workers", &self.shared.workers()).finish_non_exhaustive()
    }
}
