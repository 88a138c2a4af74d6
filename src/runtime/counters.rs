//! What a worker counts.
//!
//! Each figure has one writer, the worker's thread, so counting is a load, an addition and a store, which is one instruction on
//! x86-64 and no locked one; any thread may read. The figures are not consistent with each other while the worker runs.

use std::sync::atomic::{AtomicU64, Ordering, fence};

/// A number that one thread writes and any reads.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    /// Called by the one writer.
    #[inline]
    pub(super) fn add(&self, more: u64) {
        // ORDERING: Relaxed here and in `get`. The counter only counts.
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What one worker counts.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Tasks that ended, counted when the fiber that ran them comes back.
    pub(super) tasks: Counter,
    /// Fibers that the loop switched to.
    pub(super) switches: Counter,
    /// Fibers that a fork switched to, up to the latest look.
    pub(super) direct_starts: Counter,
    /// Fibers that were put into the queue of ready fibers.
    pub(super) readied: Counter,
    /// Fibers that were resumed from there.
    pub(super) ready_resumes: Counter,
    pub(super) steals: Counter,
    /// Rounds over the other workers that found nothing.
    pub(super) failed_steals: Counter,
    pub(super) parks: Counter,
    pub(super) clock: PhaseClock,
}

/// What a worker's time is spent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Tasks, and what it takes to run them.
    Busy,
    /// Looking for work.
    Searching,
    Parked,
}

const PHASES: usize = 3;
/// The low bits of a word that say which phase it is.
const PHASE_BITS: u32 = 2;

/// The time spent in each phase, in nanoseconds. Written by the worker's thread.
#[derive(Debug, Default)]
pub(super) struct PhaseClock {
    /// When the phase began, shifted by the bits of the phase.
    current: AtomicU64,
    /// Changed before `current` is, so that who reads both, and `current` again, knows whether they belong together.
    spent: [Counter; PHASES],
}

impl PhaseClock {
    /// Notes that another phase begins. Called by the worker's thread.
    pub(super) fn enter(&self, phase: Phase, now: u64) {
        let (since, former) = split(self.current.load(Ordering::Relaxed));
        self.spent[former].add(now.saturating_sub(since));
        // ORDERING: Release publishes the time spent; pairs with `read`.
        self.current.store(now << PHASE_BITS | phase as u64, Ordering::Release);
    }

    /// The time spent in each phase, the current one included.
    pub(super) fn read(&self, now: u64) -> [u64; PHASES] {
        loop {
            // ORDERING: Acquire pairs with `enter`, and the fence keeps the second look behind the others.
            let before = self.current.load(Ordering::Acquire);
            let mut spent = [0, 1, 2].map(|phase| self.spent[phase].get());
            fence(Ordering::Acquire);
            let (since, phase) = split(before);
            if self.current.load(Ordering::Relaxed) == before {
                spent[phase] += now.saturating_sub(since);
                return spent;
            }
        }
    }
}

fn split(word: u64) -> (u64, usize) {
    let phase = (word & ((1 << PHASE_BITS) - 1)) as usize;
    (word >> PHASE_BITS, phase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_nanosecond_belongs_to_one_phase() {
        let clock = PhaseClock::default();
        clock.enter(Phase::Busy, 100);
        clock.enter(Phase::Searching, 250);
        clock.enter(Phase::Parked, 260);
        clock.enter(Phase::Searching, 1260);
        let [busy, searching, parked] = clock.read(1300);
        assert_eq!((busy - 100, searching, parked), (150, 50, 1000));
    }
}
