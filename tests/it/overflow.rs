//! Stacks that overflow, and other faults: each in a process of its own, which it ends.

use crate::deep_stack::use_stack_from_here;
use crate::processes::{is_alone, run_alone};
use std::hint;
use std::os::unix::process::ExitStatusExt;
use std::thread;
use yieldtasks::{ExecutorExt, FiberExecutor, Pinning, taskmap, yield_join, yield_taskmap, yield_taskwrap};

const ABORTED: i32 = 6;
const SEGMENTATION_FAULT: i32 = 11;

fn overflow() {
    use_stack_from_here(1 << 40);
}

fn fibers(workers: usize, stack_size: usize) -> FiberExecutor {
    FiberExecutor::builder().workers(workers).pinning(Pinning::None).stack_size(stack_size).build().unwrap()
}

/// Runs `body` in a process of its own, which it ends by that signal, and gives what the process said at the end.
#[track_caller]
fn dying_words(signal: i32, body: impl FnOnce()) -> String {
    if is_alone() {
        body();
        return String::new();
    }
    let output = run_alone(&[]);
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.signal(), Some(signal), "{:?}\n{words}", output.status);
    words
}

/// Checks that a process which dies of `body` names the overflow of a stack of that size.
#[track_caller]
fn names_the_overflow(kibibytes: usize, body: impl FnOnce()) {
    let words = dying_words(ABORTED, body);
    let said = format!(" overflowed its stack of {kibibytes} KiB (FiberExecutor::builder().stack_size(..))\n");
    assert!(is_alone() || words.ends_with(&said), "{words}");
}

#[test]
fn a_task_that_overflows_its_stack_says_so_and_aborts() {
    names_the_overflow(64, || fibers(1, 64 * 1024).run(overflow));
}

#[test]
fn an_overflow_is_told_with_the_path_of_its_task() {
    let words = dying_words(ABORTED, || {
        let executor = fibers(1, 64 * 1024);
        let outer = |x: usize| {
            drop(
                taskmap(
                    |y| {
                        if x + y == 5 {
                            overflow()
                        }
                    },
                    0..3,
                )
                .name("inner")
                .run(),
            )
        };
        executor.taskmap(outer, 0..4).name("outer").run();
    });
    assert!(is_alone() || words.contains("\ntask outer[3] > inner[2] overflowed its stack of 64 KiB"), "{words}");
}

#[test]
fn an_overflow_of_the_default_stack_is_named() {
    names_the_overflow(2048, || {
        FiberExecutor::builder().workers(2).build().unwrap().run(overflow);
    });
}

#[test]
fn an_overflow_deep_in_a_nest_is_named() {
    names_the_overflow(128, || {
        fibers(2, 128 * 1024).run(|| {
            yield_taskmap(
                |x| {
                    yield_join(
                        || {
                            yield_taskwrap(|| {
                                if x == 77 {
                                    overflow()
                                }
                            })
                        },
                        || (),
                    )
                },
                0..100,
            );
        });
    });
}

#[test]
fn an_overflow_after_other_executors_have_come_and_gone_is_named() {
    names_the_overflow(32, || {
        for _ in 0..50 {
            fibers(2, 1 << 20).run(|| yield_taskmap(|x| x, 0..100));
        }
        let kept = fibers(1, 256 * 1024);
        let executor = fibers(1, 32 * 1024);
        kept.run(|| executor.run(overflow));
    });
}

#[test]
fn an_overflow_by_large_frames_is_named() {
    #[inline(never)]
    fn large(depth: usize) -> usize {
        let frame = hint::black_box([1_u8; 20_000]);
        if depth == 0 { 0 } else { large(depth - 1) + usize::from(hint::black_box(&frame)[depth % 20_000]) }
    }

    names_the_overflow(512, || {
        fibers(1, 512 * 1024).run(|| large(1_000_000));
    });
}

#[test]
fn an_overflow_on_a_thread_is_left_to_the_standard_library() {
    let words = dying_words(ABORTED, || {
        let executor = fibers(1, 64 * 1024);
        assert_eq!(executor.run(|| 1), 1);
        thread::Builder::new().name("plain".to_owned()).spawn(overflow).unwrap().join().unwrap();
    });
    assert!(is_alone() || words.contains("thread 'plain'") && words.contains("has overflowed its stack"), "{words}");
    assert!(!words.contains("FiberExecutor"), "{words}");
}

#[test]
fn a_wild_pointer_in_a_task_is_a_segmentation_fault() {
    let words = dying_words(SEGMENTATION_FAULT, || {
        fibers(1, 64 * 1024).run(|| {
            let nowhere: *const u8 = std::ptr::without_provenance(16);
            #[expect(unsafe_code, reason = "the fault is what is tested")]
            // SAFETY: none; the process dies of it.
            unsafe {
                nowhere.read_volatile()
            }
        });
    });
    assert!(!words.contains("overflowed"), "{words}");
}

#[test]
fn a_task_may_use_nearly_all_of_its_stack_as_a_thread_may() {
    const STACK: usize = 2 << 20;
    const USED: usize = STACK - 32 * 1024;
    let on_thread = thread::Builder::new().stack_size(STACK).spawn(|| use_stack_from_here(USED)).unwrap();
    assert_eq!(fibers(1, STACK).run(|| use_stack_from_here(USED)), on_thread.join().unwrap());
}
