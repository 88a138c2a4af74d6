//! The calls that an executor has in hand.

use crate::process::Process;
use crate::waiter::{Parking, Waiter};
use parking_lot::Mutex;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;

/// Counts calls in and out, until it is closed; then lets in only what belongs to them, and tells when none is left.
///
/// For backends whose calls cost so much that a lock does not matter; the fiber runtime has its own gate.
#[derive(Clone, Debug)]
pub(super) struct InHand {
    state: Arc<Mutex<State>>,
    /// Where the calls are.
    process: Process,
}

impl Default for InHand {
    fn default() -> Self {
        Self { state: Arc::default(), process: Process::current() }
    }
}

#[derive(Debug, Default)]
struct State {
    closed: bool,
    calls: usize,
    /// Who waits for there to be none.
    waiters: Vec<Waiter>,
}

/// A call in hand, counted out when dropped.
#[derive(Debug)]
pub(super) struct Call(InHand);

impl InHand {
    /// Counts a call in, unless the executor is closed and the call is not `nested` in one that is in hand.
    ///
    /// # Panics
    ///
    /// Panics in a process that was forked from the executor's own.
    pub(super) fn enter(&self, nested: bool) -> Option<Call> {
        self.process.require();
        let mut state = self.state.lock();
        if state.closed && !nested {
            return None;
        }
        state.calls += 1;
        Some(Call(self.clone()))
    }

    /// As [`enter`](Self::enter), for calls that give results.
    ///
    /// # Panics
    ///
    /// Panics if the executor is closed.
    pub(super) fn enter_or_panic(&self, nested: bool) -> Call {
        match self.enter(nested) {
            Some(call) => call,
            None => panic!("the executor has been shut down: build another one to run more tasks"),
        }
    }

    /// Lets no more calls in.
    pub(super) fn close(&self) {
        if self.process.is_current() {
            self.state.lock().closed = true;
        }
    }

    /// Whether it is closed and no call is in hand.
    pub(super) fn is_done(&self) -> bool {
        let state = self.state.lock();
        state.closed && state.calls == 0
    }

    /// Waits until no call is in hand, unless the caller runs on a fiber that unwinds.
    pub(super) fn wait(&self) {
        if !self.process.is_current() {
            return;
        }
        let parking = Parking::here();
        {
            let mut state = self.state.lock();
            if state.calls == 0 || parking.must_not_wait() {
                return;
            }
            state.waiters.push(parking.waiter());
        }
        parking.wait();
    }

    /// What tells this from others.
    pub(super) fn identity(&self) -> *const () {
        Arc::as_ptr(&self.state).cast()
    }
}

// No user code runs under the lock, so no panic leaves the counts wrong.
impl UnwindSafe for InHand {}
impl RefUnwindSafe for InHand {}

impl Drop for Call {
    fn drop(&mut self) {
        let waiters = {
            let mut state = self.0.state.lock();
            state.calls -= 1;
            if state.calls == 0 { std::mem::take(&mut state.waiters) } else { Vec::new() }
        };
        waiters.into_iter().for_each(Waiter::wake);
    }
}
