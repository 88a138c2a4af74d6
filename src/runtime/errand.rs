//! A request to the signal handler of one thread, which answers it, or from which it is taken back.
//!
//! One word holds the state and the number of the request:
//!
//! | state | what the request is | who may change it |
//! |---|---|---|
//! | `IDLE` | not there | who asks, to `ASKED`, with the next number |
//! | `ASKED` | for one thread | that thread's handler, to `ANSWERING`; who asked and has waited too long, to `IDLE` |
//! | `ANSWERING` | in the handler's hands | the handler, to `ANSWERED` |
//! | `ANSWERED` | answered | who asked, to `IDLE` |
//!
//! Handlers of other threads look as well, and some come late. A handler reads the word, then whom the request is for, then
//! exchanges the very word that it has read. If that succeeds, no other request was made in between, since each has a number of its
//! own, so what the handler has read is of this one. From then on who asked waits for the answer, and leaves the request alone.

use crate::primitives::{AtomicPtr, AtomicUsize, Ordering};
use std::ptr::{self, NonNull};

const IDLE: usize = 0;
const ASKED: usize = 1;
const ANSWERING: usize = 2;
const ANSWERED: usize = 3;
const STATES: usize = 4;

/// The place of the request. One party asks at a time.
#[derive(Debug)]
pub(super) struct Errand<T> {
    /// The number of the request, times [`STATES`], and the state.
    word: AtomicUsize,
    /// The thread that is asked.
    thread: AtomicUsize,
    request: AtomicPtr<T>,
}

impl<T> Errand<T> {
    pub(super) fn new() -> Self {
        Self { word: AtomicUsize::new(IDLE), thread: AtomicUsize::new(0), request: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Makes a request, which is there until it [is answered](Self::is_answered) or [taken back](Self::take_back).
    pub(super) fn ask(&self, thread: usize, request: NonNull<T>) {
        let number = self.number().wrapping_add(STATES);
        self.thread.store(thread, Ordering::Relaxed);
        self.request.store(request.as_ptr(), Ordering::Relaxed);
        // ORDERING: Release publishes the request; pairs with `take`.
        self.word.store(number | ASKED, Ordering::Release);
    }

    /// Whether the request is answered. Called by who asked.
    pub(super) fn is_answered(&self) -> bool {
        // ORDERING: Acquire pairs with `answer`: the answer is there.
        self.word.load(Ordering::Acquire) % STATES == ANSWERED
    }

    /// Takes the request back, unless a handler has it. Called by who asked.
    pub(super) fn take_back(&self) -> bool {
        let number = self.number();
        // ORDERING: Relaxed. Nobody has read the request.
        self.word.compare_exchange(number | ASKED, number | IDLE, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Makes room for the next request, after the answer, or where nobody is left who could answer.
    pub(super) fn clear(&self) {
        self.word.store(self.number() | IDLE, Ordering::Relaxed);
    }

    /// The request, if it is for the thread `own`, whose handler calls this. It must then [answer](Self::answer).
    pub(super) fn take(&self, own: usize) -> Option<NonNull<T>> {
        // ORDERING: Acquire pairs with `ask`.
        let word = self.word.load(Ordering::Acquire);
        if word % STATES != ASKED || self.thread.load(Ordering::Relaxed) != own {
            return None;
        }
        let taken = word - ASKED + ANSWERING;
        // ORDERING: Relaxed. The word is the one that was acquired.
        self.word.compare_exchange(word, taken, Ordering::Relaxed, Ordering::Relaxed).ok()?;
        NonNull::new(self.request.load(Ordering::Relaxed))
    }

    /// Says that the request is answered. Called by the handler that took it.
    pub(super) fn answer(&self) {
        // ORDERING: Release publishes the answer; pairs with `is_answered`.
        self.word.store(self.number() | ANSWERED, Ordering::Release);
    }

    fn number(&self) -> usize {
        // ORDERING: Relaxed. Whoever calls this has seen the request, or made it, or may make the next.
        self.word.load(Ordering::Relaxed) & !(STATES - 1)
    }
}

#[cfg(all(test, yieldtasks_loom))]
#[expect(unsafe_code, reason = "the models look into cells by raw pointers")]
mod models {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::thread;

    /// A request, and its answer, which loom watches.
    struct Request {
        thread: usize,
        answer: UnsafeCell<usize>,
    }

    #[test]
    fn loom_requests_are_answered_by_whom_they_are_for_or_taken_back() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let errand = Arc::new(Errand::<Request>::new());
            let handlers: Vec<_> = (1..=2)
                .map(|own| {
                    let errand = Arc::clone(&errand);
                    thread::spawn(move || {
                        let Some(request) = errand.take(own) else { return };
                        // SAFETY: who asked keeps the request until it is answered.
                        let request = unsafe { request.as_ref() };
                        assert_eq!(request.thread, own);
                        // SAFETY: the request is this handler's.
                        request.answer.with_mut(|answer| unsafe { *answer = own });
                        errand.answer();
                    })
                })
                .collect();
            for asked in 1..=2 {
                let request = Request { thread: asked, answer: UnsafeCell::new(0) };
                // SAFETY: nobody else has the request yet.
                request.answer.with_mut(|answer| unsafe { *answer = 7 });
                errand.ask(asked, NonNull::from(&request));
                let is_taken_back = !errand.is_answered() && errand.take_back();
                while !is_taken_back && !errand.is_answered() {
                    thread::yield_now();
                }
                // SAFETY: no handler has the request any more.
                let answer = request.answer.with(|answer| unsafe { *answer });
                assert_eq!(answer, if is_taken_back { 7 } else { asked });
                if !is_taken_back {
                    errand.clear();
                }
            }
            handlers.into_iter().for_each(|handler| handler.join().unwrap());
        });
    }
}
