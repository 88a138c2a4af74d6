//! What every benchmark is made of: a workload, and the contenders that run it.
//!
//! A contender enters its pool, and takes the time from inside: entering a pool is a workload of its own. All contenders
//! have the same number of workers. Ours pins its workers to cores, and so does may; the others leave that to the system.

mod pools;
mod process;
pub(crate) mod stopwatch;

pub(crate) use pools::Pools;
pub(crate) use process::for_each_worker_count;

use std::time::Duration;
use stopwatch::Stopwatch;

/// Something to do, and all who can do it. The first one is the baseline.
pub(crate) struct Workload<'a> {
    pub(crate) name: String,
    /// What one iteration consists of: forks, items, tree nodes, switches.
    pub(crate) elements: u64,
    /// How much of the work lies on the longest chain of things that have to be done one after another.
    critical_share: f64,
    pub(crate) length: Length,
    pub(crate) contenders: Vec<Contender<'a>>,
}

/// How long an iteration of a workload takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// A few milliseconds at most.
    Short,
    /// More.
    Long,
}

/// One way to run a workload.
pub(crate) struct Contender<'a> {
    pub(crate) name: &'static str,
    run: Box<dyn FnMut(u64) -> Duration + 'a>,
}

impl<'a> Workload<'a> {
    pub(crate) fn new(name: impl Into<String>, elements: u64) -> Self {
        Self { name: name.into(), elements, critical_share: 0.0, length: Length::Short, contenders: Vec::new() }
    }

    pub(crate) fn critical_share(mut self, share: f64) -> Self {
        self.critical_share = share;
        self
    }

    pub(crate) fn long(mut self) -> Self {
        self.length = Length::Long;
        self
    }

    /// The shortest time possible on so many workers, as a share of the serial time.
    pub(crate) fn limit(&self, workers: usize) -> f64 {
        self.critical_share.max(1.0 / workers as f64)
    }

    /// Adds a contender: `run` goes through the workload that many times and says how long that took.
    pub(crate) fn contender(mut self, name: &'static str, run: impl FnMut(u64) -> Duration + 'a) -> Self {
        self.contenders.push(Contender { name, run: Box::new(run) });
        self
    }
}

impl Contender<'_> {
    pub(crate) fn run(&mut self, iterations: u64) -> Duration {
        (self.run)(iterations)
    }
}

/// How long it takes to call `step` that many times.
pub(crate) fn timed<R>(iterations: u64, mut step: impl FnMut() -> R) -> Duration {
    let start = Stopwatch::start();
    for _ in 0..iterations {
        std::hint::black_box(step());
    }
    start.elapsed()
}
