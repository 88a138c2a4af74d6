//! The live tasks of an executor, at a glance.

mod display;
mod tree;

use crate::path::{PathStep, TaskPath};
use crate::runtime::survey::Sight;
use std::fmt;
use std::iter;
use std::panic::Location;
use std::time::Duration;

/// The tasks of a [`FiberExecutor`](crate::FiberExecutor) that have started and not ended, as a tree: below each task those that it
/// waits for.
///
/// Each worker's part is as it was at one moment, but the workers are asked one after another while the others go on. So tasks
/// that start or end meanwhile may be missing, or be shown in two states.
///
/// Displayed, it is a line per task, indented by its depth, a thousand lines at most, or all by `{:#}`:
///
/// ```text
/// 4 live tasks on 2 workers: 2 running, 2 suspended, 0 ready
/// synthesize[3]: suspended at src/main.rs:41 for 1.2 s waiting for 3 of 16
///   evaluate at src/main.rs:41 [7]: running on worker 0
///   evaluate at src/main.rs:41 [9]: suspended at src/main.rs:57 waiting for 1 of 2
///     src/main.rs:57 [1]: running on worker 1
/// ```
#[derive(Clone)]
pub struct Dump {
    /// Each before those below it, and those before its next sibling.
    tasks: Vec<Entry>,
    workers: usize,
    silent: Vec<usize>,
}

#[derive(Clone, Debug)]
struct Entry {
    step: PathStep,
    state: TaskState,
    depth: usize,
    parent: Option<usize>,
    /// One past the last of those below it.
    end: usize,
}

/// What a live task does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TaskState {
    /// It runs.
    Running {
        /// On this worker.
        worker: usize,
    },
    /// It waits for other tasks, or for something else, such as a lock, a timer or a future.
    Suspended {
        /// The worker on which it will go on.
        worker: usize,
        /// Where the call is that waits.
        at: &'static Location<'static>,
        /// For how long, to some milliseconds. Not known of a task whose worker is still about the tasks that it waits for.
        since: Option<Duration>,
        /// The tasks that it waits for, if they are those of one map. For a map with a limit of tasks in flight, these are as
        /// many as the limit, each of which runs one item after another.
        tasks: Option<Awaited>,
    },
    /// It could run, and waits for its turn.
    Ready {
        /// On this worker.
        worker: usize,
    },
    /// It runs or waits elsewhere: it is a task of another executor, or came or went while the workers were asked.
    Elsewhere,
}

/// Tasks that are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Awaited {
    /// How many have not ended.
    pub left: usize,
    /// How many there were.
    pub total: usize,
}

/// A task of a [`Dump`].
#[derive(Clone, Copy)]
pub struct LiveTask<'a> {
    dump: &'a Dump,
    idx: usize,
}

impl Dump {
    /// Makes sense of what the workers have answered, or `None` for one that has not.
    pub(crate) fn new(answers: Vec<(usize, Option<Vec<Sight>>)>) -> Self {
        let workers = answers.len();
        let silent = answers.iter().filter(|(_, sights)| sights.is_none()).map(|(worker, _)| *worker).collect();
        let seen = answers.into_iter().filter_map(|(worker, sights)| Some((worker, sights?))).collect();
        Self { tasks: tree::grow(seen), workers, silent }
    }

    /// The live tasks, each before those below it.
    pub fn tasks(&self) -> impl ExactSizeIterator<Item = LiveTask<'_>> + DoubleEndedIterator {
        (0..self.tasks.len()).map(|idx| LiveTask { dump: self, idx })
    }

    /// The tasks that no task has made.
    pub fn roots(&self) -> impl Iterator<Item = LiveTask<'_>> {
        self.siblings(0, self.tasks.len())
    }

    /// The number of live tasks.
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether no task is live.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// The workers that did not answer within two seconds: something else has the signal `SIGURG` blocked there, or keeps
    /// the thread from running. Their tasks are missing.
    pub fn silent_workers(&self) -> &[usize] {
        &self.silent
    }

    fn siblings(&self, first: usize, end: usize) -> impl Iterator<Item = LiveTask<'_>> {
        let next = |idx: &usize| Some(self.tasks[*idx].end);
        let within = move |idx: &usize| *idx < end;
        iter::successors((first < end).then_some(first), move |idx| next(idx).filter(within))
            .map(|idx| LiveTask { dump: self, idx })
    }
}

impl<'a> LiveTask<'a> {
    fn entry(self) -> &'a Entry {
        &self.dump.tasks[self.idx]
    }

    /// The last step of its path.
    pub fn step(self) -> PathStep {
        self.entry().step
    }

    /// Its place in the nest.
    pub fn path(self) -> TaskPath {
        let mut steps: Vec<_> = iter::successors(Some(self), |task| task.parent()).map(Self::step).collect();
        steps.reverse();
        TaskPath::new(steps)
    }

    /// What it does.
    pub fn state(self) -> TaskState {
        self.entry().state
    }

    /// How many tasks it is below.
    pub fn depth(self) -> usize {
        self.entry().depth
    }

    /// The task that made it.
    pub fn parent(self) -> Option<Self> {
        self.entry().parent.map(|idx| Self { idx, ..self })
    }

    /// The live tasks that it has made.
    pub fn children(self) -> impl Iterator<Item = LiveTask<'a>> {
        self.dump.siblings(self.idx + 1, self.entry().end)
    }
}

impl fmt::Debug for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dump").field("tasks", &self.len()).field("silent", &self.silent).finish_non_exhaustive()
    }
}

impl fmt::Debug for LiveTask<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LiveTask({self})")
    }
}
