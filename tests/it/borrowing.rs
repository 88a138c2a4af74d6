//! Functions, items and results may borrow from the caller's stack.

use crate::backends::on_every_backend;
use crate::deadline::within_deadline;
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use yieldtasks::{ExecutorExt, yield_join, yield_starmap, yield_taskmap, yield_taskwrap};

#[test]
fn functions_borrow_from_the_caller() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let words = ["a".to_owned(), "bc".to_owned(), "def".to_owned()];
            let calls = AtomicUsize::new(0);
            let lengths = executor.map(
                |idx: usize| {
                    calls.fetch_add(1, Ordering::Relaxed);
                    let word = &words[idx];
                    yield_taskmap(|letter| (word.len(), letter), word.chars())
                },
                0..3,
            );
            assert_eq!(lengths[2], [(3, 'd'), (3, 'e'), (3, 'f')]);
            assert_eq!(calls.into_inner(), 3);
        });
    });
}

#[test]
fn mutable_chunks_of_one_vector_are_filled_side_by_side() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let mut numbers = vec![0; 60];
            let fill = |(row, chunk): (usize, &mut [usize])| {
                let halves = chunk.chunks_mut(5).enumerate();
                yield_taskmap(
                    |(half, cells): (usize, &mut [usize])| {
                        cells.iter_mut().enumerate().for_each(|(column, cell)| *cell = 10 * row + 5 * half + column);
                    },
                    halves,
                );
                chunk.len()
            };
            assert_eq!(executor.map(fill, numbers.chunks_mut(10).enumerate()), [10; 6]);
            assert_eq!(numbers, (0..60).collect::<Vec<_>>());
            executor.run(|| yield_taskmap(|cell: &mut usize| *cell += 1, &mut numbers));
            assert_eq!(numbers, (1..61).collect::<Vec<_>>());
        });
    });
}

#[test]
fn results_borrow_from_the_items() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let text = String::from("the quick brown fox");
            let first_letters: Vec<&str> = executor.map(|word: &str| &word[..1], text.split(' '));
            assert_eq!(first_letters, ["t", "q", "b", "f"]);
            let last: &str = executor.run(|| text.split(' ').next_back().unwrap());
            assert_eq!(last, "fox");
        });
    });
}

#[test]
fn both_sides_of_a_join_change_what_is_the_callers() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let (mut evens, mut odds) = (Vec::new(), Vec::new());
            executor.run(|| {
                yield_join(|| evens.extend([0, 2, 4]), || odds.extend([1, 3, 5]));
                yield_taskwrap(|| evens.append(&mut odds));
            });
            assert_eq!(evens, [0, 2, 4, 1, 3, 5]);
            assert!(odds.is_empty());
        });
    });
}

#[test]
fn functions_called_once_may_own_what_they_use() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let (left, right, whole) = (vec![1], vec![2], String::from("whole"));
            let ((left, right), whole) = executor.run(move || {
                let halves = yield_join(move || left, move || right);
                (halves, yield_taskwrap(move || whole))
            });
            assert_eq!((left, right, whole.as_str()), (vec![1], vec![2], "whole"));
        });
    });
}

#[test]
fn tuples_of_borrows_are_spread() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let names = ["x", "y"];
            let mut counts = [0; 2];
            let pairs = names.iter().zip(counts.iter_mut());
            executor.starmap(|name: &&str, count: &mut usize| *count = name.len(), pairs);
            assert_eq!(counts, [1, 1]);
            let sums = executor.run(|| yield_starmap(|a: &usize, b: &usize| a + b, counts.iter().zip(&counts)));
            assert_eq!(sums, [2, 2]);
        });
    });
}

#[test]
fn items_that_only_one_thread_may_use_at_a_time_are_sent() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let cells: Vec<Cell<u32>> = (0..20).map(Cell::new).collect();
            let back = executor.map(
                |cell: Cell<u32>| {
                    cell.set(cell.get() * 2);
                    cell
                },
                cells,
            );
            assert_eq!(
                back.into_iter().map(Cell::into_inner).collect::<Vec<_>>(),
                (0..40).step_by(2).collect::<Vec<_>>()
            );
        });
    });
}

#[test]
fn a_grandchild_borrows_through_every_frame_above_it() {
    fn deepen(frames: &[&AtomicUsize], depth: usize) {
        let own = AtomicUsize::new(0);
        let mut frames = frames.to_vec();
        frames.push(&own);
        if depth == 0 {
            frames.iter().for_each(|frame| {
                frame.fetch_add(1, Ordering::Relaxed);
            });
        } else {
            yield_taskmap(|_| deepen(&frames, depth - 1), 0..2);
        }
        assert_eq!(own.into_inner(), 1 << depth);
    }

    within_deadline(|| on_every_backend(|executor| executor.run(|| deepen(&[], 4))));
}
