//! Timers, which one thread of `async-io` drives.

use crate::runtime::affinity::unpinned;
use async_io::Timer;
use std::future::Future;
use std::pin::Pin;
use std::sync::Once;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// A timer that wakes `waker` at that time; `None` if the time has come.
pub(crate) fn start(at: Instant, waker: &Waker) -> Option<Timer> {
    let mut timer = at_time(at);
    match Pin::new(&mut timer).poll(&mut Context::from_waker(waker)) {
        Poll::Ready(_) => None,
        Poll::Pending => Some(timer),
    }
}

/// A timer for that time, as a future.
pub(crate) fn at_time(at: Instant) -> Timer {
    static DRIVER: Once = Once::new();
    // The thread that drives the timers starts with the first of them, and must not share a worker's core for ever.
    DRIVER.call_once(|| {
        unpinned(|| {
            let mut first = Timer::after(Duration::from_secs(1));
            let _ = Pin::new(&mut first).poll(&mut Context::from_waker(Waker::noop()));
        });
    });
    Timer::at(at)
}

/// A timer for that much later; never, if that is beyond what the clock can tell.
pub(crate) fn after(duration: Duration) -> Timer {
    Instant::now().checked_add(duration).map_or_else(Timer::never, at_time)
}
