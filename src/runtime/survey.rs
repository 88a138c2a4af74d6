#![expect(unsafe_code, reason = "a signal handler reads what its thread owns")]
//! Looking at the live tasks of a worker, from any thread and at any time, for [`Dump`](crate::Dump).
//!
//! What a survey wants to see belongs to the worker's thread: records in the frames of tasks, and whether a fiber runs or waits.
//! To note it where others may read it would cost every fork. So the surveyor interrupts the worker by a signal, and a handler
//! on the worker's own thread reads it, at whatever instruction the thread is, be it in the middle of a long leaf. While it
//! does, nothing of this worker goes on; tasks of other workers that it sees are ancestors of this worker's, which wait for them.
//!
//! # Protocol
//!
//! A request is an [errand](super::errand) for the worker's handler, which answers it, unless it takes too long.
//!
//! There is one request in the process, so surveys go one by one ([`Turn`]). It lies in static memory, so that a handler on another
//! thread, or one that comes late, may look at it: it finds that it is not meant. The surveyor holds the lock of the worker's
//! [`Roster`](super::roster::Roster) from before the request until its end. So the worker has not ended, its thread is there to be
//! signalled, and the list of its fibers does not change. The worker may wait for that lock meanwhile; the handler runs all
//! the same.
//!
//! The handler runs on the thread's alternate stack, because the task's may be nearly used up. It allocates nothing and takes
//! no lock: it copies what it sees into a buffer that is large enough, or else counts what is missing, and the surveyor asks again.
//!
//! The signal is `SIGURG`, which by default is ignored, and which debuggers let pass. A handler that was there before is called
//! for every signal that is not a request's. A worker that does not answer within [`PATIENCE`] has the signal blocked, or is kept
//! from running.

use super::Worker;
use super::errand::Errand;
use super::fiber::{FiberRef, Resumer};
use super::roster::Roster;
use super::wait::{BatchSeen, Waited};
use crate::current;
use crate::path::PathStep;
use crate::process::Process;
use crate::record::Record;
use std::ffi::{c_int, c_void};
use std::mem;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Once, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

const SIGNAL: c_int = libc::SIGURG;
/// How long a worker may take to answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);
/// How often the surveyor gives its core away before it sleeps between two looks.
const LOOKS_BEFORE_NAP: u32 = 50;
const NAP: Duration = Duration::from_micros(50);
/// Ancestors on other workers for which there is room at first.
const ANCESTORS: usize = 256;

/// The request. There once the handler is.
static ERRAND: OnceLock<Errand<Request<'static>>> = OnceLock::new();
/// Zero, or the [generation](Process::generation) of the process whose turn it is, plus one.
static TURN: AtomicUsize = AtomicUsize::new(0);
/// What was done about the signal before.
static FORMER: OnceLock<libc::sigaction> = OnceLock::new();

/// What a survey sees.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sight {
    /// A task that is live, or was made by one that is.
    Task {
        /// What tells it from others that are live at the same time.
        record: usize,
        /// The task that made it; zero for none.
        parent: usize,
        step: PathStep,
    },
    /// A fiber that is live.
    Fiber {
        /// The task that it runs.
        record: usize,
        /// The innermost of the tasks that run on its stack.
        innermost: usize,
        is_direct: bool,
        batch: BatchSeen,
        /// The tasks of the batch that it has ended without having arrived for them.
        ended: usize,
        doing: Doing,
    },
}

/// What a fiber does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Doing {
    Runs,
    Waits(Waited),
    /// It waits for tasks that it has resumed directly, or for its turn.
    NothingNoted,
}

/// What is asked of a worker.
struct Request<'a> {
    worker: NonNull<Worker>,
    fibers: &'a [FiberRef],
    survey: usize,
    sights: Vec<Sight>,
    /// What did not fit.
    missing: usize,
}

impl Request<'_> {
    /// Reads the live tasks. Runs in a handler on the worker's thread, or in one of its tasks.
    fn answer(&mut self) {
        // SAFETY: the lock of the roster keeps the worker.
        let worker = unsafe { self.worker.as_ref() };
        let running = worker.running();
        for fiber in self.fibers {
            if fiber.is_live() {
                self.see(*fiber, running == Some(*fiber));
            }
        }
    }

    fn see(&mut self, fiber: FiberRef, is_running: bool) {
        let record = NonNull::from(fiber.record());
        let innermost = if is_running { current::record().map_or(record, NonNull::from) } else { fiber.innermost() };
        // SAFETY: this is the home worker's thread.
        let waited = unsafe { fiber.waited() };
        // SAFETY: as above, and it is live.
        let (batch, ended) = unsafe { fiber.batch() };
        self.note(Sight::Fiber {
            record: record.addr().get(),
            innermost: innermost.addr().get(),
            is_direct: fiber.resumer() == Resumer::Parent,
            batch: BatchSeen::of(batch),
            ended,
            doing: match waited {
                _ if is_running => Doing::Runs,
                Some(waited) => Doing::Waits(waited),
                None => Doing::NothingNoted,
            },
        });
        let mut next = Some(innermost);
        while let Some(record) = next {
            // SAFETY: the task of a live fiber is live, and so are those that wait for it.
            let seen = unsafe { record.as_ref() };
            if !seen.note_seen(self.survey) {
                return;
            }
            let Some((step, parent)) = seen.step() else { return };
            let parent_address = parent.map_or(0, |parent: NonNull<Record>| parent.addr().get());
            self.note(Sight::Task { record: record.addr().get(), parent: parent_address, step });
            next = parent;
        }
    }

    fn note(&mut self, sight: Sight) {
        if self.sights.len() < self.sights.capacity() {
            self.sights.push(sight);
        } else {
            self.missing += 1;
        }
    }
}

/// The right to survey. There is one in the process.
#[derive(Debug)]
pub(super) struct Turn(());

impl Turn {
    /// Waits for the turn.
    pub(super) fn take() -> Self {
        install();
        let own = Process::current().generation() + 1;
        loop {
            // ORDERING: Acquire pairs with the Release of the former holder.
            match TURN.compare_exchange(0, own, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Self(()),
                Err(holder) if holder == own => thread::sleep(NAP),
                Err(holder) => {
                    // Held when this process was forked, by a thread that is not here.
                    if TURN.compare_exchange(holder, own, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                        errand().clear();
                        return Self(());
                    }
                }
            }
        }
    }

    /// What is live on the worker of a roster; `None` if it does not answer. Nothing if there is no worker.
    pub(super) fn survey(&mut self, roster: &Roster) -> Option<Vec<Sight>> {
        let mut ancestors = ANCESTORS;
        loop {
            let answer = roster.with_worker(|worker, thread, fibers| {
                let live = fibers.iter().filter(|fiber| fiber.is_live()).count();
                let sights = Vec::with_capacity(2 * live + ancestors);
                let mut request = Request { worker: worker.0, fibers, survey: next_survey(), sights, missing: 0 };
                self.ask(thread, &mut request).then_some((request.sights, request.missing))
            });
            let Some(answer) = answer else { return Some(Vec::new()) };
            let (sights, missing) = answer?;
            if missing == 0 {
                return Some(sights);
            }
            ancestors = 2 * (ancestors + missing);
        }
    }

    /// Has a thread answer a request. Returns whether it has.
    fn ask(&mut self, thread: libc::pthread_t, request: &mut Request<'_>) -> bool {
        // SAFETY: always is.
        if thread == unsafe { libc::pthread_self() } {
            request.answer();
            return true;
        }
        let errand = errand();
        errand.ask(number_of(thread), NonNull::from(request).cast());
        // SAFETY: the lock of the roster, which the caller holds, keeps the thread from ending.
        let result = unsafe { libc::pthread_kill(thread, SIGNAL) };
        let began = Instant::now();
        let mut looks = 0;
        while !errand.is_answered() {
            let is_late = result != 0 || began.elapsed() > PATIENCE;
            if is_late && errand.take_back() {
                return false;
            }
            if looks < LOOKS_BEFORE_NAP {
                looks += 1;
                thread::yield_now();
            } else {
                thread::sleep(NAP);
            }
        }
        errand.clear();
        true
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        TURN.store(0, Ordering::Release);
    }
}

/// A number that no record has seen. Zero is that of new records.
fn next_survey() -> usize {
    static LATEST: AtomicUsize = AtomicUsize::new(0);
    LATEST.fetch_add(1, Ordering::Relaxed) + 1
}

/// Lets the calling thread be asked, although whoever started it may have blocked the signal.
pub(super) fn unblock_signal() {
    if cfg!(miri) {
        // It has no signals.
        return;
    }
    // SAFETY: zeros are a valid set of signals.
    let mut signals = unsafe { mem::zeroed() };
    // SAFETY: the set is there to be written.
    unsafe { libc::sigemptyset(&raw mut signals) };
    // SAFETY: as above.
    unsafe { libc::sigaddset(&raw mut signals, SIGNAL) };
    // SAFETY: the set has been filled in; the former one is not asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const signals, ptr::null_mut()) };
}

/// Where requests are put.
fn errand() -> &'static Errand<Request<'static>> {
    ERRAND.get_or_init(Errand::new)
}

/// Sets the handler up, at the first survey of the process.
fn install() {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        errand();
        let mut former = mem::MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: without a new action, this only writes the one that is there.
        unsafe { libc::sigaction(SIGNAL, ptr::null(), former.as_mut_ptr()) };
        // SAFETY: zeros are a valid value of the structure, which is made of numbers and optional functions.
        let _ = FORMER.set(unsafe { former.assume_init() });
        let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = on_signal;
        // SAFETY: as above.
        let mut action: libc::sigaction = unsafe { mem::zeroed() };
        action.sa_sigaction = handler as libc::sighandler_t;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
        // SAFETY: the handler fits the flags. A refusal leaves the action as it was, and workers without an answer.
        unsafe { libc::sigaction(SIGNAL, &raw const action, ptr::null_mut()) };
    });
}

/// What tells a thread from others.
#[cfg_attr(target_os = "macos", expect(clippy::unnecessary_cast, reason = "the type depends on the system"))]
fn number_of(thread: libc::pthread_t) -> usize {
    thread as usize
}

/// The handler.
extern "C" fn on_signal(signal: c_int, description: *mut libc::siginfo_t, context: *mut c_void) {
    let Some(errand) = ERRAND.get() else { return };
    // SAFETY: always is.
    let own = unsafe { libc::pthread_self() };
    match errand.take(number_of(own)) {
        Some(mut request) => {
            // SAFETY: it is this handler's until it says that it has answered.
            unsafe { request.as_mut() }.answer();
            errand.answer();
        }
        None => pass_on(signal, description, context),
    }
}

/// Leaves the signal to whoever handled it before.
fn pass_on(signal: c_int, description: *mut libc::siginfo_t, context: *mut c_void) {
    let Some(former) = FORMER.get() else { return };
    match former.sa_sigaction {
        libc::SIG_DFL | libc::SIG_IGN => {}
        handler if former.sa_flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: the flag says that the handler is such a function.
            let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = unsafe { mem::transmute(handler) };
            handler(signal, description, context);
        }
        handler => {
            // SAFETY: without the flag, the handler is such a function.
            let handler: extern "C" fn(c_int) = unsafe { mem::transmute(handler) };
            handler(signal);
        }
    }
}
