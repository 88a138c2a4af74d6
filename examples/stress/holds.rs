//! What a task that nests may hold while others run, and must not otherwise: locks of the standard library, borrows of
//! thread-locals, and values that a thread has for a while.

use crate::accounts::Item;
use crate::nest::{BORROW, HOLDS, Node, sum};
use crate::run::Env;
use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, TryLockError};
use yieldtasks::yield_taskmap;

/// Locks of the standard library, taken from higher numbers to lower ones, that count who has held them.
#[derive(Default)]
pub(crate) struct Holds {
    /// The first is not used: its number is that of the borrow.
    mutexes: [Mutex<u64>; HOLDS],
    held: [AtomicU64; HOLDS],
    entered: AtomicU64,
}

thread_local! {
    static BORROWED: RefCell<u64> = const { RefCell::new(0) };
    /// The tasks that have entered on this thread and not left.
    static ENTERED: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

impl Holds {
    /// Whether the counts that the locks guard are those that were counted aside.
    pub(crate) fn are_balanced(&self) -> bool {
        // A program that panics leaves its locks poisoned, which is no harm.
        let count = |lock: usize| match self.mutexes[lock].try_lock() {
            Ok(count) => Some(*count),
            Err(TryLockError::Poisoned(count)) => Some(*count.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        };
        (BORROW + 1..HOLDS).all(|lock| count(lock) == Some(self.held[lock].load(Ordering::Acquire)))
    }
}

impl Env {
    pub(crate) fn held(self: &Arc<Self>, lock: usize, node: &Node) -> u64 {
        let held = &self.holds.held[lock];
        if lock == BORROW {
            BORROWED.with_borrow_mut(|count| self.exclusively(count, held, node))
        } else {
            let mut count = self.holds.mutexes[lock].lock().unwrap_or_else(PoisonError::into_inner);
            self.exclusively(&mut count, held, node)
        }
    }

    /// As with a scoped thread-local: whoever has entered last leaves first.
    pub(crate) fn entered(self: &Arc<Self>, node: &Node) -> u64 {
        let number = self.holds.entered.fetch_add(1, Ordering::Relaxed);
        ENTERED.with_borrow_mut(|entered| entered.push(number));
        let _leave = Leave(self, number);
        self.evaluate(node)
    }

    /// Siblings that all want what the first of them makes, and block their threads until it is there.
    pub(crate) fn once(self: &Arc<Self>, node: &Node, siblings: usize) -> u64 {
        let (cell, made) = (OnceLock::new(), AtomicU64::new(0));
        let make = || {
            let worth = self.evaluate(node);
            made.fetch_add(1, Ordering::Relaxed);
            worth
        };
        let task = |mut item: Item| {
            item.spend();
            *cell.get_or_init(make)
        };
        let results = yield_taskmap(task, (0..siblings).map(|_| self.accounts.item()).collect::<Vec<_>>());
        let made = made.load(Ordering::Relaxed);
        self.check(made == 1, || format!("made {made} times"));
        sum(7, results)
    }
}

/// Leaves when dropped.
struct Leave<'a>(&'a Env, u64);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        let last = ENTERED.with_borrow_mut(Vec::pop);
        self.0.check(last == Some(self.1), || format!("{} leaves, {last:?} has entered last", self.1));
    }
}
