//! The three levels of Qsearch: syntheses side by side, in each of them rounds one after another, in each round
//! candidates side by side, and for each candidate starts side by side. The starts are busy leaves.

use super::busy::{Leaf, Pace};
use crate::contenders::{Pools, Workload, timed};
use rayon::prelude::*;
use std::thread;
use yieldtasks::yield_taskmap;

/// The rounds of the eight syntheses of a real run, divided by nine.
const ROUNDS: [usize; 8] = [1, 1, 8, 12, 6, 11, 1, 1];
const CANDIDATES: usize = 2;
const STARTS: usize = 16;
/// Standard deviation of the logarithm of a leaf's length, about that of a real run.
const SPREAD: f64 = 0.85;

type Starts = [Leaf; STARTS];
type Round = [Starts; CANDIDATES];

/// Eight searches with all their leaves, whose lengths are log-normal.
#[derive(Debug)]
pub(crate) struct Searches {
    name: String,
    syntheses: Vec<Vec<Round>>,
    /// How much of the work lies on the longest chain of leaves that have to run one after another.
    critical_share: f64,
}

impl Searches {
    /// Leaves of the given mean length in microseconds. `parts` says how many of the rounds there are: one for all, two for half
    /// of them, and so on, but at least one per synthesis.
    pub(crate) fn new(pace: Pace, mean_microseconds: f64, parts: usize) -> Self {
        let mut normal = Normal::new();
        let lengths = ROUNDS.map(|rounds| {
            let round = || [(); CANDIDATES].map(|()| [(); STARTS].map(|()| (SPREAD * normal.next()).exp()));
            std::iter::repeat_with(round).take(rounds.div_ceil(parts)).collect::<Vec<_>>()
        });
        let all = || lengths.iter().flatten().flatten().flatten();
        let total: f64 = all().sum();
        let chain = |rounds: &Vec<[[f64; STARTS]; CANDIDATES]>| {
            rounds.iter().map(|round| round.iter().flatten().copied().fold(0.0, f64::max)).sum()
        };
        let critical: f64 = lengths.iter().map(chain).fold(0.0, f64::max);
        let scale = mean_microseconds * all().count() as f64 / total;
        let leaves = |round: [[f64; STARTS]; CANDIDATES]| round.map(|starts| starts.map(|x| pace.leaf(scale * x)));
        let syntheses = lengths.map(|rounds| rounds.into_iter().map(leaves).collect()).into();
        let name = format!("nested, leaves of {mean_microseconds} us");
        Self { name, syntheses, critical_share: critical / total }
    }

    /// All the searches.
    pub(crate) fn workload<'a>(&'a self, pools: &'a Pools) -> Workload<'a> {
        let leaves: usize = self.syntheses.iter().map(|rounds| rounds.len() * CANDIDATES * STARTS).sum();
        Workload::new(self.name.clone(), leaves as u64)
            .long()
            .critical_share(self.critical_share)
            .contender("serial", |iterations| timed(iterations, || self.serial()))
            .contender("threads, even parts", |iterations| timed(iterations, || self.in_even_parts(pools.workers)))
            .contender("yield_taskmap", |iterations| pools.time_ours(iterations, || self.ours()))
            .contender("yield_taskmap, nested", |iterations| pools.time_nesting(iterations, || self.ours()))
            .contender("rayon par_iter", |iterations| pools.time_rayon(iterations, || self.rayon()))
            .contender("rayon with_max_len(1)", |iterations| pools.time_rayon(iterations, || self.rayon_single()))
    }

    fn serial(&self) -> Vec<u64> {
        let starts = |starts: &Starts| starts.iter().map(|leaf| leaf.run()).max().unwrap_or(0);
        let round = |round: &Round| round.iter().map(starts).max().unwrap_or(0);
        self.syntheses.iter().map(|rounds| rounds.iter().map(round).max().unwrap_or(0)).collect()
    }

    fn ours(&self) -> Vec<u64> {
        let starts = |starts: &Starts| yield_taskmap(|leaf| leaf.run(), starts).into_iter().max().unwrap_or(0);
        let round = |round: &Round| yield_taskmap(starts, round).into_iter().max().unwrap_or(0);
        yield_taskmap(|rounds| rounds.iter().map(round).max().unwrap_or(0), &self.syntheses)
    }

    fn rayon(&self) -> Vec<u64> {
        let starts = |starts: &Starts| starts.par_iter().map(|leaf| leaf.run()).max().unwrap_or(0);
        let round = |round: &Round| round.par_iter().map(starts).max().unwrap_or(0);
        self.syntheses.par_iter().map(|rounds| rounds.iter().map(round).max().unwrap_or(0)).collect()
    }

    fn rayon_single(&self) -> Vec<u64> {
        let starts = |starts: &Starts| starts.par_iter().with_max_len(1).map(|leaf| leaf.run()).max().unwrap_or(0);
        let round = |round: &Round| round.par_iter().with_max_len(1).map(starts).max().unwrap_or(0);
        let search = |rounds: &Vec<Round>| rounds.iter().map(round).max().unwrap_or(0);
        self.syntheses.par_iter().with_max_len(1).map(search).collect()
    }

    /// The leaves alone, dealt out to threads so that all have the same work: what the machine gives in parallel to a
    /// program that schedules nothing.
    fn in_even_parts(&self, workers: usize) {
        let leaves: Vec<Leaf> = self.syntheses.iter().flatten().flatten().flatten().copied().collect();
        let total: u64 = leaves.iter().map(|leaf| leaf.size()).sum();
        let mut rest = leaves.as_slice();
        thread::scope(|scope| {
            for worker in (0..workers).rev() {
                let share = total / workers as u64;
                let mut size = 0;
                let taken = rest.iter().take_while(|leaf| {
                    size += leaf.size();
                    size <= share || worker == 0
                });
                let (part, others) = rest.split_at(taken.count());
                rest = others;
                let work = || part.iter().map(|leaf| leaf.run()).max();
                if worker == 0 {
                    work();
                } else {
                    scope.spawn(work);
                }
            }
        });
    }
}

/// Normally distributed numbers by the method of Box and Muller, the same in every run.
struct Normal {
    state: u64,
}

impl Normal {
    fn new() -> Self {
        Self { state: 1 }
    }

    fn next(&mut self) -> f64 {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// A number in 0..1, neither end included, by the generator splitmix64.
    fn uniform(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) >> 12) as f64 / 2_f64.powi(52) + 2_f64.powi(-54)
    }
}
