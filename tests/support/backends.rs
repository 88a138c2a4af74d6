//! The one place that knows which backends there are to conform.

use crate::deadline::doing;
use crate::toy::Toy;
use std::thread;
use yieldtasks::{Executor, FiberExecutor, FlatExecutor, Interleave, Pinning, SerialExecutor, ThreadPerTaskExecutor};

/// How a backend runs tasks, for behaviour that not all of them have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Tasks on fibers, at every level.
    Fibers,
    /// As that, with tasks that do not meet on a worker unless one descends from the other.
    Nested,
    /// Tasks on threads, at every level.
    Threads,
    /// Some tasks or all on the thread of their parent.
    Inline,
}

type Build = fn(usize) -> Box<dyn Executor>;

/// Every backend; a new one is added to the conformance suite by one line.
pub(crate) const BACKENDS: &[(&str, Kind, Build)] = &[
    ("fibers", Kind::Fibers, |workers| Box::new(fibers(workers))),
    ("fibers for a call", Kind::Fibers, |workers| Box::new(fibers_for_a_call(workers))),
    ("fibers unpinned", Kind::Fibers, |workers| Box::new(fibers_unpinned(workers))),
    ("fibers that nest", Kind::Nested, |workers| Box::new(fibers_that_nest(workers))),
    ("serial", Kind::Inline, |_| Box::new(SerialExecutor::new())),
    ("thread per task", Kind::Threads, |_| Box::new(ThreadPerTaskExecutor::new())),
    ("flat, level 0", Kind::Inline, |workers| Box::new(FlatExecutor::new(workers).unwrap())),
    ("flat, level 1", Kind::Inline, |workers| Box::new(FlatExecutor::new(workers).unwrap().level(1))),
    ("a third party's", Kind::Threads, |workers| Box::new(Toy::new(workers))),
];

/// How many workers each behaviour is tried with.
pub(crate) const WORKERS: [usize; 3] = [1, 2, 4];

/// A fiber executor with the default settings.
pub(crate) fn fibers(workers: usize) -> FiberExecutor {
    FiberExecutor::builder().workers(workers).build().unwrap()
}

/// A fiber executor whose workers live as long as a call.
pub(crate) fn fibers_for_a_call(workers: usize) -> FiberExecutor {
    FiberExecutor::builder().workers(workers).persist(false).build().unwrap()
}

/// A fiber executor whose workers may run on any core.
pub(crate) fn fibers_unpinned(workers: usize) -> FiberExecutor {
    FiberExecutor::builder().workers(workers).pinning(Pinning::None).build().unwrap()
}

/// A fiber executor whose workers run only descendants of what waits there.
pub(crate) fn fibers_that_nest(workers: usize) -> FiberExecutor {
    FiberExecutor::builder().workers(workers).interleave(Interleave::Nested).build().unwrap()
}

/// An executor to be tried, and what it is called in messages.
pub(crate) struct Candidate {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) workers: usize,
    pub(crate) executor: Box<dyn Executor>,
}

impl Drop for Candidate {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("this was on the backend {:?}", self.name);
        }
    }
}

/// Every backend with every number of workers, built one after another.
pub(crate) fn candidates() -> impl Iterator<Item = Candidate> {
    WORKERS.into_iter().flat_map(|workers| {
        BACKENDS.iter().map(move |&(name, kind, build)| {
            let name = format!("{name} x {workers}");
            doing(&format!("on {name}"));
            Candidate { name, kind, workers, executor: build(workers) }
        })
    })
}

/// Checks a behaviour on every backend.
pub(crate) fn on_every_backend(check: impl Fn(&dyn Executor)) {
    candidates().for_each(|candidate| check(&*candidate.executor));
}

/// Checks a behaviour on those that run every task on a fiber; `check` is told the number of workers.
pub(crate) fn on_fibers(check: impl Fn(&dyn Executor, usize)) {
    let on_fibers = |candidate: &Candidate| matches!(candidate.kind, Kind::Fibers | Kind::Nested);
    candidates().filter(on_fibers).for_each(|candidate| check(&*candidate.executor, candidate.workers));
}

/// As [`on_fibers`], where a task that gives way, or that waits for its children, lets any other run.
pub(crate) fn on_fibers_that_interleave(check: impl Fn(&dyn Executor, usize)) {
    let fibers = candidates().filter(|candidate| candidate.kind == Kind::Fibers);
    fibers.for_each(|candidate| check(&*candidate.executor, candidate.workers));
}

/// Checks a behaviour on those where a task may wait for any of its siblings; `check` is told the number of workers.
pub(crate) fn on_backends_where_siblings_wait(check: impl Fn(&dyn Executor, usize)) {
    let may_wait =
        |candidate: &Candidate| candidate.kind == Kind::Fibers || candidate.name.starts_with("thread per task");
    candidates().filter(may_wait).for_each(|candidate| check(&*candidate.executor, candidate.workers));
}
