//! Looking for work elsewhere, and going to sleep.

use super::{Phase, Worker};
use crate::batch::Header;
use crate::runtime::deque::{Injector, Job, Steal};
use crate::runtime::fiber_pool::KEPT_FIBERS;
use crate::runtime::idle::Awake;
use std::hint;
use std::thread;
use std::time::{Duration, Instant};

/// How often a worker looks around before it goes to sleep.
const LOOKS_BEFORE_SLEEP: u32 = 40;
/// The first looks are spent spinning, each twice as long as the one before, the others giving way to other threads.
const SPINNING_LOOKS: u32 = 7;
/// So many looks go by before the worker takes from others what it was not handed. A theft interrupts the victim, and a victim that
/// forks all the time hands something over long before.
const LOOKS_BEFORE_THEFT: u32 = 5;

/// A theft costs thief and victim some microseconds. A job that lasted less than this was not worth it.
const WORTH_STEALING: Duration = Duration::from_micros(10);
/// How long a thief waits before it steals again after a theft that was not worth it. Doubles each time in a row, up to
/// [`MOST_RELUCTANT`] times.
const FIRST_WAIT: Duration = Duration::from_micros(1);
const MOST_RELUCTANT: u32 = 4;

/// How a worker's thefts have turned out of late.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Thefts {
    /// When the latest theft succeeded, if the job has not been judged yet.
    latest: Option<Instant>,
    /// Thefts in a row that were not worth it.
    reluctance: u32,
}

impl Thefts {
    /// Judges the job of the latest theft, now that the worker is idle again, and tells how long to wait before the next.
    fn wait(&mut self) -> Option<Duration> {
        if let Some(stolen) = self.latest.take() {
            let was_worth_it = stolen.elapsed() >= WORTH_STEALING;
            self.reluctance = if was_worth_it { 0 } else { MOST_RELUCTANT.min(self.reluctance + 1) };
        }
        (self.reluctance > 0).then(|| FIRST_WAIT * (1 << self.reluctance))
    }
}

impl Worker {
    /// Takes a job from outside, or one that a worker handed to whoever searches.
    pub(super) fn take_injected(&self) -> Option<Job<Header>> {
        if let Some(job) = take_from(&self.shared.injector) {
            return Some(job);
        }
        if let Some(job) = take_from(&self.shared.handed) {
            self.note_theft();
            return Some(job);
        }
        self.shared.kin.take()
    }

    fn note_theft(&self) {
        self.counters.steals.add(1);
        self.thefts.set(Thefts { latest: Some(Instant::now()), ..self.thefts.get() });
    }

    /// Tries every other worker once, from a random one on, and again as long as one of them says so.
    pub(super) fn steal(&self) -> Option<Job<Header>> {
        let seats = self.shared.workers();
        loop {
            let mut retry = false;
            let start = self.next_random() % seats;
            for victim in (0..seats).map(|step| (start + step) % seats).filter(|&victim| victim != self.index) {
                match self.shared.stealer(victim).steal() {
                    Steal::Success(job) => {
                        self.note_theft();
                        return Some(job);
                    }
                    Steal::Empty => {}
                    Steal::Retry => retry = true,
                }
            }
            if !retry {
                self.counters.failed_steals.add(1);
                return None;
            }
            hint::spin_loop();
        }
    }

    /// Tries the other workers if it may.
    pub(super) fn search_once(&self) -> Option<Job<Header>> {
        if !self.shared.idle.start_searching() {
            return None;
        }
        let found = self.steal();
        self.shared.idle.stop_searching(|| self.is_work_left());
        found
    }

    /// Looks for work everywhere, briefly, and then sleeps. `Some(None)` if a fiber may be ready, `None` if the runtime
    /// has ended.
    pub(super) fn search(&self) -> Option<Option<Job<Header>>> {
        self.enter_phase(Phase::Searching);
        let found = self.search_and_sleep();
        self.enter_phase(Phase::Busy);
        found
    }

    /// See [`search`](Self::search).
    fn search_and_sleep(&self) -> Option<Option<Job<Header>>> {
        let idle = &self.shared.idle;
        let mut state = Awake::Plain;
        loop {
            if state == Awake::Plain && idle.start_searching() {
                state = Awake::Searching;
            }
            let found = self.look_around(state);
            if self.shared.gate.is_done() {
                return None;
            }
            if found.is_some() || self.has_ready() {
                if state == Awake::Searching {
                    idle.stop_searching(|| self.is_work_left());
                }
                return Some(found);
            }
            let keep = if self.shared.fiber_limit().is_reached() { 1 } else { KEPT_FIBERS };
            self.fibers.trim(self, keep, || self.is_anything_left());
            idle.announce(self.index, state);
            state = if self.is_anything_left() { idle.retract(self.index) } else { self.park() };
        }
    }

    /// Parks until somebody wakes this worker.
    fn park(&self) -> Awake {
        self.counters.parks.add(1);
        self.enter_phase(Phase::Parked);
        let awake = self.shared.idle.park(self.index);
        self.enter_phase(Phase::Searching);
        awake
    }

    /// Looks at what was brought from outside or handed over, and, if this worker counts as searching, at the other workers, several
    /// times.
    fn look_around(&self, state: Awake) -> Option<Job<Header>> {
        self.hesitate();
        match state {
            Awake::Searching => self.shared.idle.while_waiting(|| self.look_repeatedly(state)),
            Awake::Plain => self.look_repeatedly(state),
        }
    }

    fn look_repeatedly(&self, state: Awake) -> Option<Job<Header>> {
        for look in 0..LOOKS_BEFORE_SLEEP {
            if self.has_ready() || self.shared.gate.is_done() {
                return None;
            }
            if let Some(job) = self.take_injected() {
                return Some(job);
            }
            if state == Awake::Searching
                && look >= LOOKS_BEFORE_THEFT
                && let Some(job) = self.steal()
            {
                return Some(job);
            }
            if look < SPINNING_LOOKS {
                (0..1 << look).for_each(|_| hint::spin_loop());
            } else {
                // Another thread may wait for this core, perhaps the very one that has the next piece of work.
                thread::yield_now();
            }
        }
        None
    }

    /// Hands the oldest job to a worker that waits for one: lays it where all look, this worker included.
    #[cold]
    #[inline(never)]
    pub(super) fn hand_over(&self) {
        if self.nest.is_none()
            && self.shared.handed.is_empty()
            && let Some(job) = self.deque.give()
        {
            self.shared.handed.push(job);
            self.shared.idle.notify_from_outside(None);
        }
    }

    /// Waits a little before the next theft if the latest were not worth their cost, unless something else comes up.
    fn hesitate(&self) {
        let mut thefts = self.thefts.get();
        let wait = thefts.wait();
        self.thefts.set(thefts);
        if let Some(wait) = wait {
            let began = Instant::now();
            while began.elapsed() < wait
                && !self.has_ready()
                && self.shared.injector.is_empty()
                && self.shared.handed.is_empty()
                && !self.shared.gate.is_done()
            {
                hint::spin_loop();
            }
        }
    }

    /// The last look before parking, at every place where this worker could find something to do.
    fn is_anything_left(&self) -> bool {
        self.has_ready() || self.is_work_left() || self.shared.gate.is_done()
    }

    /// Whether there is something that any worker could do.
    pub(super) fn is_work_left(&self) -> bool {
        let stealable = |worker| !self.shared.stealer(worker).is_empty();
        let is_common = !self.shared.injector.is_empty() || !self.shared.handed.is_empty();
        is_common || !self.shared.kin.is_empty() || (0..self.shared.workers()).any(stealable)
    }

    /// The next number of a xorshift generator (Marsaglia, 2003).
    pub(super) fn next_random(&self) -> usize {
        let mut state = self.random.get();
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        self.random.set(state);
        state as usize
    }
}

/// Takes the oldest job of a queue that anybody may take from.
#[inline]
fn take_from(queue: &Injector<Job<Header>>) -> Option<Job<Header>> {
    if queue.is_empty() {
        return None;
    }
    loop {
        match queue.steal() {
            Steal::Success(job) => return Some(job),
            Steal::Empty => return None,
            Steal::Retry => hint::spin_loop(),
        }
    }
}
