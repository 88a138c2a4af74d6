#![expect(unsafe_code, reason = "batches that wait are looked into by raw pointers")]
//! Jobs from outside of an executor whose workers nest ([`Interleave::Nested`](crate::Interleave::Nested)).
//!
//! A worker on which fibers wait for their children may start only what descends from them, wherever that comes from: the
//! tasks of a scope that such a fiber waits for, or a batch that one of their descendants made by way of another executor. So
//! it has to find its own among others, and the injector, which is first in, first out, does not let it. Here jobs that
//! belong to a task are kept by that task, their *family*. Nobody is in a hurry, so there is a lock.

use super::deque::Job;
use super::tally::Tally;
use crate::batch::Header;
use crate::control::is_anything_awaited;
use crate::record::{Origin, Record};
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};

/// Jobs that have not been taken.
#[derive(Debug)]
pub(super) struct Kin {
    jobs: Mutex<Jobs>,
    tally: Tally,
}

#[derive(Debug, Default)]
struct Jobs {
    /// Those that belong to no task, oldest first.
    roots: VecDeque<Job<Header>>,
    /// The others, by the address of the record of the task that they belong to, which waits for them; newest last.
    families: HashMap<usize, Vec<Job<Header>>>,
    /// Families in the order in which they have their turn. May name some that are no more.
    turns: VecDeque<usize>,
    /// Whether a worker that may take anything takes a root next.
    is_for_roots: bool,
}

/// What a job comes from.
///
/// # Safety
///
/// The job has not been taken, or is the caller's.
unsafe fn origin_of(job: &Job<Header>) -> &Origin {
    // SAFETY: a batch is live while it has tasks that have not started.
    let header = unsafe { job.batch.as_ref() };
    // SAFETY: it has been shared.
    unsafe { header.origin() }
}

impl Kin {
    pub(super) fn new() -> Self {
        Self { jobs: Mutex::default(), tally: Tally::new() }
    }

    /// Whether there was none at some moment during the call.
    pub(super) fn is_empty(&self) -> bool {
        self.tally.is_empty()
    }

    /// Changes when there may be something new.
    pub(super) fn pushed(&self) -> usize {
        self.tally.added()
    }

    /// Adds a job. Returns whether it belongs to a task.
    pub(super) fn push(&self, job: Job<Header>) -> bool {
        // SAFETY: the job is the caller's.
        let parent = unsafe { origin_of(&job) }.parent_address();
        let mut jobs = self.jobs.lock();
        match parent {
            None => jobs.roots.push_back(job),
            Some(parent) => jobs.add_to_family(parent, job),
        }
        self.tally.add();
        parent.is_some()
    }

    /// Takes whatever has its turn: roots and families alternate, and so do families.
    pub(super) fn take(&self) -> Option<Job<Header>> {
        if self.is_empty() {
            return None;
        }
        let mut jobs = self.jobs.lock();
        jobs.is_for_roots = !jobs.is_for_roots;
        let job = if jobs.is_for_roots {
            jobs.take_root().or_else(|| jobs.take_of_family())
        } else {
            jobs.take_of_family().or_else(|| jobs.take_root())
        };
        if job.is_some() {
            self.tally.remove();
        }
        job
    }

    /// Takes one task that descends from the waiting task `holder`, or that one of its descendants waits for.
    ///
    /// # Safety
    ///
    /// `holder` is the record of a task that has not ended.
    pub(super) unsafe fn take_below(&self, holder: &Record) -> Option<Job<Header>> {
        if self.is_empty() {
            return None;
        }
        let mut jobs = self.jobs.lock();
        let found = jobs.take_below(holder)?;
        let Job { batch, tasks } = found;
        if tasks.len() > 1 {
            let rest = Job { batch, tasks: tasks.start + 1..tasks.end };
            // SAFETY: the job was taken by this call.
            let parent = unsafe { origin_of(&rest) }.parent_address();
            jobs.put_back(parent, rest);
        } else {
            self.tally.remove();
        }
        Some(Job { batch, tasks: tasks.start..tasks.start + 1 })
    }
}

impl Jobs {
    fn take_root(&mut self) -> Option<Job<Header>> {
        self.roots.pop_front()
    }

    fn take_of_family(&mut self) -> Option<Job<Header>> {
        while let Some(parent) = self.turns.pop_front() {
            if let Some(job) = self.take_from(parent) {
                if self.families.contains_key(&parent) {
                    self.turns.push_back(parent);
                }
                return Some(job);
            }
        }
        None
    }

    /// Adds the newest of a family.
    fn add_to_family(&mut self, parent: usize, job: Job<Header>) {
        let family = self.families.entry(parent).or_default();
        family.push(job);
        if family.len() == 1 {
            self.turns.push_back(parent);
        }
    }

    /// Takes the newest of a family.
    fn take_from(&mut self, parent: usize) -> Option<Job<Header>> {
        let newest = self.families.get(&parent)?.len().checked_sub(1)?;
        self.take_at(parent, newest)
    }

    /// Takes the job at a place in a family.
    fn take_at(&mut self, parent: usize, at: usize) -> Option<Job<Header>> {
        let family = self.families.get_mut(&parent)?;
        let job = family.remove(at);
        if family.is_empty() {
            self.families.remove(&parent);
        }
        Some(job)
    }

    fn take_below(&mut self, holder: &Record) -> Option<Job<Header>> {
        if let Some(job) = self.take_from(holder.address()) {
            return Some(job);
        }
        // SAFETY: jobs in the list have not been taken.
        let is_below = |job: &Job<Header>| unsafe { origin_of(job) }.is_below(holder);
        if !is_anything_awaited() {
            // All of a family come from the same task, so one stands for all.
            let mut families = self.families.iter();
            let parent =
                families.find_map(|(&parent, jobs)| jobs.last().filter(|job| is_below(job)).map(|_| parent))?;
            return self.take_from(parent);
        }
        if let Some(at) = self.roots.iter().position(is_below) {
            return self.roots.remove(at);
        }
        let mut families = self.families.iter();
        let (parent, at) =
            families.find_map(|(&parent, jobs)| jobs.iter().rposition(is_below).map(|at| (parent, at)))?;
        self.take_at(parent, at)
    }

    /// Puts what is left of a job that was taken where it was.
    fn put_back(&mut self, parent: Option<usize>, rest: Job<Header>) {
        match parent {
            None => self.roots.push_front(rest),
            Some(parent) => self.add_to_family(parent, rest),
        }
    }
}
