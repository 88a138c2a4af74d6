//! Locks of the library, held while other tasks run.

use crate::nest::{Lock, Node};
use crate::run::Env;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use yieldtasks::sync;

/// Locks that count who has held them.
pub(crate) struct Locks {
    mutex: sync::Mutex<u64>,
    rw_lock: sync::RwLock<u64>,
    semaphore: sync::Semaphore,
    permits: AtomicU64,
    held: [AtomicU64; 2],
}

/// As many permits as the semaphore has.
const PERMITS: u64 = 2;

impl Default for Locks {
    fn default() -> Self {
        Self {
            mutex: sync::Mutex::new(0),
            rw_lock: sync::RwLock::new(0),
            semaphore: sync::Semaphore::new(PERMITS as usize),
            permits: AtomicU64::new(0),
            held: Default::default(),
        }
    }
}

impl Locks {
    /// Whether the counts that the locks guard are those that were counted aside.
    pub(crate) fn are_balanced(&self) -> bool {
        let held = self.held.each_ref().map(|count| count.load(Ordering::Acquire));
        let free = (0..PERMITS).map(|_| self.semaphore.try_acquire()).collect::<Vec<_>>();
        [*self.mutex.lock(), *self.rw_lock.read()] == held && free.iter().all(Option::is_some)
    }
}

impl Env {
    pub(crate) fn locked(self: &Arc<Self>, lock: Lock, node: &Node) -> u64 {
        let Locks { mutex, rw_lock, semaphore, permits, held } = &self.locks;
        match lock {
            Lock::Mutex => self.exclusively(&mut mutex.lock(), &held[0], node),
            Lock::Write => {
                drop(rw_lock.read());
                self.exclusively(&mut rw_lock.write(), &held[1], node)
            }
            Lock::Semaphore => {
                let _permit = semaphore.acquire();
                let _count = Permit::new(self, permits);
                self.evaluate(node)
            }
        }
    }

    /// Runs the node while the count is this task's alone, and counts that aside, too.
    pub(crate) fn exclusively(self: &Arc<Self>, count: &mut u64, held: &AtomicU64, node: &Node) -> u64 {
        held.fetch_add(1, Ordering::AcqRel);
        *count += 1;
        let before = *count;
        let worth = self.evaluate(node);
        self.check(*count == before, || "two have held a lock".to_owned());
        worth
    }
}

/// Counts who holds a permit.
struct Permit<'a>(&'a AtomicU64);

impl<'a> Permit<'a> {
    fn new(env: &Env, permits: &'a AtomicU64) -> Self {
        let others = permits.fetch_add(1, Ordering::AcqRel);
        env.check(others < PERMITS, || format!("{others} more hold one of {PERMITS} permits"));
        Self(permits)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
