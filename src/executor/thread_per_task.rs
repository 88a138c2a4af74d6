#![expect(unsafe_code, reason = "a task that borrows from its parent runs on a thread that the parent waits for")]
//! An OS thread per task at every level: oversubscription, the baseline.

use super::Executor;
use crate::batch::Batch;
use crate::current;
use crate::handle::DetachedTask;
use crate::waiter::{Parking, Waiter};
use parking_lot::Mutex;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

/// Runs every task on an OS thread of its own, started for it and ended after it.
///
/// This is what a program does that makes all its loops parallel and leaves the rest to the system. A task for which no
/// thread can be started runs on the thread of its parent.
///
/// Dropping the executor [shuts it down](Executor::shutdown).
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
}

// A panic of a task leaves the executor as it was.
impl UnwindSafe for ThreadPerTaskExecutor {}
impl RefUnwindSafe for ThreadPerTaskExecutor {}

impl Drop for ThreadPerTaskExecutor {
    fn drop(&mut self) {
        self.shutdown();
    }
}

/// The threads of an executor, which hold it too, for the batches that their tasks make.
#[derive(Clone, Debug, Default)]
struct Threads {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    closed: bool,
    /// Threads that have not ended.
    live: usize,
    /// Who waits for there to be none.
    waiters: Vec<Waiter>,
}

/// Counts a thread from before its start to its end.
struct Live(Threads);

impl Drop for Live {
    fn drop(&mut self) {
        let waiters = {
            let mut state = self.0.state.lock();
            state.live -= 1;
            if state.live == 0 { std::mem::take(&mut state.waiters) } else { Vec::new() }
        };
        waiters.into_iter().for_each(Waiter::wake);
    }
}

impl Threads {
    /// Counts a thread in, unless the executor is closed and `work_in_hand` does not need the thread.
    fn enter(&self, work_in_hand: bool) -> Option<Live> {
        let mut state = self.state.lock();
        if state.closed && !work_in_hand {
            return None;
        }
        state.live += 1;
        Some(Live(self.clone()))
    }

    /// Starts a thread that runs `work`, or runs it here if none can be started.
    ///
    /// # Safety
    ///
    /// What `work` borrows outlives its end.
    unsafe fn start<W: FnOnce(&Self) + Send>(&self, live: Live, work: W) -> Option<JoinHandle<()>> {
        // A thread that cannot be started drops its closure, so the work is kept where it can be had back.
        let work = Arc::new(Mutex::new(Some(work)));
        let theirs = Arc::clone(&work);
        let run = move || {
            let work = theirs.lock().take();
            drop(theirs);
            if let Some(work) = work {
                work(&live.0);
            }
        };
        let thread = thread::Builder::new().name("task".to_owned());
        // SAFETY: as the caller says. After the end of the work, the thread uses only what it owns.
        match unsafe { thread.spawn_unchecked(run) } {
            Ok(thread) => Some(thread),
            Err(_) => {
                let work = work.lock().take();
                work.into_iter().for_each(|work| work(self));
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
        let own = current::is_task_of(self.identity());
        let parking = Parking::here();
        {
            let mut state = self.state.lock();
            state.closed = true;
            if own || state.live == 0 || parking.must_not_wait() {
                return;
            }
            state.waiters.push(parking.waiter());
        }
        parking.wait();
    }

    fn run_batch(&self, batch: &Batch<'_>) {
        let Some(live) = self.enter(batch.level() > 0) else {
            panic!("the executor has been shut down: build another one to run more tasks");
        };
        let mut threads = Vec::with_capacity(batch.len());
        while let Some(task) = batch.next_task() {
            let live = self.enter(true).expect("work in hand is let in");
            // SAFETY: the task borrows from the frame of its batch, which waits below until all tasks have ended.
            threads.extend(unsafe { self.start(live, |executor| task.run(executor)) });
        }
        batch.join();
        // The tasks have ended; this waits for the last steps of their threads, none of which is a task's.
        for thread in threads {
            let _ = thread.join();
        }
        drop(live);
    }

    fn spawn(&self, task: DetachedTask) {
        if let Some(live) = self.enter(false) {
            // SAFETY: a detached task borrows nothing.
            unsafe { self.start(live, |executor| task.run(executor)) };
        }
    }

    fn identity(&self) -> *const () {
        Arc::as_ptr(&self.state).cast()
    }
}
