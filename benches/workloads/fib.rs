//! Fibonacci numbers by the naive recursion: nothing but forks.

use crate::contenders::{Pools, Workload};
use rayon::prelude::*;
use std::hint::black_box;
use std::pin::Pin;
use std::time::Duration;
use yieldtasks::{yield_join, yield_taskmap};

const N: u32 = 25;
/// Calls of `fib(N)` with an argument above one.
const FORKS: u64 = 121_392;

/// may starts the oldest coroutine first, so nearly all forks wait at the same time, each on a stack of its own, and the
/// system has no room for the stacks of `fib(N)`. It computes a smaller number, and its time is scaled by the forks.
const MAY_N: u32 = 17;
const MAY_FORKS: u64 = 2_583;

type BoxedFuture = Pin<Box<dyn Future<Output = u64> + Send>>;

/// The two calls as a join.
pub(crate) fn by_join(pools: &Pools) -> Workload<'_> {
    Workload::new("fib, join", FORKS)
        .contender("serial", |iterations| crate::contenders::timed(iterations, || serial(black_box(N))))
        .contender("yield_join", |iterations| pools.time_ours(iterations, || ours_join(black_box(N))))
        .contender("yield_join, nested", |iterations| pools.time_nesting(iterations, || ours_join(black_box(N))))
        .contender("rayon join", |iterations| pools.time_rayon(iterations, || rayon_join(black_box(N))))
        .contender("chili join", |iterations| pools.time_chili(iterations, |scope| chili_join(scope, black_box(N))))
        .contender("tokio spawn one", |iterations| pools.time_tokio(iterations, || tokio_spawn_one(black_box(N))))
        .contender("may go one", |iterations| time_may(pools, iterations, may_go_one))
}

/// The two calls as a map over a vector of two.
pub(crate) fn by_map(pools: &Pools) -> Workload<'_> {
    Workload::new("fib, map of two", FORKS)
        .contender("serial", |iterations| crate::contenders::timed(iterations, || serial_map(black_box(N))))
        .contender("yield_taskmap", |iterations| pools.time_ours(iterations, || ours_map(black_box(N))))
        .contender("yield_taskmap, nested", |iterations| pools.time_nesting(iterations, || ours_map(black_box(N))))
        .contender("rayon par_iter", |iterations| pools.time_rayon(iterations, || rayon_map(black_box(N))))
        .contender("tokio spawn both", |iterations| pools.time_tokio(iterations, || tokio_spawn_both(black_box(N))))
        .contender("may go both", |iterations| time_may(pools, iterations, may_go_both))
}

fn serial(n: u32) -> u64 {
    if n < 2 {
        return n.into();
    }
    // Without the opaque argument the compiler turns one of the calls into a loop, which no contender can have.
    serial(black_box(n - 1)) + serial(black_box(n - 2))
}

fn serial_map(n: u32) -> u64 {
    if n < 2 {
        return n.into();
    }
    let results: Vec<u64> = vec![n - 1, n - 2].into_iter().map(serial_map).collect();
    black_box(results).iter().sum()
}

fn ours_join(n: u32) -> u64 {
    if n < 2 {
        return n.into();
    }
    let (a, b) = yield_join(|| ours_join(n - 1), || ours_join(n - 2));
    a + b
}

fn ours_map(n: u32) -> u64 {
    if n < 2 {
        return n.into();
    }
    yield_taskmap(ours_map, vec![n - 1, n - 2]).iter().sum()
}

fn rayon_join(n: u32) -> u64 {
    if n < 2 {
        return n.into();
    }
    let (a, b) = rayon::join(|| rayon_join(n - 1), || rayon_join(n - 2));
    a + b
}

fn rayon_map(n: u32) -> u64 {
    if n < 2 {
        return n.into();
    }
    let results: Vec<u64> = vec![n - 1, n - 2].into_par_iter().map(rayon_map).collect();
    results.iter().sum()
}

fn chili_join(scope: &mut chili::Scope<'_>, n: u32) -> u64 {
    if n < 2 {
        return n.into();
    }
    let (a, b) = scope.join(|scope| chili_join(scope, n - 1), |scope| chili_join(scope, n - 2));
    a + b
}

/// Spawns one call and awaits the other in place, which is the cheaper way to fork in tokio.
fn tokio_spawn_one(n: u32) -> BoxedFuture {
    Box::pin(async move {
        if n < 2 {
            return n.into();
        }
        let b = tokio::spawn(tokio_spawn_one(n - 2));
        let a = tokio_spawn_one(n - 1).await;
        a + b.await.expect("no task panics")
    })
}

fn tokio_spawn_both(n: u32) -> BoxedFuture {
    Box::pin(async move {
        if n < 2 {
            return n.into();
        }
        let mut sum = 0;
        for task in [n - 1, n - 2].map(|n| tokio::spawn(tokio_spawn_both(n))) {
            sum += task.await.expect("no task panics");
        }
        sum
    })
}

fn time_may(pools: &Pools, iterations: u64, fib: fn(u32) -> u64) -> Duration {
    pools.time_may(iterations, move || fib(black_box(MAY_N))).mul_f64(FORKS as f64 / MAY_FORKS as f64)
}

fn may_go_one(n: u32) -> u64 {
    if n < 2 {
        return n.into();
    }
    let b = may::go!(move || may_go_one(n - 2));
    let a = may_go_one(n - 1);
    a + b.join().expect("no coroutine panics")
}

fn may_go_both(n: u32) -> u64 {
    if n < 2 {
        return n.into();
    }
    let both = [n - 1, n - 2].map(|n| may::go!(move || may_go_both(n)));
    both.into_iter().map(|coroutine| coroutine.join().expect("no coroutine panics")).sum()
}
