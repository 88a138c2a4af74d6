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
const LOOKS_BEFORE_SLEEP: u32 = 120;
/// The first looks are spent spinning, each twice as long as the one before, the others giving way to other threads.
const SPINNING_LOOKS: u32 = 7;
/// So many looks go by before the worker takes from others what it was not handed. A theft interrupts the victim, and a victim that
/// forks all the time hands something over long before.
const LOOKS_BEFORE_THEFT: u32 = 6;

/// How a job came from another worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Means {
    Handed,
    Taken,
}

impl Means {
    /// A job that lasted less than this was not worth what it took to have it: some cache lines, or interrupting the victim.
    fn worth(self) -> Duration {
        match self {
            Self::Handed => Duration::from_nanos(500),
            Self::Taken => Duration::from_micros(20),
        }
    }
}

/// How long a worker waits before it has a job by the same means again after one that was not worth it: twice this, and twice as long
/// each time in a row, up to [`MOST_DOUBLINGS`].
const SHORTEST_WAIT: Duration = Duration::from_micros(1);
const MOST_DOUBLINGS: u32 = 4;

/// How a worker has fared of late with jobs of others.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Catches {
    /// When and how the latest came, if it has not been judged yet.
    latest: Option<(Instant, Means)>,
    /// Jobs in a row that were not worth it, by either means; of those that were to be taken, those that were not had are some.
    handed: u32,
    taken: u32,
}

impl Catches {
    /// Judges the latest job, now that the worker is idle again.
    fn judge(mut self) -> Self {
        match self.latest.take() {
            Some((since, means)) if since.elapsed() < means.worth() => self.regret(means),
            Some((_, Means::Handed)) => Self { handed: 0, ..self },
            Some((_, Means::Taken)) => Self { taken: 0, ..self },
            None => self,
        }
    }

    /// Notes that something was not worth it.
    fn regret(mut self, means: Means) -> Self {
        let regrets = match means {
            Means::Handed => &mut self.handed,
            Means::Taken => &mut self.taken,
        };
        *regrets = regrets.saturating_add(1);
        self
    }
}

/// How long to wait after so many jobs that were not worth it.
fn wait_after(regrets: u32) -> Duration {
    if regrets > 0 { SHORTEST_WAIT * (1 << regrets.min(MOST_DOUBLINGS)) } else { Duration::ZERO }
}

impl Worker {
    /// Takes a job from outside, or one that a worker handed to whoever searches.
    pub(super) fn take_injected(&self) -> Option<Job<Header>> {
        if let Some(job) = self.take_from_outside() {
            return Some(job);
        }
        if let Some(job) = take_from(&self.shared.handed) {
            self.note_catch(Means::Handed);
            return Some(job);
        }
        self.shared.kin.take()
    }

    /// Takes a job from outside.
    pub(super) fn take_from_outside(&self) -> Option<Job<Header>> {
        take_from(&self.shared.injector)
    }

    fn note_catch(&self, means: Means) {
        self.counters.steals.add(1);
        self.catches.set(Catches { latest: Some((Instant::now(), means)), ..self.catches.get() });
    }

    /// Tries every other worker once, from a random one on.
    pub(super) fn steal(&self) -> Option<Job<Header>> {
        let seats = self.shared.workers();
        let start = self.next_random() % seats;
        for victim in (0..seats).map(|step| (start + step) % seats).filter(|&victim| victim != self.index) {
            match self.shared.stealer(victim).steal() {
                Steal::Success(job) => {
                    self.note_catch(Means::Taken);
                    return Some(job);
                }
                Steal::Empty => {}
                // The victim, or another thief, was faster.
                Steal::Retry => self.catches.set(self.catches.get().regret(Means::Taken)),
            }
        }
        self.counters.failed_steals.add(1);
        None
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
            let found = self.look_around(&mut state);
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

    /// Looks at what was brought from outside or handed over, and, as soon as this worker may count as searching, at the other
    /// workers, several times.
    fn look_around(&self, state: &mut Awake) -> Option<Job<Header>> {
        let catches = self.catches.get().judge();
        self.catches.set(catches);
        let began = Instant::now();
        // Not counted as waiting meanwhile, so nobody hands anything over.
        while began.elapsed() < wait_after(catches.handed)
            && !(self.is_anything_brought() || self.has_ready() || self.shared.gate.is_done())
        {
            hint::spin_loop();
        }
        self.shared.idle.while_waiting(|| self.look_repeatedly(state))
    }

    /// See [`look_around`](Self::look_around).
    fn look_repeatedly(&self, state: &mut Awake) -> Option<Job<Header>> {
        let mut look = 0;
        let mut reluctant_since = Instant::now();
        loop {
            if *state == Awake::Plain && self.shared.idle.start_searching() {
                *state = Awake::Searching;
            }
            if self.has_ready() || self.shared.gate.is_done() {
                return None;
            }
            if let Some(job) = self.take_injected() {
                return Some(job);
            }
            let regrets = self.catches.get().taken;
            let is_reluctant = *state == Awake::Searching && reluctant_since.elapsed() < wait_after(regrets);
            if *state == Awake::Searching && look >= LOOKS_BEFORE_THEFT && !is_reluctant {
                if let Some(job) = self.steal() {
                    return Some(job);
                }
                if self.catches.get().taken > regrets {
                    reluctant_since = Instant::now();
                }
            }
            if look < SPINNING_LOOKS {
                (0..1 << look).for_each(|_| hint::spin_loop());
            } else if look < LOOKS_BEFORE_SLEEP || is_reluctant {
                // Another thread may wait for this core, perhaps the very one that has the next piece of work.
                thread::yield_now();
            } else {
                return None;
            }
            look += 1;
        }
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

    /// The last look before parking, at every place where this worker could find something to do.
    fn is_anything_left(&self) -> bool {
        self.has_ready() || self.is_work_left() || self.shared.gate.is_done()
    }

    /// Whether there is something that any worker could do.
    pub(super) fn is_work_left(&self) -> bool {
        let stealable = |worker| !self.shared.stealer(worker).is_empty();
        self.is_anything_brought() || (0..self.shared.workers()).any(stealable)
    }

    /// Whether there is work from outside, or handed over: what [`take_injected`](Self::take_injected) would take.
    pub(super) fn is_anything_brought(&self) -> bool {
        !self.shared.injector.is_empty() || !self.shared.handed.is_empty() || !self.shared.kin.is_empty()
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
