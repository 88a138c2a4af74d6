//! Tests that would hang fail instead, with a message.

use std::cell::RefCell;
use std::env;
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// How long a test may take. Far more than any needs, even on a busy machine.
const TEST: Duration = Duration::from_secs(90);
/// How long a condition may take to come true within a test.
const CONDITION: Duration = Duration::from_secs(30);

thread_local! {
    static DOING: RefCell<Arc<Mutex<String>>> = RefCell::default();
}

/// Times this where `TEST_PATIENCE` says so, for checkers that make everything slow.
fn patiently(at_most: Duration) -> Duration {
    at_most * env::var("TEST_PATIENCE").ok().and_then(|times| times.parse().ok()).unwrap_or(1)
}

/// Notes what the calling test is about to do, for the message if it hangs.
pub(crate) fn doing(what: &str) {
    DOING.with_borrow(|doing| what.clone_into(&mut doing.lock().unwrap()));
}

/// Runs the body of a test on a thread of its own and fails if it does not end in time.
pub(crate) fn within_deadline(body: impl FnOnce() + Send + 'static) {
    crate::panicking::silence_expected_panics();
    let name = thread::current().name().unwrap_or("the test").to_owned();
    let (alive, ended) = mpsc::channel::<()>();
    let doing = Arc::<Mutex<String>>::default();
    let theirs = Arc::clone(&doing);
    let run = move || {
        let _alive = alive;
        DOING.set(theirs);
        body();
    };
    let runner = thread::Builder::new().name(name.clone()).spawn(run).expect("a test needs a thread");
    let at_most = patiently(TEST);
    if ended.recv_timeout(at_most) == Err(RecvTimeoutError::Timeout) {
        panic!("{name} hangs: it has not ended within {at_most:?}, last seen {:?}", doing.lock().unwrap());
    }
    if let Err(payload) = runner.join() {
        panic::resume_unwind(payload);
    }
}

/// Spins until `condition` holds, giving the core away to other threads but never to other fibers.
#[track_caller]
pub(crate) fn spin_until(what: &str, condition: impl Fn() -> bool) {
    wait_until(what, condition, thread::yield_now);
}

/// Waits until `condition` holds, calling `pause` in between.
#[track_caller]
pub(crate) fn wait_until(what: &str, condition: impl Fn() -> bool, pause: impl Fn()) {
    let (start, at_most) = (Instant::now(), patiently(CONDITION));
    while !condition() {
        assert!(start.elapsed() < at_most, "waited for {at_most:?} in vain: {what}");
        pause();
    }
}

/// A flag that is raised once.
#[derive(Debug, Default)]
pub(crate) struct Flag(AtomicBool);

impl Flag {
    pub(crate) const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    pub(crate) fn raise(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub(crate) fn is_raised(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Spins until the flag is raised, without giving way to other fibers.
    #[track_caller]
    pub(crate) fn spin(&self, what: &str) {
        spin_until(what, || self.is_raised());
    }
}
