//! Exact accounts: every task that starts ends, every value is dropped once, every item is handed to one call.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a value says of itself until it is dropped.
const ALIVE: u64 = 0x5EED_A11F_E000_0001;
const DROPPED: u64 = 0xDEAD_DEAD_DEAD_DEAD;

#[derive(Debug, Default)]
pub(crate) struct Accounts {
    started: AtomicU64,
    ended: AtomicU64,
    made: AtomicU64,
    dropped: AtomicU64,
    /// Sums of a hash of the numbers of the values: one lost and another dropped twice do not make up for each other.
    made_sum: AtomicU64,
    dropped_sum: AtomicU64,
    items: AtomicU64,
    spent: AtomicU64,
    wrong: AtomicU64,
}

/// A value that is to be dropped once.
#[derive(Debug)]
pub(crate) struct Value {
    accounts: Arc<Accounts>,
    number: u64,
    /// On the heap, so that a second drop is a double free, which sanitizers and allocators notice.
    tag: Box<u64>,
}

/// The value that a task of a map is given; it may be spent once.
#[derive(Debug)]
pub(crate) struct Item {
    value: Value,
    is_spent: bool,
}

/// A task between its start and its end, by return or by unwinding.
#[derive(Debug)]
pub(crate) struct Running(Arc<Accounts>);

impl Accounts {
    pub(crate) fn start(self: &Arc<Self>) -> Running {
        self.started.fetch_add(1, Ordering::Relaxed);
        Running(Arc::clone(self))
    }

    pub(crate) fn value(self: &Arc<Self>) -> Value {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        self.made_sum.fetch_add(hash(number), Ordering::Relaxed);
        Value { accounts: Arc::clone(self), number, tag: Box::new(ALIVE) }
    }

    pub(crate) fn item(self: &Arc<Self>) -> Item {
        self.items.fetch_add(1, Ordering::Relaxed);
        Item { value: self.value(), is_spent: false }
    }

    pub(crate) fn started(&self) -> u64 {
        self.started.load(Ordering::Acquire)
    }

    /// What does not balance, when nothing runs any more. `all_spent`: no item may have been left over.
    pub(crate) fn imbalance(&self, all_spent: bool) -> Option<String> {
        let read = |count: &AtomicU64| count.load(Ordering::Acquire);
        let balanced = read(&self.started) == read(&self.ended)
            && read(&self.made) == read(&self.dropped)
            && read(&self.made_sum) == read(&self.dropped_sum)
            && (!all_spent || read(&self.items) == read(&self.spent))
            && read(&self.wrong) == 0;
        (!balanced).then(|| format!("{self:?}"))
    }
}

impl Item {
    /// Marks the item as handed to a call.
    pub(crate) fn spend(&mut self) {
        let accounts = &self.value.accounts;
        if mem::replace(&mut self.is_spent, true) || *self.value.tag != ALIVE {
            accounts.wrong.fetch_add(1, Ordering::Relaxed);
        }
        accounts.spent.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Release);
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        if mem::replace(&mut *self.tag, DROPPED) != ALIVE {
            self.accounts.wrong.fetch_add(1, Ordering::Relaxed);
        }
        self.accounts.dropped_sum.fetch_add(hash(self.number), Ordering::Relaxed);
        self.accounts.dropped.fetch_add(1, Ordering::Release);
    }
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
pub(crate) fn hash(number: u64) -> u64 {
    let number = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}
