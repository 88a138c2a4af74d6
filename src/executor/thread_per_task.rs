#![expect(unsafe_code, reason = "a task that borrows from its parent runs on a thread that the parent waits for")]
//! An OS thread per task at every level: oversubscription, the baseline.

use super::in_hand::{Call, InHand};
use super::{Executor, Feed};
use crate::batch::Batch;
use crate::current;
use crate::handle::DetachedTask;
use crate::reaper::{Orphan, reap};
use crate::runtime::affinity::off_core;
use parking_lot::Mutex;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

/// Runs every task on an OS thread of its own, started for it and ended after it.
///
/// This is what a program does that makes all its loops parallel and leaves the rest to the system. A task for which no
/// thread can be started runs on the thread of its parent.
///
/// A cancelled task ends at its next yield point, as on every backend: a thread cannot be stopped from outside.
///
/// Dropping the executor shuts it down and waits for its tasks.
#[derive(Debug, Default)]
pub struct ThreadPerTaskExecutor {
    threads: Threads,
}

impl ThreadPerTaskExecutor {
    /// Makes an executor. There is nothing to start.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Executor for ThreadPerTaskExecutor {
    /// The number of CPUs that the process may use: the system runs no more tasks than that at a time.
    fn size(&self) -> usize {
        self.threads.size()
    }

    fn persist(&self) -> bool {
        self.threads.persist()
    }

    fn shutdown(&self) {
        self.threads.shutdown();
    }

    fn run_batch(&self, batch: &Batch<'_>) {
        self.threads.run_batch(batch);
    }

    fn spawn(&self, task: DetachedTask) {
        self.threads.spawn(task);
    }

    fn identity(&self) -> *const () {
        self.threads.identity()
    }

    fn open(&self, level: usize) -> Option<Feed> {
        self.threads.open(level)
    }

    fn suspends(&self) -> bool {
        true
    }
}

impl Drop for ThreadPerTaskExecutor {
    fn drop(&mut self) {
        self.threads.in_hand.close();
        if !current::is_task_of(self.identity()) {
            self.threads.in_hand.wait();
        }
    }
}

/// The executor as its threads hold it, for the batches that their tasks make.
#[derive(Clone, Debug, Default)]
struct Threads {
    /// Batches, and each of their threads.
    in_hand: InHand,
}

impl Threads {
    /// Starts a thread that runs `work`, or runs it here if none can be started.
    ///
    /// # Safety
    ///
    /// What `work` borrows outlives its end.
    unsafe fn start<W: FnOnce(&Self) + Send>(&self, call: Call, work: W) -> Option<JoinHandle<()>> {
        // A thread that cannot be started drops its closure, so the work is kept where it can be had back.
        let work = Arc::new(Mutex::new(Some((work, call))));
        let theirs = Arc::clone(&work);
        let threads = self.clone();
        let run = off_core(move || {
            let work = theirs.lock().take();
            drop(theirs);
            if let Some((work, call)) = work {
                work(&threads);
                drop(call);
            }
        });
        let thread = thread::Builder::new().name("task".to_owned());
        // SAFETY: as the caller says. After the end of the work, the thread uses only what it owns.
        match unsafe { thread.spawn_unchecked(run) } {
            Ok(thread) => Some(thread),
            Err(_) => {
                let work = work.lock().take();
                if let Some((work, call)) = work {
                    work(self);
                    drop(call);
                }
                None
            }
        }
    }
}

impl Executor for Threads {
    fn size(&self) -> usize {
        thread::available_parallelism().map_or(1, usize::from)
    }

    fn persist(&self) -> bool {
        false
    }

    fn shutdown(&self) {
        self.in_hand.close();
        if !current::is_in_task() {
            self.in_hand.wait();
        }
    }

    fn run_batch(&self, batch: &Batch<'_>) {
        let call = self.in_hand.enter_or_panic(batch.level() > 0);
        let mut threads = Vec::with_capacity(batch.len());
        while let Some(task) = batch.next_task() {
            let call = self.in_hand.enter_or_panic(true);
            // SAFETY: the task borrows from the frame of its batch, which waits below until all tasks have ended.
            threads.extend(unsafe { self.start(call, |executor| task.run(executor)) });
        }
        batch.join();
        // The tasks have ended; this waits for the last steps of their threads. Not on a fiber, though: destructors of
        // thread-locals are the user's, and may wait for something that runs on this worker.
        if current::worker().is_none() {
            for thread in threads {
                let _ = thread.join();
            }
        } else {
            reap(threads);
        }
        drop(call);
    }

    fn spawn(&self, task: DetachedTask) {
        if let Some(call) = self.in_hand.enter(task.is_in_hand()) {
            let orphan = Arc::new(Orphan::default());
            let own = Arc::clone(&orphan);
            let work = move |executor: &Self| {
                task.run(executor);
                own.end();
            };
            // SAFETY: a detached task borrows nothing.
            if let Some(thread) = unsafe { self.start(call, work) } {
                orphan.leave(thread);
            }
        }
    }

    fn identity(&self) -> *const () {
        self.in_hand.identity()
    }

    fn open(&self, level: usize) -> Option<Feed> {
        self.in_hand.enter(level > 0).map(Feed::in_hand)
    }

    fn suspends(&self) -> bool {
        true
    }
}
