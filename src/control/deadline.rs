//! Stopping by the clock.

use super::{Control, Stopped};
use crate::timer;
use async_io::Timer;
use std::fmt;
use std::sync::{Arc, Weak};
use std::task::{Wake, Waker};
use std::time::Instant;

/// Stops a control when its time has come, unless dropped before.
pub(crate) struct Deadline {
    _timer: Timer,
}

impl Deadline {
    /// Starts the clock. If the time has come already, stops the control.
    pub(super) fn start(control: &Arc<Control>, at: Instant) -> Option<Self> {
        let waker = Waker::from(Arc::new(Expiry { control: Arc::downgrade(control) }));
        match timer::start(at, &waker) {
            Some(timer) => Some(Self { _timer: timer }),
            None => {
                control.stop(Stopped::Late);
                None
            }
        }
    }
}

/// What the timer wakes.
struct Expiry {
    control: Weak<Control>,
}

impl Wake for Expiry {
    fn wake(self: Arc<Self>) {
        if let Some(control) = self.control.upgrade() {
            control.stop(Stopped::Late);
        }
    }
}

impl fmt::Debug for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deadline").finish_non_exhaustive()
    }
}
