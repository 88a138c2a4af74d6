//! Resuming a ready parent: how long a task that has what it waited for is kept waiting by a home worker that is busy.
//!
//! A task in a pool of one worker waits for a task in another such pool, while its own worker runs leaves. The element is
//! the time from the end of what it waits for to its next step. Half a leaf is the least that a worker which does not
//! interrupt leaves can do.

use super::busy::{Leaf, Pace};
use crate::contenders::Workload;
use rayon::prelude::*;
use std::time::{Duration, Instant};
use yieldtasks::{ExecutorExt, FiberExecutor, Pinning, yield_taskmap};

/// Leaves that the home worker has to run per wait. What is waited for ends among them.
const LEAVES: usize = 24;
/// The shortest and the longest wait, in leaves.
const WAITS: [f64; 2] = [2.0, 14.0];
/// The fraction of the golden ratio: multiples of it fall evenly on the waits, and in step with nobody's leaves.
const GOLDEN: f64 = 0.618_033_988_749_895;

/// Two pools of each contender that has pools, of one worker each.
pub(crate) struct Pairs {
    ours: [FiberExecutor; 2],
    rayon: [rayon::ThreadPool; 2],
    tokio: [tokio::runtime::Runtime; 2],
}

impl Pairs {
    /// # Panics
    ///
    /// Panics if a pool cannot be built.
    pub(crate) fn new() -> Self {
        let cores: Vec<usize> = core_affinity::get_core_ids().unwrap_or_default().iter().map(|core| core.id).collect();
        let ours = |idx: usize| {
            let pinning = cores.get(idx).map_or(Pinning::None, |&core| Pinning::List(vec![core]));
            FiberExecutor::builder().workers(1).pinning(pinning).build().expect("our executor starts")
        };
        let rayon = |_| rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("the pool of rayon starts");
        let tokio = |_| {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build();
            runtime.expect("the runtime of tokio starts")
        };
        Self { ours: [0, 1].map(ours), rayon: [0, 1].map(rayon), tokio: [0, 1].map(tokio) }
    }
}

/// One task waits, the others are leaves of so many microseconds.
pub(crate) fn ready_parent(pairs: &Pairs, pace: Pace, microseconds: f64) -> Workload<'_> {
    let leaf = pace.leaf(microseconds);
    let wait = move |round: u64| {
        let [shortest, longest] = WAITS;
        let share = (round as f64 * GOLDEN).fract();
        pace.leaf(microseconds * (shortest + share * (longest - shortest)))
    };
    Workload::new(format!("resuming a ready parent, leaves of {microseconds} us"), 1)
        .contender("FiberExecutor", move |iterations| (0..iterations).map(|round| ours(pairs, leaf, wait(round))).sum())
        .contender("rayon", move |iterations| (0..iterations).map(|round| rayon(pairs, leaf, wait(round))).sum())
        .contender("tokio", move |iterations| (0..iterations).map(|round| tokio(pairs, leaf, wait(round))).sum())
}

/// Does the work and says when it was done.
fn ended(work: Leaf) -> Instant {
    work.run();
    Instant::now()
}

fn ours(pairs: &Pairs, leaf: Leaf, awaited: Leaf) -> Duration {
    let [home, elsewhere] = &pairs.ours;
    let step = |idx: usize| {
        if idx == 0 {
            return elsewhere.run(|| ended(awaited)).elapsed();
        }
        leaf.run();
        Duration::ZERO
    };
    home.run(|| yield_taskmap(step, 0..=LEAVES).into_iter().sum())
}

fn rayon(pairs: &Pairs, leaf: Leaf, awaited: Leaf) -> Duration {
    let [home, elsewhere] = &pairs.rayon;
    let step = |idx: usize| {
        if idx == 0 {
            return elsewhere.install(|| ended(awaited)).elapsed();
        }
        leaf.run();
        Duration::ZERO
    };
    home.install(|| (0..LEAVES + 1).into_par_iter().with_max_len(1).map(step).sum())
}

fn tokio(pairs: &Pairs, leaf: Leaf, awaited: Leaf) -> Duration {
    let [home, elsewhere] = &pairs.tokio;
    let elsewhere = elsewhere.handle().clone();
    let waiting = async move {
        let leaves = (0..LEAVES).map(|_| async move { leaf.run() });
        let parent = tokio::spawn(async move {
            elsewhere.spawn(async move { ended(awaited) }).await.map(|end| end.elapsed()).unwrap_or_default()
        });
        for leaf in leaves.map(tokio::spawn).collect::<Vec<_>>() {
            leaf.await.expect("no task panics");
        }
        parent.await.expect("no task panics")
    };
    home.block_on(home.spawn(waiting)).expect("no task panics")
}
