//! How time is taken.

use rustix::time::{ClockId, clock_gettime};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

static CHOSEN: OnceLock<Clock> = OnceLock::new();

/// The clock of all measurements of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    /// The one on the wall, which is the default.
    Wall,
    /// The CPU time of the calling thread, where that thread does all the work. It stands still while another process
    /// has the core.
    Cpu,
}

impl Clock {
    /// Makes this the clock of the process. The first choice counts.
    pub(crate) fn choose(self) {
        CHOSEN.get_or_init(|| self);
    }
}

/// A measurement that has begun.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stopwatch {
    Wall(Instant),
    Cpu(Duration),
}

impl Stopwatch {
    pub(crate) fn start() -> Self {
        match CHOSEN.get_or_init(|| Clock::Wall) {
            Clock::Wall => Self::Wall(Instant::now()),
            Clock::Cpu => Self::Cpu(cpu_time()),
        }
    }

    /// The time since the start. For CPU time, asked on the same thread.
    pub(crate) fn elapsed(self) -> Duration {
        match self {
            Self::Wall(start) => start.elapsed(),
            Self::Cpu(start) => cpu_time() - start,
        }
    }
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32)
}
