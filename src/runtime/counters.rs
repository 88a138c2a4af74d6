//! What a worker counts.
//!
//! Each figure has one writer, the worker's thread, so counting is a load, an addition and a store, which is one instruction on
//! x86-64 and no locked one; any thread may read. The figures are not consistent with each other while the worker runs.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

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

    #[inline]
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
    /// Fibers that a fork switched to, up to the latest look, or the latest return to the loop.
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

/// The time spent in each phase, in nanoseconds. Written by the worker's thread.
#[derive(Debug)]
pub(super) struct PhaseClock {
    phases: [Spent; PHASES],
    /// The place of the phase that lasts.
    current: AtomicUsize,
}

/// The time spent in one phase: a number and, in the lowest bit, whether the phase lasts. If so, the number is short of the
/// time when the phase began, so that the time now makes up for that.
///
/// One word, so that whoever reads it while the phase ends counts what has passed of it once.
#[derive(Debug, Default)]
struct Spent(AtomicU64);

impl Spent {
    fn begin(&self, now: u64) {
        let spent = self.0.load(Ordering::Relaxed).wrapping_sub(now << 1);
        self.0.store(spent | 1, Ordering::Relaxed);
    }

    fn end(&self, now: u64) {
        let spent = self.0.load(Ordering::Relaxed).wrapping_add(now << 1);
        self.0.store(spent & !1, Ordering::Relaxed);
    }

    fn read(&self, now: u64) -> u64 {
        let word = self.0.load(Ordering::Relaxed);
        let number = word.cast_signed() >> 1;
        let spent = if word & 1 == 1 { number.saturating_add_unsigned(now) } else { number };
        // The phase may have begun after the time was taken.
        spent.max(0).cast_unsigned()
    }
}

impl Default for PhaseClock {
    /// A worker is busy from the start on.
    fn default() -> Self {
        let clock = Self { phases: Default::default(), current: AtomicUsize::new(Phase::Busy as usize) };
        clock.phases[Phase::Busy as usize].begin(0);
        clock
    }
}

impl PhaseClock {
    /// Notes that another phase begins. Called by the worker's thread.
    pub(super) fn enter(&self, phase: Phase, now: u64) {
        // ORDERING: Relaxed here and in `Spent`. Each phase is a counter of its own.
        self.phases[self.current.load(Ordering::Relaxed)].end(now);
        self.phases[phase as usize].begin(now);
        self.current.store(phase as usize, Ordering::Relaxed);
    }

    /// The time spent in each phase, the current one included.
    pub(super) fn read(&self, now: u64) -> [u64; PHASES] {
        [Phase::Busy, Phase::Searching, Phase::Parked].map(|phase| self.phases[phase as usize].read(now))
    }
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

    #[test]
    fn who_reads_while_the_phase_changes_counts_no_time_twice() {
        let clock = PhaseClock::default();
        let [busy, searching, _] = &clock.phases;
        assert_eq!(clock.read(100), [100, 0, 0]);
        busy.end(100);
        assert_eq!(clock.read(100), [100, 0, 0]);
        searching.begin(100);
        // The time may have been taken before.
        assert_eq!(clock.read(90), [100, 0, 0]);
        assert_eq!(clock.read(130), [100, 30, 0]);
    }
}
