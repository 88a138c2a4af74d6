//! Runs programs on the library and checks what comes out.

use crate::accounts::{Accounts, Item, hash};
use crate::holds::Holds;
use crate::locks::Locks;
use crate::nest::{Fate, Fetch, Nest, Node, TOKENS, sum};
use crate::watch::Calls;
use parking_lot::Mutex;
use std::any::Any;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use std::{hint, thread};
use yieldtasks::{
    CancelToken, ErrorKind, Executor, ExecutorExt, FiberExecutor, Interleave, Pinning, TaskHandle, block_on,
    checkpoint, sleep, sync, taskmap, try_yield_taskmap, unblock, yield_join, yield_now, yield_scope, yield_starmap,
    yield_taskmap, yield_taskwrap,
};

/// The payload of the panics that programs ask for.
#[derive(Debug)]
pub(crate) struct Expected;

/// What the tasks of an episode share.
pub(crate) struct Env {
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) tokens: [CancelToken; TOKENS],
    pub(crate) home: Weak<dyn Executor>,
    pub(crate) other: Option<Weak<dyn Executor>>,
    /// Whether a task may wait for what a sibling does. If not, the sibling may not start before the task has ended.
    pub(crate) siblings_wait: bool,
    /// Whether executors may be shut down while tasks run.
    pub(crate) may_find_closed: bool,
    /// Moves on with every call, for the detector of hangs.
    pub(crate) progress: Arc<AtomicU64>,
    pub(crate) calls: Arc<Calls>,
    pub(crate) locks: Locks,
    pub(crate) holds: Holds,
    /// How executors interleave that are made in tasks.
    pub(crate) interleave: Interleave,
    /// What was found wrong: an assertion in a task would be one more panic of the program.
    pub(crate) wrong: Mutex<Vec<String>>,
}

pub(crate) fn caught<R>(f: impl FnOnce() -> R) -> Result<R, Box<dyn Any + Send>> {
    panic::catch_unwind(AssertUnwindSafe(f))
}

impl Env {
    pub(crate) fn check(&self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.wrong.lock().push(what());
        }
    }

    pub(crate) fn items<'n>(&self, nodes: &'n [Arc<Node>]) -> Vec<(Item, &'n Node)> {
        nodes.iter().map(|node| (self.accounts.item(), &**node)).collect()
    }

    /// One task of a map.
    pub(crate) fn child(self: &Arc<Self>, mut item: Item, node: &Node) -> u64 {
        item.spend();
        self.evaluate(node)
    }

    /// Runs the node and checks what it returns.
    pub(crate) fn evaluate(self: &Arc<Self>, node: &Node) -> u64 {
        self.progress.fetch_add(1, Ordering::Relaxed);
        let _running = self.accounts.start();
        let _local = self.accounts.value();
        let _noted = self.calls.note(&node.nest);
        let worth = self.call(node);
        self.check(worth == node.worth && node.fate != Fate::Panics, || format!("{worth:#x} from {node:?}"));
        worth
    }

    fn call(self: &Arc<Self>, node: &Node) -> u64 {
        match &node.nest {
            Nest::Leaf(steps) => (0..*steps as u64).fold(1, |value, step| hint::black_box(hash(value ^ step))),
            Nest::Panic => panic::panic_any(Expected),
            Nest::Endless => loop {
                checkpoint();
                thread::yield_now();
            },
            Nest::Map(nodes) => sum(2, yield_taskmap(|(item, node)| self.child(item, node), self.items(nodes))),
            Nest::Star(nodes) => sum(2, yield_starmap(|item, node| self.child(item, node), self.items(nodes))),
            Nest::Join(left, right) => {
                let (left, right) = yield_join(|| self.evaluate(left), || self.evaluate(right));
                sum(3, [left, right])
            }
            Nest::Wrap(node) => sum(4, [yield_taskwrap(|| self.evaluate(node))]),
            Nest::Locked(lock, node) => sum(4, [self.locked(*lock, node)]),
            Nest::Held(lock, node) => sum(4, [self.held(*lock, node)]),
            Nest::Entered(node) => sum(4, [self.entered(node)]),
            Nest::Once(node, siblings) => self.once(node, *siblings),
            Nest::Cleanup(cleanup, node) => {
                let _cleanup = OnUnwind(|| drop(caught(|| self.evaluate(cleanup))));
                sum(4, [self.evaluate(node)])
            }
            Nest::Policy(policy, verb, nodes) => self.policy(policy, *verb, nodes),
            Nest::Channel(messages, capacity) => sum(5, self.channel(*messages as u64, *capacity)),
            Nest::Await(nodes) => {
                let env = Arc::clone(self);
                let items: Vec<_> = nodes.iter().map(|node| (self.accounts.item(), Arc::clone(node))).collect();
                let map = taskmap(move |(item, node): (Item, Arc<Node>)| env.child(item, &node), items);
                sum(2, block_on(map.into_future()))
            }
            Nest::Elsewhere(nodes) => sum(2, self.elsewhere(nodes)),
            Nest::Away(workers, nodes) => sum(2, self.away(*workers, nodes)),
            other => {
                self.act(other);
                hash(6)
            }
        }
    }

    /// Calls that are worth nothing of their own.
    fn act(self: &Arc<Self>, nest: &Nest) {
        match nest {
            Nest::Yields(steps) => {
                for step in 0..*steps {
                    if step % 2 == 0 { checkpoint() } else { yield_now() }
                }
            }
            Nest::Nap(micros) => sleep(Duration::from_micros(*micros)),
            Nest::Unblock => self.check(unblock(|| 7) == 7, || "not what was computed aside".to_owned()),
            Nest::Asleep => sleep(Duration::from_secs(3600)),
            Nest::Cancel(token) => self.tokens[*token].cancel(),
            Nest::Scope(nodes, joined, cancelled) => self.scope(nodes, *joined, *cancelled),
            Nest::Fallible(nodes, failing) => self.fallible(nodes, *failing),
            Nest::Catch(node) => drop(caught(|| self.evaluate(node))),
            Nest::Event => self.event(),
            Nest::Submit(node, fetch) => self.submit(node, *fetch),
            nest => unreachable!("{nest:?} is worth something"),
        }
    }

    fn scope(self: &Arc<Self>, nodes: &[Arc<Node>], joined: u64, cancelled: u64) {
        yield_scope(|s| {
            let spawn = |(idx, (item, node)): (usize, (Item, _))| {
                let handle = s.spawn(move || self.child(item, node));
                if cancelled >> (idx % 64) & 1 == 1 {
                    handle.cancel();
                }
                (idx, handle)
            };
            let handles: Vec<_> = self.items(nodes).into_iter().enumerate().map(spawn).collect();
            for (idx, handle) in handles {
                if joined >> (idx % 64) & 1 == 1 {
                    let outcome = handle.join().map_err(|error| error.kind());
                    let is_right = match (nodes[idx].fate, outcome) {
                        (_, Ok(worth)) => worth == nodes[idx].worth,
                        (_, Err(ErrorKind::Cancelled | ErrorKind::DeadlineExceeded)) => true,
                        (fate, Err(kind)) => fate != Fate::Returns && kind == ErrorKind::Panicked,
                    };
                    self.check(is_right || self.may_find_closed, || format!("{outcome:?} of {:?}", nodes[idx]));
                }
            }
        });
    }

    fn fallible(self: &Arc<Self>, nodes: &[Arc<Node>], failing: u64) {
        let fails = |idx: usize| failing >> (idx % 64) & 1 == 1;
        let task = |(idx, (item, node)): (usize, (Item, &Node))| {
            let worth = self.child(item, node);
            if fails(idx) { Err((idx, self.accounts.value())) } else { Ok(worth) }
        };
        match try_yield_taskmap(task, self.items(nodes).into_iter().enumerate()) {
            Ok(results) => {
                let right = results.iter().zip(nodes).all(|(&result, node)| result == node.worth);
                self.check(right && results.len() == nodes.len(), || "results of fallible calls".to_owned());
                self.check(!(0..nodes.len()).any(fails), || "an error was lost".to_owned());
            }
            Err((idx, _value)) => self.check(fails(idx), || format!("an error of {idx}, which has none")),
        }
    }

    fn channel(self: &Arc<Self>, messages: u64, capacity: usize) -> Vec<u64> {
        let capacity = if self.siblings_wait { capacity } else { capacity.max(messages as usize) };
        let (sender, receiver) = sync::channel(capacity);
        yield_scope(|s| {
            s.spawn(move || (0..messages).try_for_each(|message| sender.send((message, self.accounts.value()))));
            receiver.iter().map(|(message, _value)| message).collect()
        })
    }

    fn event(&self) {
        let event = sync::Event::new();
        yield_scope(|s| {
            s.spawn(|| event.set());
            event.wait();
        });
    }

    fn submit(self: &Arc<Self>, node: &Arc<Node>, fetch: Fetch) {
        match self.home.upgrade() {
            Some(home) => {
                let handle = self.submit_to(&*home, node);
                self.fetch(handle, node, fetch);
            }
            // While an executor is being dropped, its last tasks run.
            None => self.check(self.may_find_closed, || "a task runs without its executor".to_owned()),
        }
    }

    pub(crate) fn submit_to(self: &Arc<Self>, executor: &dyn Executor, node: &Arc<Node>) -> TaskHandle<u64> {
        let (env, node, item) = (Arc::clone(self), Arc::clone(node), self.accounts.item());
        executor.submit(move || env.child(item, &node))
    }

    pub(crate) fn fetch(&self, mut handle: TaskHandle<u64>, node: &Node, fetch: Fetch) {
        let outcome = match fetch {
            Fetch::Join => handle.join(),
            Fetch::Await => block_on(handle),
            Fetch::Poll => {
                // A few times only: who polls for ever looks busy, and where fibers are few the task has none.
                let mut patience = (0..3).map(|step| Duration::from_micros(100 * step));
                loop {
                    let Some(time) = patience.next() else { break handle.join() };
                    match handle.join_timeout(time) {
                        Ok(outcome) => break outcome,
                        Err(again) => handle = again,
                    }
                }
            }
            Fetch::Cancel => {
                handle.cancel();
                handle.join()
            }
            Fetch::Drop => return handle.detach(),
        };
        let kind = outcome.as_ref().map_err(|error| error.kind()).copied();
        let is_right = match kind {
            Ok(worth) => worth == node.worth,
            Err(ErrorKind::Panicked) => node.fate != Fate::Returns || self.may_find_closed,
            Err(ErrorKind::Cancelled) => fetch == Fetch::Cancel,
            Err(kind) => kind == ErrorKind::ShutDown && self.may_find_closed,
        };
        self.check(is_right, || format!("{outcome:?} fetched by {fetch:?} from {node:?}"));
    }

    fn elsewhere(self: &Arc<Self>, nodes: &[Arc<Node>]) -> Vec<u64> {
        match self.other.as_ref().and_then(Weak::upgrade) {
            Some(other) => other.map(|(item, node)| self.child(item, node), self.items(nodes)),
            None => yield_taskmap(|(item, node)| self.child(item, node), self.items(nodes)),
        }
    }

    fn away(self: &Arc<Self>, workers: usize, nodes: &[Arc<Node>]) -> Vec<u64> {
        let builder = FiberExecutor::builder().workers(workers).pinning(Pinning::None).interleave(self.interleave);
        match builder.build() {
            Ok(executor) => executor.map(|(item, node)| self.child(item, node), self.items(nodes)),
            Err(error) => {
                self.check(false, || format!("no executor for a task: {error}"));
                Vec::new()
            }
        }
    }
}

/// Calls a function if dropped while the thread unwinds.
struct OnUnwind<F: Fn()>(F);

impl<F: Fn()> Drop for OnUnwind<F> {
    fn drop(&mut self) {
        if thread::panicking() {
            (self.0)();
        }
    }
}
