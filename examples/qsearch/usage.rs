//! What the operating system says that a process has used.

use std::ops::Sub;
use std::time::Duration;

/// Processor time and context switches, of a process or of one of its threads. Zero where the system does not tell.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Usage {
    /// Time on any core, in user code and in the kernel.
    pub(crate) cpu: Duration,
    /// How often a thread left its core, of its own will or not.
    pub(crate) context_switches: u64,
}

impl Sub for Usage {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(earlier.cpu),
            context_switches: self.context_switches.saturating_sub(earlier.context_switches),
        }
    }
}

mod system {
    use super::Usage;
    use nix::sys::resource::{self, UsageWho};
    use nix::sys::time::TimeVal;
    use std::time::Duration;

    fn duration(time: TimeVal) -> Duration {
        let seconds = u64::try_from(time.tv_sec()).unwrap_or_default();
        let microseconds = u64::try_from(time.tv_usec()).unwrap_or_default();
        Duration::from_secs(seconds) + Duration::from_micros(microseconds)
    }

    fn usage(who: UsageWho) -> Usage {
        resource::getrusage(who).map_or_else(
            |_| Usage::default(),
            |usage| {
                let switches = usage.voluntary_context_switches() + usage.involuntary_context_switches();
                Usage {
                    cpu: duration(usage.user_time()) + duration(usage.system_time()),
                    context_switches: u64::try_from(switches).unwrap_or_default(),
                }
            },
        )
    }

    pub(super) fn of_process() -> Usage {
        usage(UsageWho::RUSAGE_SELF)
    }

    #[cfg(target_os = "linux")]
    pub(super) fn of_thread() -> Usage {
        usage(UsageWho::RUSAGE_THREAD)
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn of_thread() -> Usage {
        Usage::default()
    }
}

impl Usage {
    /// What all threads of this process have used since it started, those that have ended included.
    pub(crate) fn of_process() -> Self {
        system::of_process()
    }

    /// What the calling thread has used since it started.
    pub(crate) fn of_thread() -> Self {
        system::of_thread()
    }
}
