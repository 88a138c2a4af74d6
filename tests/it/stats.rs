//! The figures of an executor.

use crate::backends::{WORKERS, fibers, fibers_for_a_call};
use crate::deadline::{Flag, doing, spin_until, wait_until, within_deadline};
use std::hint;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use yieldtasks::sync::Event;
use yieldtasks::{
    Executor, ExecutorExt, FiberExecutor, Stats, sleep, yield_join, yield_now, yield_scope, yield_taskmap,
    yield_taskwrap,
};

/// The figures after the workers have come to rest.
fn at_rest(executor: &FiberExecutor) -> Stats {
    let mut before = executor.stats();
    let settled = || executor.stats().live_fibers() == 0;
    wait_until("no task is live", settled, thread::yield_now);
    loop {
        thread::sleep(Duration::from_millis(5));
        let after = executor.stats();
        let sum = |stats: &Stats| stats.workers.iter().map(|worker| worker.parks + worker.switches).sum::<u64>();
        if sum(&before) == sum(&after) {
            return after;
        }
        before = after;
    }
}

#[test]
fn every_task_is_counted_once() {
    within_deadline(|| {
        for workers in WORKERS {
            doing(&format!("{workers} workers"));
            let executor = fibers(workers);
            assert_eq!(executor.stats().tasks(), 0);
            let counted = |expected: u64| {
                let tasks = at_rest(&executor).tasks();
                assert_eq!(tasks, expected);
            };
            executor.map(|x| yield_taskmap(|y| yield_taskwrap(|| x + y), 0..10), 0..10);
            counted(10 + 100 + 100);
            executor.run(|| yield_join(yield_now, || sleep(Duration::from_millis(1))));
            counted(210 + 3);
            executor.submit(|| ()).join().unwrap();
            counted(214);
            executor.run(|| yield_scope(|s| (0..5).for_each(|_| drop(s.spawn(|| yield_taskwrap(|| ()))))));
            counted(215 + 10);
            executor.map(|_| (), 0..100_000);
            counted(100_225);
        }
    });
}

#[test]
fn tasks_that_run_inline_are_counted_and_so_are_their_batches() {
    within_deadline(|| {
        let executor = FiberExecutor::builder().workers(1).max_fibers(1).build().unwrap();
        executor.map(|x| yield_taskmap(|y| x + y, 0..10), 0..10);
        let stats = at_rest(&executor);
        assert_eq!((stats.tasks(), stats.inline_batches), (110, 10));
        assert!(stats.to_string().ends_with(": 10"), "{stats}");
        assert_eq!(stats.peak_fibers(), 1);
    });
}

#[test]
fn steals_parks_and_resumes_are_counted() {
    within_deadline(|| {
        for workers in WORKERS {
            doing(&format!("{workers} workers"));
            let executor = fibers(workers);
            let have_parked = || executor.stats().workers.iter().all(|worker| worker.parks >= 1 && worker.tasks == 0);
            wait_until("the workers park", have_parked, thread::yield_now);
            // As many tasks as workers, which wait for each other: all but one are stolen or injected.
            let inside = AtomicUsize::new(0);
            let meet = |_: usize| {
                inside.fetch_add(1, Ordering::AcqRel);
                spin_until("all are there", || inside.load(Ordering::Acquire) == workers);
            };
            executor.run(|| yield_taskmap(meet, 0..workers));
            let stats = at_rest(&executor);
            let steals: u64 = stats.workers.iter().map(|worker| worker.steals).sum();
            assert!(steals >= workers as u64 - 1, "{stats}");
            assert!(stats.workers.iter().all(|worker| worker.tasks >= 1), "{stats}");
        }
        // The first task waits, so the second is started by the loop, and the parent waits as well.
        let executor = fibers(1);
        for _ in 0..10 {
            let event = Event::new();
            executor.run(|| yield_join(|| event.wait(), || event.set()));
        }
        let stats = at_rest(&executor);
        assert_eq!(stats.workers[0].ready_resumes, 20, "{stats}");
    });
}

#[test]
fn a_fork_that_leaves_its_tasks_to_the_loop_counts_no_switch_of_its_own() {
    within_deadline(|| {
        const ROUNDS: u64 = 1500;
        let executor = fibers(1);
        let before = at_rest(&executor).workers[0].switches;
        for _ in 0..ROUNDS {
            let event = Event::new();
            let sets = || {
                event.set();
                // The other is ready by now and goes first.
                yield_taskwrap(|| ());
            };
            executor.run(|| yield_join(|| event.wait(), sets));
        }
        let switches = at_rest(&executor).workers[0].switches - before;
        // By the loop: to the root, to the one that sets, to the one that waits, to the task of the former, back to it, and to the root;
        // by the fork: to the one that waits.
        assert!((ROUNDS * 7..ROUNDS * 7 + 5).contains(&switches), "{switches}");
    });
}

#[test]
fn every_fork_is_a_switch() {
    within_deadline(|| {
        let executor = fibers(1);
        let before = at_rest(&executor).workers[0].switches;
        executor.run(|| (0..5000).for_each(|_| _ = yield_join(|| (), || ())));
        let stats = at_rest(&executor);
        // The root's start is one, and the looks that are due every so many forks add a few.
        assert!((5001..5101).contains(&(stats.workers[0].switches - before)), "{stats}");
        let before = stats.workers[0].switches;
        let yields = || (0..1000).for_each(|_| yield_now());
        executor.run(|| yield_join(yields, yields));
        let switches = at_rest(&executor).workers[0].switches - before;
        assert!((1990..2110).contains(&switches), "{switches}");
    });
}

#[test]
fn time_is_busy_searching_or_parked() {
    within_deadline(|| {
        for workers in WORKERS {
            let before = Instant::now();
            let executor = fibers(workers);
            let built = Instant::now();
            executor.map(
                |_| {
                    let began = Instant::now();
                    while began.elapsed() < Duration::from_millis(30) {
                        hint::spin_loop();
                    }
                },
                0..workers,
            );
            let (at_least, stats, at_most) = (built.elapsed(), executor.stats(), before.elapsed());
            for worker in &stats.workers {
                let sum = worker.busy + worker.searching + worker.parked;
                assert!(
                    at_least <= sum + Duration::from_millis(1) && sum <= at_most,
                    "{at_least:?}, {at_most:?}\n{stats}"
                );
            }
            let busy: Duration = stats.workers.iter().map(|worker| worker.busy).sum();
            assert!(busy >= Duration::from_millis(30), "{stats}");
            let parked = |stats: &Stats| stats.workers.iter().map(|worker| worker.parked).min().unwrap();
            let before = parked(&at_rest(&executor));
            wait_until("parked time goes on", || parked(&executor.stats()) > before, thread::yield_now);
        }
    });
}

#[test]
fn live_fibers_are_those_of_unfinished_tasks() {
    within_deadline(|| {
        for workers in WORKERS {
            doing(&format!("{workers} workers"));
            let executor = fibers(workers);
            let go_on = Event::new();
            thread::scope(|scope| {
                scope.spawn(|| executor.run(|| yield_taskmap(|_| yield_taskwrap(|| go_on.wait()), 0..50)));
                wait_until("all of them wait", || executor.stats().live_fibers() == 101, thread::yield_now);
                go_on.set();
            });
            let stats = at_rest(&executor);
            assert_eq!(stats.live_fibers(), 0);
            assert!((101..101 + 2 * workers).contains(&stats.peak_fibers()), "{stats}");
        }
    });
}

/// As many tasks of each level as there are levels below it, in an order that changes.
fn irregular(levels: usize, seed: usize) -> usize {
    if levels == 0 {
        return seed % 3;
    }
    let below = |x: usize| irregular(levels - 1 - x % 2.min(levels), seed.wrapping_mul(31).wrapping_add(x));
    yield_taskmap(below, 0..seed % 5 + 1).into_iter().sum()
}

fn fib(n: usize) -> usize {
    if n < 2 {
        return n;
    }
    let (a, b) = yield_join(|| fib(n - 1), || fib(n - 2));
    a + b
}

#[test]
fn peak_fibers_stay_near_workers_times_depth() {
    fn chain(depth: usize) -> usize {
        if depth == 0 { 0 } else { yield_join(|| chain(depth - 1), || 1).0 + 1 }
    }

    within_deadline(|| {
        type Workload = (&'static str, usize, fn(usize));
        let workloads: [Workload; 3] = [
            ("fork", 24, |n| _ = fib(n)),
            ("irregular", 9, |levels| (0..40).for_each(|seed| _ = irregular(levels, seed))),
            ("chain", 2000, |depth| _ = chain(depth)),
        ];
        for workers in WORKERS {
            for (name, depth, work) in workloads {
                doing(&format!("{name} on {workers} workers"));
                let executor = fibers(workers);
                executor.map(|_| work(depth), 0..workers);
                let stats = executor.stats();
                // The root and the leaves are levels as well. Twice, because a ready parent may wait for a worker that waits for a core.
                let most = 2 * workers * (depth + 2);
                assert!(stats.peak_fibers() <= most, "{name}: {} > {most}\n{stats}", stats.peak_fibers());
                assert!(stats.peak_fibers() >= depth.min(9), "{name}\n{stats}");
            }
        }
    });
}

#[test]
fn tasks_that_are_submitted_together_are_not_all_live_together() {
    within_deadline(|| {
        const TASKS: usize = 400;
        const DEPTH: usize = 18;
        for workers in WORKERS {
            doing(&format!("{workers} workers"));
            let executor = fibers(workers);
            let handles: Vec<_> = (0..TASKS).map(|_| executor.submit(|| fib(DEPTH))).collect();
            handles.into_iter().for_each(|handle| assert_eq!(handle.join().unwrap(), 2584));
            let peak = executor.stats().peak_fibers();
            assert!(peak <= 10 * workers * DEPTH, "{peak} of the fibers of {TASKS} tasks on {workers} workers");
        }
    });
}

/// Uses that many bytes of the stack.
fn use_stack(bytes: usize) {
    let frame = hint::black_box([1_u8; 4096]);
    if bytes > frame.len() {
        use_stack(bytes - frame.len());
    }
    hint::black_box(&frame);
}

#[test]
fn the_deepest_stack_is_told_also_after_its_memory_was_given_back() {
    within_deadline(|| {
        for workers in WORKERS {
            doing(&format!("{workers} workers"));
            const KIB: usize = 1024;
            let executor = FiberExecutor::builder().workers(workers).stack_size(1024 * KIB).build().unwrap();
            executor.run(|| ());
            let low = executor.stats();
            assert!((4 * KIB..128 * KIB).contains(&low.stack_high_water), "{low}");
            assert!(low.stack_reserved >= workers * 1024 * KIB && low.stack_resident < low.stack_reserved);
            executor.run(|| use_stack(300 * KIB));
            let high = executor.stats();
            assert!((300 * KIB..800 * KIB).contains(&high.stack_high_water), "{high}");
            // In a fiber of a burst, which is retired, or among the few that are kept.
            const BURST: usize = 1000;
            let go_on = Event::new();
            let task = |x: usize| {
                if x == 150 {
                    use_stack(500 * KIB);
                }
                go_on.wait();
            };
            let half = thread::scope(|scope| {
                scope.spawn(|| executor.map(task, 0..BURST));
                wait_until("all of them wait", || executor.stats().live_fibers() == BURST, thread::yield_now);
                let during = executor.stats();
                assert!(during.stack_resident >= BURST * 4 * KIB, "{during}");
                go_on.set();
                during.stack_resident / 2
            });
            let few = || executor.stats().stack_resident < half;
            wait_until("most of the memory is given back", few, thread::yield_now);
            let after = executor.stats();
            assert!(after.stack_high_water >= 500 * KIB, "{after}");
        }
    });
}

#[test]
fn figures_outlive_the_workers() {
    within_deadline(|| {
        for workers in WORKERS {
            let executor = fibers(workers);
            executor.map(|x| x, 0..10);
            executor.shutdown();
            let stats = executor.stats();
            assert_eq!((stats.tasks(), stats.live_fibers(), stats.stack_reserved), (10, 0, 0));
            assert_eq!(stats.to_string().lines().count(), workers + 4);
            let per_call = fibers_for_a_call(workers);
            assert_eq!(per_call.stats().workers.len(), 0);
            let flag = Flag::new();
            thread::scope(|scope| {
                scope.spawn(|| per_call.run(|| flag.spin("the test goes on")));
                wait_until("the call runs", || per_call.stats().live_fibers() == 1, thread::yield_now);
                assert_eq!(per_call.stats().workers.len(), workers);
                flag.raise();
            });
        }
    });
}
