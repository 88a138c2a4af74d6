//! One map over many items.

use super::busy::Pace;
use crate::contenders::{Pools, Workload, timed};
use rayon::prelude::*;
use std::hint::black_box;
use std::thread;
use yieldtasks::yield_taskmap;

const TRIVIAL_ITEMS: usize = 1_000_000;
const SHORT_ITEMS: usize = 20_000;
const SHORT_MICROSECONDS: f64 = 1.0;
/// Lengths of leaves among which lies the one from which on several workers are faster than a serial loop.
pub(crate) const BREAK_EVEN_NANOSECONDS: [u32; 4] = [5, 10, 20, 50];
const BREAK_EVEN_ITEMS: usize = 100_000;

/// Adds one to every item.
pub(crate) fn trivial(pools: &Pools) -> Workload<'_> {
    over_items("flat, 1e6 trivial items", pools, TRIVIAL_ITEMS, |x| black_box(x as u64) + 1)
}

/// Is busy for a microsecond per item.
pub(crate) fn short(pools: &Pools, pace: Pace) -> Workload<'_> {
    let leaf = pace.leaf(SHORT_MICROSECONDS);
    over_items("flat, 2e4 items of 1 us", pools, SHORT_ITEMS, move |_| leaf.run())
}

/// Is busy for some nanoseconds per item. Such short items overlap in the processor where one follows directly upon the
/// other: the time of the serial loop says how long they really take.
pub(crate) fn break_even(pools: &Pools, pace: Pace, nanoseconds: u32) -> Workload<'_> {
    let leaf = pace.leaf(f64::from(nanoseconds) / 1000.0);
    over_items(&format!("break-even, items of {nanoseconds} ns"), pools, BREAK_EVEN_ITEMS, move |_| leaf.run())
}

/// Maps `f` over the numbers below `items` and collects the results.
pub(crate) fn over_items<'a>(
    name: &str,
    pools: &'a Pools,
    items: usize,
    f: impl Fn(usize) -> u64 + Copy + Send + Sync + 'a,
) -> Workload<'a> {
    Workload::new(name, items as u64)
        .contender("serial", move |iterations| timed(iterations, || (0..items).map(f).collect::<Vec<_>>()))
        .contender("threads, even parts", move |iterations| {
            timed(iterations, || in_even_parts(pools.workers, items, f))
        })
        .contender("yield_taskmap", move |iterations| pools.time_ours(iterations, || yield_taskmap(f, 0..items)))
        .contender("rayon default", move |iterations| {
            pools.time_rayon(iterations, || (0..items).into_par_iter().map(f).collect::<Vec<_>>())
        })
        .contender("rayon with_max_len(1)", move |iterations| {
            pools.time_rayon(iterations, || (0..items).into_par_iter().with_max_len(1).map(f).collect::<Vec<_>>())
        })
        .contender("chili halves", move |iterations| {
            pools.time_chili(iterations, |scope| {
                let mut results = vec![0; items];
                in_halves(scope, 0, &mut results, f);
                results
            })
        })
}

/// A thread for every part: no balancing and nearly no overhead, so the limit that the machine sets where all items take
/// the same time.
fn in_even_parts(workers: usize, items: usize, f: impl Fn(usize) -> u64 + Copy + Send + Sync) -> Vec<u64> {
    let mut results = vec![0; items];
    let part = items.div_ceil(workers);
    thread::scope(|scope| {
        let mut parts = results.chunks_mut(part).enumerate();
        let own = parts.next();
        for (idx, results) in parts {
            scope.spawn(move || fill(idx * part, results, f));
        }
        if let Some((_, results)) = own {
            fill(0, results, f);
        }
    });
    results
}

fn fill(first: usize, results: &mut [u64], f: impl Fn(usize) -> u64) {
    for (idx, result) in results.iter_mut().enumerate() {
        *result = f(first + idx);
    }
}

/// Recursion down to single items: chili has no maps.
fn in_halves(
    scope: &mut chili::Scope<'_>,
    first: usize,
    results: &mut [u64],
    f: impl Fn(usize) -> u64 + Copy + Send + Sync,
) {
    match results {
        [] => {}
        [result] => *result = f(first),
        _ => {
            let half = results.len() / 2;
            let (left, right) = results.split_at_mut(half);
            scope.join(|scope| in_halves(scope, first, left, f), |scope| in_halves(scope, first + half, right, f));
        }
    }
}
