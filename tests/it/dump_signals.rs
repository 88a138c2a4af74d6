#![expect(unsafe_code, reason = "signals are handled by functions of the C library")]
//! Dumps and the signal that they need.

use crate::backends::fibers;
use crate::deadline::{Flag, within_deadline};
use crate::processes::alone;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, raise, sigaction};
use std::ffi::c_int;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use yieldtasks::{ExecutorExt, yield_taskmap};

static HANDLED: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count(_signal: c_int) {
    HANDLED.fetch_add(1, Ordering::AcqRel);
}

fn urgent() -> SigSet {
    SigSet::from_iter([Signal::SIGURG])
}

#[test]
fn a_handler_that_was_there_before_hears_signals_from_elsewhere() {
    alone(&[], || {
        within_deadline(|| {
            let action = SigAction::new(SigHandler::Handler(count), SaFlags::empty(), SigSet::empty());
            // SAFETY: the handler only counts.
            unsafe { sigaction(Signal::SIGURG, &action) }.unwrap();
            let executor = fibers(2);
            assert!(executor.dump().silent_workers().is_empty());
            assert_eq!(HANDLED.load(Ordering::Acquire), 0);
            raise(Signal::SIGURG).unwrap();
            assert_eq!(HANDLED.load(Ordering::Acquire), 1);
            executor.map(|_| raise(Signal::SIGURG).unwrap(), 0..10);
            assert_eq!(HANDLED.load(Ordering::Acquire), 11);
            assert!(executor.dump().silent_workers().is_empty());
        });
    });
}

#[test]
fn workers_answer_although_the_signal_was_blocked_where_they_were_built() {
    within_deadline(|| {
        SigSet::all().thread_block().unwrap();
        let executor = fibers(2);
        assert!(executor.dump().silent_workers().is_empty());
        let inside = |x: usize| (executor.dump().len(), x).1;
        assert_eq!(executor.map(|x| yield_taskmap(inside, [x]).len(), 0..3), [1; 3]);
    });
}

#[test]
fn a_worker_that_cannot_answer_is_shown_as_such_and_answers_later() {
    within_deadline(|| {
        let executor = fibers(1);
        let (inside, go_on, unblocked, end) = (Flag::new(), Flag::new(), Flag::new(), Flag::new());
        thread::scope(|scope| {
            scope.spawn(|| {
                executor.run(|| {
                    urgent().thread_block().unwrap();
                    inside.raise();
                    go_on.spin("the dump was taken");
                    urgent().thread_unblock().unwrap();
                    unblocked.raise();
                    end.spin("the second dump was taken");
                });
            });
            inside.spin("the task runs");
            let dump = executor.dump();
            assert_eq!(dump.silent_workers(), [0]);
            assert!(dump.is_empty() && dump.to_string().contains("worker 0 did not answer"), "{dump}");
            go_on.raise();
            unblocked.spin("the signal is let through");
            let dump = executor.dump();
            assert!(dump.silent_workers().is_empty() && dump.len() == 1, "{dump}");
            end.raise();
        });
    });
}
