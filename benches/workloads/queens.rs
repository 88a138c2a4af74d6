//! The number of ways to put queens on a board so that none attacks another, one task per queen placed.

use crate::contenders::{Pools, Workload, timed};
use rayon::prelude::*;
use std::hint::black_box;
use yieldtasks::yield_taskmap;

const SIZE: u32 = 11;
/// Ways to fill the board, and queens placed on the way.
const SOLUTIONS: u64 = 2_680;
const PLACEMENTS: u64 = 166_925;

/// The rows filled so far: which columns are taken, and which the diagonals take in the next row.
#[derive(Clone, Copy, Debug)]
struct Board {
    rows: u32,
    columns: u32,
    falling: u32,
    rising: u32,
}

const EMPTY: Board = Board { rows: 0, columns: 0, falling: 0, rising: 0 };

/// Counts the solutions.
pub(crate) fn count(pools: &Pools) -> Workload<'_> {
    let check = |solutions: u64| assert_eq!(solutions, SOLUTIONS, "the number of solutions is known");
    Workload::new("queens, 11 by 11", PLACEMENTS)
        .contender("serial", move |iterations| timed(iterations, || check(black_box(EMPTY).serial())))
        .contender("yield_taskmap", move |iterations| pools.time_ours(iterations, || check(black_box(EMPTY).ours())))
        .contender("rayon par_iter", move |iterations| pools.time_rayon(iterations, || check(black_box(EMPTY).rayon())))
        .contender("rayon with_max_len(1)", move |iterations| {
            pools.time_rayon(iterations, || check(black_box(EMPTY).rayon_single()))
        })
        .contender("chili halves", move |iterations| {
            pools.time_chili(iterations, |scope| check(black_box(EMPTY).chili(scope)))
        })
}

impl Board {
    /// The boards with one queen more.
    fn successors(self) -> Vec<Self> {
        let free = !(self.columns | self.falling | self.rising) & ((1 << SIZE) - 1);
        let columns = (0..SIZE).map(|column| 1 << column).filter(|column| free & column != 0);
        columns.map(|column| self.with_queen_at(column)).collect()
    }

    fn with_queen_at(self, column: u32) -> Self {
        Self {
            rows: self.rows + 1,
            columns: self.columns | column,
            falling: (self.falling | column) << 1,
            rising: (self.rising | column) >> 1,
        }
    }

    fn is_full(self) -> bool {
        self.rows == SIZE
    }

    fn serial(self) -> u64 {
        if self.is_full() { 1 } else { self.successors().into_iter().map(Self::serial).sum() }
    }

    fn ours(self) -> u64 {
        if self.is_full() { 1 } else { yield_taskmap(Self::ours, self.successors()).iter().sum() }
    }

    fn rayon(self) -> u64 {
        if self.is_full() { 1 } else { self.successors().into_par_iter().map(Self::rayon).sum() }
    }

    fn rayon_single(self) -> u64 {
        if self.is_full() {
            return 1;
        }
        self.successors().into_par_iter().with_max_len(1).map(Self::rayon_single).sum()
    }

    fn chili(self, scope: &mut chili::Scope<'_>) -> u64 {
        if self.is_full() { 1 } else { sum_in_halves(scope, &self.successors()) }
    }
}

fn sum_in_halves(scope: &mut chili::Scope<'_>, boards: &[Board]) -> u64 {
    match boards {
        [] => 0,
        [board] => board.chili(scope),
        _ => {
            let (left, right) = boards.split_at(boards.len() / 2);
            let (a, b) = scope.join(|scope| sum_in_halves(scope, left), |scope| sum_in_halves(scope, right));
            a + b
        }
    }
}
