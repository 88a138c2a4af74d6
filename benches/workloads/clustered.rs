//! One map whose heavy items lie together, where a division into even ranges goes wrong.

use super::busy::Pace;
use super::flat::over_items;
use crate::contenders::{Pools, Workload};

const ITEMS: usize = 1024;
const HEAVY_ITEMS: usize = 64;
const LIGHT_MICROSECONDS: f64 = 1.0;
const HEAVY_MICROSECONDS: f64 = 200.0;
/// One item of this length, as long as all others together.
const GIANT_MICROSECONDS: f64 = ITEMS as f64 * LIGHT_MICROSECONDS;

/// Where the heavy items are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heavy {
    AtTheStart,
    AtTheEnd,
    /// One giant, three quarters through.
    Giant,
}

impl Heavy {
    pub(crate) const ALL: [Self; 3] = [Self::AtTheStart, Self::AtTheEnd, Self::Giant];

    fn name(self) -> &'static str {
        match self {
            Self::AtTheStart => "clustered, heavy at the start",
            Self::AtTheEnd => "clustered, heavy at the end",
            Self::Giant => "clustered, one giant",
        }
    }

    fn microseconds(self, idx: usize) -> f64 {
        match self {
            Self::AtTheStart if idx < HEAVY_ITEMS => HEAVY_MICROSECONDS,
            Self::AtTheEnd if idx >= ITEMS - HEAVY_ITEMS => HEAVY_MICROSECONDS,
            Self::Giant if idx == ITEMS * 3 / 4 => GIANT_MICROSECONDS,
            _ => LIGHT_MICROSECONDS,
        }
    }
}

/// A map over light items, and heavy ones where `heavy` says.
pub(crate) fn items(pools: &Pools, pace: Pace, heavy: Heavy) -> Workload<'_> {
    over_items(heavy.name(), pools, ITEMS, move |idx| pace.leaf(heavy.microseconds(idx)).run())
}
