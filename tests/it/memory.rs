//! Memory: what suspended tasks take, and that it is given back.

use crate::deadline::{doing, wait_until, within_deadline};
use crate::processes::{alone, is_alone};
use std::fs;
use std::hint;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;
use yieldtasks::{Executor, ExecutorExt, FiberExecutor, Pinning, yield_join, yield_now, yield_taskmap};

const MEBIBYTE: usize = 1 << 20;

/// Tasks of a burst, and bytes of stack that each touches.
const BURST: usize = if cfg!(debug_assertions) { 4_000 } else { 10_000 };
const TOUCHED: usize = 32 * 1024;

fn fibers(workers: usize, stack_size: usize) -> FiberExecutor {
    FiberExecutor::builder().workers(workers).pinning(Pinning::None).stack_size(stack_size).build().unwrap()
}

/// Bytes of memory that this process has in use, without what is mapped from files.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("the tests read /proc");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("Linux tells the size");
    1024 * line.trim().trim_end_matches(" kB").parse::<usize>().unwrap()
}

#[inline(never)]
fn touch_stack() {
    hint::black_box([1_u8; TOUCHED]);
}

/// Has that many tasks suspended at a time, each having used some of its stack, and gives what was resident then.
fn burst(executor: &dyn Executor, tasks: usize, touch: fn()) -> usize {
    let (begun, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    executor.map(
        |_| {
            touch();
            if begun.fetch_add(1, Ordering::AcqRel) + 1 == tasks {
                most.store(resident(), Ordering::Release);
            }
            while most.load(Ordering::Acquire) == 0 {
                yield_now();
            }
        },
        0..tasks,
    );
    most.into_inner()
}

/// Checks that memory is near what it was before a burst, after a while in which `meanwhile` is called all the time.
fn gives_back(executor: &dyn Executor, meanwhile: impl Fn()) {
    burst(executor, 100, touch_stack);
    let before = resident();
    let during = burst(executor, BURST, touch_stack);
    assert!(during > before + BURST * TOUCHED, "{before} before, {during} during the burst");
    let allowed = before + (during - before) / 20;
    wait_until("the memory of a burst is given back", || resident() < allowed, &meanwhile);
}

#[test]
fn workers_that_sleep_give_the_memory_of_a_burst_back() {
    alone(&[], || {
        within_deadline(|| {
            for workers in [1, 2] {
                doing(&format!("{workers} workers"));
                let executor = fibers(workers, 256 * 1024);
                gives_back(&executor, || thread::sleep(Duration::from_millis(1)));
            }
        });
    });
}

#[test]
fn workers_with_roots_to_run_all_the_time_give_the_memory_of_a_burst_back() {
    alone(&[], || {
        within_deadline(|| {
            let executor = fibers(1, 256 * 1024);
            // The queue from outside is never empty, so that the worker never sleeps.
            let stop = AtomicBool::new(false);
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        while !stop.load(Ordering::Acquire) {
                            executor.map(|x| yield_taskmap(|y| x + y, 0..3), 0..100);
                        }
                    });
                }
                gives_back(&executor, || thread::sleep(Duration::from_millis(1)));
                stop.store(true, Ordering::Release);
            });
        });
    });
}

#[test]
fn a_task_that_maps_without_end_has_the_memory_of_a_burst_given_back() {
    alone(&[], || {
        within_deadline(|| {
            let executor = fibers(1, 256 * 1024);
            let keep_busy = || {
                for _ in 0..1000 {
                    yield_join(|| (), || ());
                }
            };
            executor.run(|| gives_back(&executor, keep_busy));
        });
    });
}

#[test]
fn a_deep_chain_gives_its_memory_back() {
    fn chain(depth: usize) -> usize {
        if depth == 0 { resident() } else { yield_join(|| chain(depth - 1), touch_stack).0 }
    }

    alone(&[], || {
        within_deadline(|| {
            let executor = fibers(1, 256 * 1024);
            executor.run(|| chain(100));
            let before = resident();
            let during = executor.run(|| chain(BURST));
            // The fibers of the short chain are there already.
            assert!(during > before + BURST * 4096 * 9 / 10, "{before} before, {during} during");
            let allowed = before + (during - before) / 10;
            wait_until("the chain's memory is given back", || resident() < allowed, thread::yield_now);
        });
    });
}

/// Very many tasks, each of them suspended on a stack with a guard of its own. By hand, with `YIELDTASKS_TEST_FIBERS`, a
/// million or more.
#[test]
fn two_hundred_thousand_guarded_fibers_are_suspended_at_once() {
    let tasks = std::env::var("YIELDTASKS_TEST_FIBERS").ok().and_then(|tasks| tasks.parse().ok());
    let tasks = tasks.unwrap_or(if cfg!(debug_assertions) { 40_000 } else { 200_000 });
    if !light_guards() {
        eprintln!("without MADV_GUARD_INSTALL, the limit of maps keeps the number of fibers near 32,000");
        return;
    }
    alone(&[("YIELDTASKS_TEST_FIBERS", &tasks.to_string())], move || {
        within_deadline(move || {
            let executor = fibers(1, 64 * 1024);
            let before = resident();
            let during = burst(&executor, tasks, || ());
            let each = (during - before) / tasks;
            eprintln!("{tasks} suspended fibers: {each} bytes each, {} maps", maps());
            assert!(each < 2 * 4096 + 512 && maps() < 1000);
            wait_until("the memory is given back", || resident() < before + 64 * MEBIBYTE, thread::yield_now);
        });
    });
}

/// Whether the kernel guards pages within a mapping: Linux 6.13 and later.
fn light_guards() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    (numbers.next(), numbers.next()) >= (Some(6), Some(13))
}

/// Memory maps of this process.
fn maps() -> usize {
    fs::read_to_string("/proc/self/maps").expect("the tests read /proc").lines().count()
}

#[test]
#[ignore = "needs valgrind, and some time"]
fn valgrind_follows_fibers_from_stack_to_stack() {
    if is_alone() {
        let executor = fibers(2, 256 * 1024);
        assert_eq!(executor.map(|x| yield_taskmap(|y| x + y, 0..3).iter().sum::<u32>(), 0..100).len(), 100);
        return;
    }
    let name = thread::current().name().expect("tests run on named threads").to_owned();
    let mut valgrind = Command::new("valgrind");
    valgrind.arg("--error-exitcode=9").arg(std::env::current_exe().unwrap());
    valgrind.args([&name, "--exact", "--ignored", "--test-threads=2"]).env("YIELDTASKS_TEST_ALONE", "1");
    let output = valgrind.output().expect("valgrind is installed");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !words.contains("client switching stacks"), "{words}");
}
