//! A backend as a third party would write it, with the public surface of the crate alone.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use yieldtasks::{Batch, DetachedTask, Executor};

/// Gives each batch as many threads as it has workers, and each thread one task after another.
#[derive(Clone, Debug)]
pub(crate) struct Toy {
    workers: usize,
    hands: Arc<Hands>,
}

/// Counts the work in hand.
#[derive(Debug, Default)]
struct Hands {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    closed: bool,
    in_hand: usize,
    /// The threads that run tasks.
    own: Vec<thread::ThreadId>,
}

impl Toy {
    pub(crate) fn new(workers: usize) -> Self {
        Self { workers, hands: Arc::default() }
    }

    /// Counts work in, unless the executor is closed.
    fn enter(&self, level: usize) -> bool {
        let mut state = self.hands.state.lock().unwrap();
        let open = level > 0 || !state.closed;
        state.in_hand += usize::from(open);
        open
    }

    fn leave(&self) {
        self.hands.state.lock().unwrap().in_hand -= 1;
        self.hands.changed.notify_all();
    }

    /// Runs `work` with the calling thread noted as one of this executor's.
    fn as_worker(&self, work: impl FnOnce()) {
        let here = thread::current().id();
        self.hands.state.lock().unwrap().own.push(here);
        work();
        self.hands.state.lock().unwrap().own.retain(|&thread| thread != here);
    }
}

impl Executor for Toy {
    fn size(&self) -> usize {
        self.workers
    }

    fn persist(&self) -> bool {
        false
    }

    fn shutdown(&self) {
        let mut state = self.hands.state.lock().unwrap();
        state.closed = true;
        while state.in_hand > 0 && !state.own.contains(&thread::current().id()) {
            state = self.hands.changed.wait(state).unwrap();
        }
    }

    fn run_batch(&self, batch: &Batch<'_>) {
        assert!(self.enter(batch.level()), "this toy has been shut down");
        let tasks: VecDeque<_> = std::iter::from_fn(|| batch.next_task()).collect();
        let tasks = Mutex::new(tasks);
        let next = || tasks.lock().unwrap().pop_front();
        thread::scope(|scope| {
            for _ in 0..self.workers.min(batch.len()) {
                scope.spawn(|| self.as_worker(|| std::iter::from_fn(next).for_each(|task| task.run(self))));
            }
        });
        self.leave();
    }

    fn spawn(&self, task: DetachedTask) {
        if self.enter(usize::from(task.is_in_hand())) {
            let toy = self.clone();
            thread::spawn(move || {
                toy.as_worker(|| task.run(&toy));
                toy.leave();
            });
        }
    }
}
