#![cfg_attr(target_os = "linux", expect(unsafe_code, reason = "a function of the C library is called"))]
//! Which worker runs on which core.

use crate::current;
use crate::error::BuildError;
use crate::runtime::Worker;
use core_affinity::CoreId;
use std::thread;

/// How workers are pinned to cores.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Pinning {
    /// Worker `i` on the `i`-th core that the process may run on, if there are enough cores for all workers.
    #[default]
    Cores,
    /// No worker is pinned.
    None,
    /// Worker `i` on the `i`-th core of the list.
    List(Vec<usize>),
}

/// What became of the pinning that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PinningOutcome {
    /// Every worker is pinned: the core of each.
    Pinned(Vec<usize>),
    /// Pinning was turned off, by [`Pinning::None`] or by `YIELDTASKS_PIN=0`.
    Off,
    /// No worker is pinned, because some would have had to share a core.
    MoreWorkersThanCores {
        /// The number of workers.
        workers: usize,
        /// The number of cores that the process may run on.
        cores: usize,
    },
    /// No worker is pinned, because the process may use less time than its cores have, so that the system must be free to
    /// place its threads.
    QuotaBelowCores {
        /// How many cores' worth of time the process may use.
        quota: usize,
        /// The number of cores that the process may run on.
        cores: usize,
    },
    /// The system refused to pin some workers, or does not pin at all.
    Refused {
        /// The indices of the workers that are not pinned.
        workers: Vec<usize>,
    },
}

/// The cores that the process may run on, as read before any worker was pinned.
#[derive(Clone, Debug)]
pub(crate) struct ProcessMask {
    cores: Vec<usize>,
    parallelism: usize,
    #[cfg(target_os = "linux")]
    set: Option<rustix::thread::CpuSet>,
}

impl ProcessMask {
    /// Reads the calling thread's mask; on a worker, which is pinned, takes the mask its runtime was started with.
    pub(crate) fn read() -> Self {
        if let Some(worker) = current::worker() {
            return worker.process_mask().clone();
        }
        let cores = core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect();
        Self {
            cores,
            parallelism: thread::available_parallelism().map_or(1, usize::from),
            #[cfg(target_os = "linux")]
            set: rustix::thread::sched_getaffinity(None).ok(),
        }
    }

    /// Lets the calling thread run on all these cores.
    pub(crate) fn widen_current_thread(&self) {
        #[cfg(target_os = "linux")]
        if let Some(set) = &self.set {
            // A refusal leaves the thread where it is, which costs speed and nothing else.
            let _ = rustix::thread::sched_setaffinity(None, set);
        }
    }

    /// The number of workers that keep all usable cores busy.
    pub(crate) fn parallelism(&self) -> usize {
        self.parallelism
    }
}

/// The core of each worker.
#[derive(Clone, Debug)]
pub(crate) struct Placement {
    workers: usize,
    /// One for each worker, or none at all.
    cores: Vec<usize>,
    /// Why there are none.
    unpinned: Option<PinningOutcome>,
}

impl Placement {
    /// Finds a place for each of `workers` workers.
    pub(crate) fn plan(workers: usize, pinning: &Pinning, mask: &ProcessMask) -> Result<Self, BuildError> {
        let unpinned = |outcome| Ok(Self { workers, cores: Vec::new(), unpinned: Some(outcome) });
        let allowed = mask.cores.len();
        match pinning {
            Pinning::None => unpinned(PinningOutcome::Off),
            Pinning::List(list) => {
                if let Some(&core) = list.iter().find(|core| !mask.cores.contains(core)) {
                    return Err(BuildError::CoreOutsideMask { core, allowed: mask.cores.clone() });
                }
                if list.len() < workers {
                    return Err(BuildError::CoresForWorkers { cores: list.len(), workers });
                }
                Ok(Self { workers, cores: list[..workers].to_vec(), unpinned: None })
            }
            Pinning::Cores if workers > allowed => {
                unpinned(PinningOutcome::MoreWorkersThanCores { workers, cores: allowed })
            }
            Pinning::Cores if mask.parallelism < allowed => {
                unpinned(PinningOutcome::QuotaBelowCores { quota: mask.parallelism, cores: allowed })
            }
            Pinning::Cores => Ok(Self { workers, cores: mask.cores[..workers].to_vec(), unpinned: None }),
        }
    }

    pub(crate) fn workers(&self) -> usize {
        self.workers
    }

    pub(super) fn core_of(&self, worker: usize) -> Option<usize> {
        self.cores.get(worker).copied()
    }

    /// The worker whose core the calling thread runs on at the moment.
    pub(super) fn worker_here(&self) -> Option<usize> {
        if self.cores.is_empty() {
            return None;
        }
        #[cfg(target_os = "linux")]
        {
            // Not by `rustix`, which looks for the function in a part of memory that is not there under valgrind. -1 for an error.
            // SAFETY: the call has no conditions.
            let here = unsafe { libc::sched_getcpu() };
            self.cores.iter().position(|&core| usize::try_from(here) == Ok(core))
        }
        #[cfg(not(target_os = "linux"))]
        None
    }

    /// What became of the plan, given the workers that the system refused to pin.
    pub(crate) fn outcome(&self, refused: &[usize]) -> PinningOutcome {
        match &self.unpinned {
            Some(outcome) => outcome.clone(),
            None if refused.is_empty() => PinningOutcome::Pinned(self.cores.clone()),
            None => PinningOutcome::Refused { workers: refused.to_vec() },
        }
    }
}

/// Pins the calling thread to a core of the process's mask. Returns whether the system did it.
pub(super) fn pin_current_thread(core: usize) -> bool {
    core_affinity::set_for_current(CoreId { id: core })
}

/// Makes `run`, which is for a thread that the caller starts, begin by leaving the core that a worker is pinned to.
pub(crate) fn off_core<R>(run: impl FnOnce() -> R) -> impl FnOnce() -> R {
    let mask = current::worker().map(|worker| worker.process_mask().clone());
    move || {
        if let Some(mask) = mask {
            mask.widen_current_thread();
        }
        run()
    }
}

/// Calls `f` with the calling thread free to run on every core of the process.
///
/// A thread inherits the cores of the thread that starts it, and a worker is pinned to one. So a task that starts threads
/// of its own, or calls a library that does, should do that inside `unpinned`, or all of them share the worker's core.
/// Outside a worker thread, and on systems other than Linux, this only calls `f`.
///
/// If `f` suspends, other tasks of the worker run unpinned in the meantime.
///
/// # Panics
///
/// A panic of `f` passes through; the worker is pinned again.
///
/// # Examples
///
/// ```
/// use yieldtasks::{unpinned, yield_taskwrap};
///
/// let answer = yield_taskwrap(|| unpinned(|| std::thread::spawn(|| 42)).join());
/// assert_eq!(answer.unwrap(), 42);
/// ```
pub fn unpinned<R>(f: impl FnOnce() -> R) -> R {
    let _pinned_again = current::worker().map(Widened::new);
    f()
}

/// Pins the worker again when the last one is dropped: tasks of one worker may be inside `unpinned` at the same time.
struct Widened<'a>(&'a Worker);

impl<'a> Widened<'a> {
    fn new(worker: &'a Worker) -> Self {
        if worker.core().is_some() && worker.widen() == 0 {
            worker.process_mask().widen_current_thread();
        }
        Self(worker)
    }
}

impl Drop for Widened<'_> {
    fn drop(&mut self) {
        if let Some(core) = self.0.core()
            && self.0.narrow() == 0
        {
            // A refusal leaves the worker unpinned, which costs speed and nothing else.
            let _ = pin_current_thread(core);
        }
    }
}
