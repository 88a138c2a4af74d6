//! Joining threads that nobody waits for.
//!
//! To detach a thread while it ends is not safe with glibc before 2.43 (its bug 19951): the thread may be gone, and its memory
//! another thread's, when `pthread_detach` looks whether it has ended, and what is freed then is the stack of that other one. So
//! the threads of this crate are joined: by whoever waits for them, or else by a thread of the pool of `blocking`.

use crate::runtime::affinity::off_core;
use parking_lot::Mutex;
use std::mem;
use std::thread::JoinHandle;

/// Has threads joined that have ended, but for their last steps, or will. Returns at once.
pub(crate) fn reap(threads: Vec<JoinHandle<()>>) {
    if !threads.is_empty() {
        let join = off_core(move || {
            for thread in threads {
                // What panics on such a thread has been told elsewhere.
                let _ = thread.join();
            }
        });
        blocking::unblock(join).detach();
    }
}

/// A thread that nobody waits for. Whoever comes second has it joined: the one who started it, or the thread at its end.
#[derive(Debug, Default)]
pub(crate) struct Orphan(Mutex<Fate>);

#[derive(Debug, Default)]
enum Fate {
    #[default]
    Unknown,
    Left(JoinHandle<()>),
    Ended,
}

impl Orphan {
    /// Leaves the thread to itself.
    pub(crate) fn leave(&self, thread: JoinHandle<()>) {
        let mut fate = self.0.lock();
        match *fate {
            Fate::Ended => reap(vec![thread]),
            Fate::Unknown | Fate::Left(_) => *fate = Fate::Left(thread),
        }
    }

    /// Notes that the thread is about to end. Called by the thread.
    pub(crate) fn end(&self) {
        if let Fate::Left(own) = mem::replace(&mut *self.0.lock(), Fate::Ended) {
            reap(vec![own]);
        }
    }
}
