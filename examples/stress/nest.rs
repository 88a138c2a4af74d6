//! Programs made of nested calls, what they are worth, and whether they end well.

use crate::accounts::hash;
use std::iter;
use std::sync::Arc;

/// A call and what is known of it without running it.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) nest: Nest,
    /// What it returns if it returns, whatever is stopped or panics elsewhere: computed serially when the nest is made.
    pub(crate) worth: u64,
    /// How it ends unless something above stops it.
    pub(crate) fate: Fate,
}

pub(crate) type Nodes = Vec<Arc<Node>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Returns,
    Panics,
    Either,
}

#[derive(Debug)]
pub(crate) enum Nest {
    /// Computes for so many steps.
    Leaf(usize),
    /// Reaches so many yield points.
    Yields(usize),
    /// Sleeps for so many microseconds.
    Nap(u64),
    Unblock,
    /// Runs until it is stopped.
    Endless,
    /// Is suspended until it is stopped.
    Asleep,
    Panic,
    /// Cancels one of the tokens.
    Cancel(usize),
    Map(Nodes),
    Star(Nodes),
    Join(Arc<Node>, Arc<Node>),
    Wrap(Arc<Node>),
    /// The bits say which of the handles are joined, and which are cancelled.
    Scope(Nodes, u64, u64),
    Policy(Policy, Verb, Nodes),
    /// Calls that fail with an error if the bit of their index is set.
    Fallible(Nodes, u64),
    /// Swallows a panic and goes on.
    Catch(Arc<Node>),
    /// Runs the first while it unwinds from whatever ends the second.
    Cleanup(Arc<Node>, Arc<Node>),
    /// Holds a lock meanwhile.
    Locked(Lock, Arc<Node>),
    /// Holds a lock of the standard library meanwhile, or a borrow.
    Held(usize, Arc<Node>),
    /// Stands in a list of the thread's meanwhile.
    Entered(Arc<Node>),
    /// So many siblings want what one of them makes.
    Once(Arc<Node>, usize),
    /// Passes so many messages through a channel of that capacity.
    Channel(usize, usize),
    /// Waits for a task of a scope to set it.
    Event,
    /// Starts a detached task.
    Submit(Arc<Node>, Fetch),
    /// Awaits the map as a future.
    Await(Nodes),
    /// Maps on the other executor.
    Elsewhere(Nodes),
    /// Maps on an executor made for this call, with that many workers.
    Away(usize, Nodes),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Lock {
    Mutex,
    Write,
    Semaphore,
}

/// What is done with a handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fetch {
    Join,
    Await,
    Poll,
    Cancel,
    Drop,
}

#[derive(Clone, Debug)]
pub(crate) struct Policy {
    pub(crate) token: Option<usize>,
    /// In microseconds.
    pub(crate) deadline: Option<u64>,
    pub(crate) limit: Option<usize>,
}

impl Policy {
    pub(crate) fn stops(&self) -> bool {
        self.token.is_some() || self.deadline.is_some()
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Verb {
    Run,
    TryRun,
    Settled,
    /// Accepts the result of the task with that index.
    Race(usize),
    /// Breaks off after so many.
    Completed(usize),
    Ordered(usize),
    Unordered(usize),
}

pub(crate) const TOKENS: usize = 3;
/// The numbers of what can be held: who holds one may take those below.
pub(crate) const HOLDS: usize = 4;
/// The number of the borrow of a thread-local. The others are locks.
pub(crate) const BORROW: usize = 0;

impl Node {
    pub(crate) fn new(nest: Nest) -> Arc<Self> {
        let (worth, fate) = (worth(&nest), fate(&nest));
        Arc::new(Self { nest, worth, fate })
    }
}

/// What a call makes of the results of others, in order.
pub(crate) fn sum(seed: u64, results: impl IntoIterator<Item = u64>) -> u64 {
    results.into_iter().fold(hash(seed), |sum, result| hash(sum.rotate_left(9) ^ result))
}

fn sum_of(seed: u64, nodes: &[Arc<Node>]) -> u64 {
    sum(seed, nodes.iter().map(|node| node.worth))
}

fn worth(nest: &Nest) -> u64 {
    match nest {
        Nest::Leaf(steps) => (0..*steps as u64).fold(1, |value, step| hash(value ^ step)),
        Nest::Map(nodes) | Nest::Star(nodes) | Nest::Await(nodes) | Nest::Elsewhere(nodes) | Nest::Away(_, nodes) => {
            sum_of(2, nodes)
        }
        Nest::Join(left, right) => sum(3, [left.worth, right.worth]),
        Nest::Wrap(node)
        | Nest::Locked(_, node)
        | Nest::Cleanup(_, node)
        | Nest::Held(_, node)
        | Nest::Entered(node) => sum(4, [node.worth]),
        Nest::Once(node, siblings) => sum(7, iter::repeat_n(node.worth, *siblings)),
        Nest::Policy(_, Verb::Run, nodes) => sum_of(2, nodes),
        Nest::Channel(messages, _) => sum(5, 0..*messages as u64),
        _ => hash(6),
    }
}

fn fate(nest: &Nest) -> Fate {
    match nest {
        Nest::Panic => Fate::Panics,
        Nest::Endless | Nest::Asleep => Fate::Either,
        Nest::Map(nodes) | Nest::Star(nodes) | Nest::Await(nodes) | Nest::Elsewhere(nodes) | Nest::Away(_, nodes) => {
            of_all(nodes.iter())
        }
        Nest::Join(left, right) => of_all([left, right].into_iter()),
        Nest::Wrap(node)
        | Nest::Locked(_, node)
        | Nest::Cleanup(_, node)
        | Nest::Held(_, node)
        | Nest::Entered(node)
        | Nest::Once(node, _) => node.fate,
        Nest::Policy(policy, Verb::Run, nodes) if !policy.stops() => of_all(nodes.iter()),
        Nest::Policy(policy, Verb::Run | Verb::Completed(_) | Verb::Ordered(_) | Verb::Unordered(_), nodes) => {
            if policy.stops() { Fate::Either } else { unless_all_return(nodes) }
        }
        Nest::Policy(_, Verb::Race(_), nodes) | Nest::Fallible(nodes, _) | Nest::Scope(nodes, ..) => {
            unless_all_return(nodes)
        }
        _ => Fate::Returns,
    }
}

fn of_all<'a>(mut nodes: impl Iterator<Item = &'a Arc<Node>> + Clone) -> Fate {
    if nodes.clone().any(|node| node.fate == Fate::Panics) {
        Fate::Panics
    } else if nodes.any(|node| node.fate == Fate::Either) {
        Fate::Either
    } else {
        Fate::Returns
    }
}

fn unless_all_return(nodes: &[Arc<Node>]) -> Fate {
    if nodes.iter().all(|node| node.fate == Fate::Returns) { Fate::Returns } else { Fate::Either }
}
