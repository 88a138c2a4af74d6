//! Accounts of what tests make: tasks that start must end, values that are made must be dropped once.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts tasks that start and end, and notes each drop of the values made.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    started: AtomicUsize,
    ended: AtomicUsize,
    made: AtomicUsize,
    drops: Mutex<Vec<usize>>,
}

/// A task between its start and its end, by return or by unwinding.
#[derive(Debug)]
pub(crate) struct Running<'a>(&'a Accounts);

/// A value that is to be dropped once.
#[derive(Debug)]
pub(crate) struct Value<'a> {
    accounts: &'a Accounts,
    number: usize,
    /// Makes a second drop a double free, which allocators notice too.
    pub(crate) tag: Box<usize>,
}

impl Accounts {
    /// Counts a task in, until the result is dropped.
    pub(crate) fn start(&self) -> Running<'_> {
        self.started.fetch_add(1, Ordering::AcqRel);
        Running(self)
    }

    pub(crate) fn value(&self, tag: usize) -> Value<'_> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        Value { accounts: self, number, tag: Box::new(tag) }
    }

    /// Values with the tags from zero on.
    pub(crate) fn values(&self, count: usize) -> Vec<Value<'_>> {
        (0..count).map(|tag| self.value(tag)).collect()
    }

    pub(crate) fn started(&self) -> usize {
        self.started.load(Ordering::Acquire)
    }

    pub(crate) fn ended(&self) -> usize {
        self.ended.load(Ordering::Acquire)
    }

    /// Checks that everything started has ended, and everything made was dropped once.
    #[track_caller]
    pub(crate) fn close(&self) {
        assert_eq!(self.ended(), self.started(), "tasks that ended, and that started");
        let mut drops = self.drops.lock().unwrap().clone();
        drops.sort_unstable();
        assert_eq!(drops, (0..self.made.load(Ordering::Acquire)).collect::<Vec<_>>(), "values by number");
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::AcqRel);
    }
}

impl Drop for Value<'_> {
    fn drop(&mut self) {
        self.accounts.drops.lock().unwrap().push(self.number);
    }
}
