//! Skynet: a tree of tasks, ten children each, a million leaves; every leaf gives its number and every other task the sum
//! of its children.

use crate::contenders::{Pools, Workload, timed};
use rayon::prelude::*;
use std::hint::black_box;
use std::pin::Pin;
use yieldtasks::yield_taskmap;

const LEAVES: u64 = 1_000_000;
const CHILDREN: u64 = 10;
const SUM: u64 = LEAVES * (LEAVES - 1) / 2;

/// Adds up the leaves. may is not here: it would have nearly all the tasks suspended at a time, for which it needs more
/// stacks than the system maps.
pub(crate) fn sum(pools: &Pools) -> Workload<'_> {
    let check = |sum: u64| assert_eq!(sum, SUM, "the sum of the leaves is known");
    Workload::new("skynet, 1e6 leaves", LEAVES)
        .long()
        .contender("serial", move |iterations| timed(iterations, || check(serial(0, black_box(LEAVES)))))
        .contender("yield_taskmap", move |iterations| pools.time_ours(iterations, || check(ours(0, black_box(LEAVES)))))
        .contender("yield_taskmap, nested", move |iterations| {
            pools.time_nesting(iterations, || check(ours(0, black_box(LEAVES))))
        })
        .contender("rayon par_iter", move |iterations| {
            pools.time_rayon(iterations, || check(rayon(0, black_box(LEAVES))))
        })
        .contender("rayon with_max_len(1)", move |iterations| {
            pools.time_rayon(iterations, || check(rayon_single(0, black_box(LEAVES))))
        })
        .contender("tokio spawn all", move |iterations| {
            pools.time_tokio(iterations, move || async move { check(tokio(0, black_box(LEAVES)).await) })
        })
}

/// The first leaves of the children of the task with so many leaves from `first` on.
fn children(first: u64, leaves: u64) -> impl Iterator<Item = u64> {
    (0..CHILDREN).map(move |idx| first + idx * (leaves / CHILDREN))
}

fn serial(first: u64, leaves: u64) -> u64 {
    if leaves == 1 {
        return first;
    }
    children(first, leaves).map(|first| serial(first, leaves / CHILDREN)).sum()
}

fn ours(first: u64, leaves: u64) -> u64 {
    if leaves == 1 {
        return first;
    }
    yield_taskmap(|first| ours(first, leaves / CHILDREN), children(first, leaves)).iter().sum()
}

fn rayon(first: u64, leaves: u64) -> u64 {
    if leaves == 1 {
        return first;
    }
    let each = |idx| rayon(first + u64::from(idx) * (leaves / CHILDREN), leaves / CHILDREN);
    (0..CHILDREN as u32).into_par_iter().map(each).sum()
}

fn rayon_single(first: u64, leaves: u64) -> u64 {
    if leaves == 1 {
        return first;
    }
    let each = |idx| rayon_single(first + u64::from(idx) * (leaves / CHILDREN), leaves / CHILDREN);
    (0..CHILDREN as u32).into_par_iter().with_max_len(1).map(each).sum()
}

fn tokio(first: u64, leaves: u64) -> Pin<Box<dyn Future<Output = u64> + Send>> {
    Box::pin(async move {
        if leaves == 1 {
            return first;
        }
        let tasks: Vec<_> =
            children(first, leaves).map(|first| tokio::spawn(tokio(first, leaves / CHILDREN))).collect();
        let mut sum = 0;
        for task in tasks {
            sum += task.await.expect("no task panics");
        }
        sum
    })
}
