//! What an executor has done so far, in figures.

use std::fmt;
use std::time::Duration;

/// What a [`FiberExecutor`](crate::FiberExecutor) has done since it was built, and what it holds.
///
/// The workers count all the time, each for itself, which costs about two instructions per map; the rest is found out when
/// [`stats`](crate::FiberExecutor::stats) is called. The figures are taken one after another while the workers go on, so they need
/// not agree with each other to the last task.
///
/// Displayed, it is a table of the workers and a line each for fibers and stacks.
///
/// # Examples
///
/// ```
/// use yieldtasks::{ExecutorExt, FiberExecutor, yield_taskmap};
///
/// let executor = FiberExecutor::builder().workers(2).build()?;
/// executor.map(|x| yield_taskmap(|y| x * y, 0..10), 0..10);
/// let stats = executor.stats();
/// assert_eq!(stats.tasks(), 110);
/// println!("{stats}");
/// # Ok::<(), yieldtasks::BuildError>(())
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Stats {
    /// What each worker has done.
    pub workers: Vec<WorkerStats>,
    /// Maps, joins and other batches that ran inline, on the stack of their parent, for want of a fiber.
    pub inline_batches: u64,
    /// Bytes of address space that are reserved for stacks.
    pub stack_reserved: usize,
    /// Bytes of the stacks that are in memory, those of idle fibers included.
    pub stack_resident: usize,
    /// The most bytes that any task has used of its stack, in whole pages, the little that the fiber itself needs included.
    ///
    /// It is seen in the pages that the system has committed: those of all fibers when the figures are asked for, and those of a
    /// fiber that ends when its memory is given back. Of stacks that were swapped out, and of frames that skip pages, which
    /// Rust's do not, less is seen.
    pub stack_high_water: usize,
}

/// What one worker of a [`FiberExecutor`](crate::FiberExecutor) has done.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct WorkerStats {
    /// Tasks that ended here. They are counted when the fiber that runs them comes back, so those of a wide map are counted
    /// together. Tasks that never started because their map had failed count too.
    pub tasks: u64,
    /// Jobs that came from other workers, taken from them or handed over: one or more tasks of one map each.
    pub steals: u64,
    /// Rounds over all other workers that found nothing to take.
    pub failed_steals: u64,
    /// How often the worker went to sleep.
    pub parks: u64,
    /// Switches to a fiber: to start tasks on it, or to resume it. As many switches lead back. Of a nest that is under way, up to
    /// 1,024 of the latest are missing.
    pub switches: u64,
    /// Those of them that resumed a fiber which had waited and was ready. One that had called [`yield_now`](crate::yield_now)
    /// does not count.
    pub ready_resumes: u64,
    /// The time spent on running tasks.
    pub busy: Duration,
    /// The time spent on looking for work.
    pub searching: Duration,
    /// The time spent asleep.
    pub parked: Duration,
    /// Fibers with a task that has started and not ended.
    pub live_fibers: usize,
    /// The most fibers that were live at a time, or one: every worker has a fiber from the beginning.
    pub peak_fibers: usize,
}

impl Stats {
    /// Tasks that ended, on all workers.
    pub fn tasks(&self) -> u64 {
        self.workers.iter().map(|worker| worker.tasks).sum()
    }

    /// Fibers with a task that has started and not ended, on all workers.
    pub fn live_fibers(&self) -> usize {
        self.workers.iter().map(|worker| worker.live_fibers).sum()
    }

    /// The sum of the most live fibers that each worker had at a time, which need not have been the same time for all.
    pub fn peak_fibers(&self) -> usize {
        self.workers.iter().map(|worker| worker.peak_fibers).sum()
    }

    /// Adds what another set of workers has done, worker by worker.
    pub(crate) fn add(&mut self, other: Self) {
        let missing = other.workers.len().saturating_sub(self.workers.len());
        self.workers.extend((0..missing).map(|_| WorkerStats::default()));
        for (worker, more) in self.workers.iter_mut().zip(other.workers) {
            worker.add(&more);
        }
        self.inline_batches += other.inline_batches;
        self.stack_reserved += other.stack_reserved;
        self.stack_resident += other.stack_resident;
        self.stack_high_water = self.stack_high_water.max(other.stack_high_water);
    }
}

impl WorkerStats {
    fn add(&mut self, more: &Self) {
        self.tasks += more.tasks;
        self.steals += more.steals;
        self.failed_steals += more.failed_steals;
        self.parks += more.parks;
        self.switches += more.switches;
        self.ready_resumes += more.ready_resumes;
        self.busy += more.busy;
        self.searching += more.searching;
        self.parked += more.parked;
        self.live_fibers += more.live_fibers;
        self.peak_fibers += more.peak_fibers;
    }

    /// A row of the table, after the name of the worker.
    fn row(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tasks, steals, failed_steals, parks, switches, ready_resumes, live_fibers, peak_fibers, .. } = self;
        let [busy, searching, parked] = [self.busy, self.searching, self.parked].map(|time| time.as_secs_f64());
        writeln!(
            f,
            "{name:>6} {tasks:>12} {steals:>9} {failed_steals:>9} {parks:>9} {switches:>12} {ready_resumes:>12} \
             {busy:>9.3} {searching:>9.3} {parked:>9.3} {live_fibers:>7} {peak_fibers:>7}"
        )
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:>6} {:>12} {:>9} {:>9} {:>9} {:>12} {:>12} {:>9} {:>9} {:>9} {:>7} {:>7}",
            "worker",
            "tasks",
            "steals",
            "in vain",
            "parks",
            "switches",
            "resumes",
            "busy s",
            "search s",
            "parked s",
            "live",
            "peak"
        )?;
        let mut all = WorkerStats::default();
        for (worker, stats) in self.workers.iter().enumerate() {
            stats.row(&worker.to_string(), f)?;
            all.add(stats);
        }
        all.row("all", f)?;
        let kibibytes = |bytes: usize| bytes.div_ceil(1024);
        writeln!(
            f,
            "stacks: {} KiB reserved, {} KiB resident, {} KiB the most used of one",
            kibibytes(self.stack_reserved),
            kibibytes(self.stack_resident),
            kibibytes(self.stack_high_water)
        )?;
        write!(f, "batches run inline for want of a fiber: {}", self.inline_batches)
    }
}
