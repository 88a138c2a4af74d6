//! Random programs.

use crate::dice::Dice;
use crate::nest::{Fetch, Lock, Nest, Node, Nodes, Policy, TOKENS, Verb};
use std::sync::Arc;

/// What a program may be made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Nothing panics or is stopped: every task runs.
    Quiet,
    /// Tasks panic; nothing is stopped from outside.
    Panicky,
    Wild,
}

/// What the part of a program that is being made may do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Soil {
    pub(crate) mood: Mood,
    /// Something above ends what would not end by itself.
    pub(crate) is_stoppable: bool,
    /// Each task has a fiber, and goes on when it can.
    pub(crate) siblings_wait: bool,
    /// No executor nests, so that locks of the library may be held.
    ///
    /// Where executors nest, who gets such a lock waits for its turn with the lock in its hands, perhaps for a task on top of it
    /// that wants the lock. For the same reason siblings do not wait for each other there.
    pub(crate) may_lock: bool,
    /// Tasks may be submitted to the executor that the program began on.
    pub(crate) may_submit: bool,
    /// All executors nest, so that tasks may hold what is their thread's or the system's.
    pub(crate) nests: bool,
    /// The first of these that may not be taken: those from there on may be held above.
    pub(crate) holds: usize,
    /// There is another executor to call.
    pub(crate) may_cross: bool,
    /// No lock is held above, so that one may be taken.
    pub(crate) may_wait: bool,
}

pub(crate) struct Grower<'a> {
    pub(crate) dice: &'a mut Dice,
    /// How many nodes more there may be.
    pub(crate) budget: usize,
}

impl Grower<'_> {
    pub(crate) fn node(&mut self, depth: usize, soil: Soil) -> Arc<Node> {
        self.budget = self.budget.saturating_sub(1);
        let nest = if depth == 0 || self.budget == 0 || self.dice.percent(15) {
            self.leaf(soil)
        } else {
            self.call(depth, soil)
        };
        Node::new(nest)
    }

    fn leaf(&mut self, soil: Soil) -> Nest {
        let is_wild = soil.mood == Mood::Wild;
        match self.dice.below(100) {
            0..3 if soil.mood != Mood::Quiet => Nest::Panic,
            3..7 if is_wild && soil.is_stoppable => Nest::Endless,
            7..12 if is_wild && soil.is_stoppable && soil.may_wait => Nest::Asleep,
            12..20 if is_wild => Nest::Cancel(self.dice.below(TOKENS)),
            20..24 if soil.may_wait => Nest::Nap(self.dice.below(200) as u64),
            24..25 if soil.may_wait => Nest::Unblock,
            25..30 if soil.may_wait => Nest::Channel(self.dice.below(20), self.dice.between(1, 4)),
            30..34 if soil.may_wait => Nest::Event,
            34..60 => Nest::Yields(self.dice.below(12)),
            _ if self.dice.percent(3) => Nest::Leaf(self.dice.below(100_000)),
            _ => Nest::Leaf(self.dice.below(300)),
        }
    }

    fn call(&mut self, depth: usize, soil: Soil) -> Nest {
        let depth = depth - 1;
        let is_quiet = soil.mood == Mood::Quiet;
        // What a lock is held across, or runs in a destructor, takes no lock and waits for nothing but its children.
        let plain = Soil { may_cross: false, may_wait: false, ..soil };
        match self.dice.below(100) {
            0..8 => Nest::Join(self.node(depth, soil), self.node(depth, soil)),
            8..12 => Nest::Wrap(self.node(depth, soil)),
            12..16 => Nest::Star(self.nodes(depth, soil)),
            16..26 => {
                let cancelled = if soil.mood == Mood::Wild { self.dice.bits() & self.dice.bits() } else { 0 };
                let joined = self.dice.bits();
                Nest::Scope(self.nodes(depth, soil), joined, cancelled)
            }
            26..46 => self.policy(depth, soil),
            46..50 if !is_quiet => Nest::Fallible(self.nodes(depth, soil), self.dice.bits() & self.dice.bits()),
            50..54 if !is_quiet => Nest::Catch(self.node(depth, soil)),
            54..58 if !is_quiet => {
                let cleanup = Soil { mood: Mood::Quiet, is_stoppable: false, ..plain };
                Nest::Cleanup(self.node(depth.min(2), cleanup), self.node(depth, soil))
            }
            58..63 if soil.may_wait && soil.may_lock => {
                let lock = self.dice.pick(&[Lock::Mutex, Lock::Write, Lock::Semaphore]);
                Nest::Locked(lock, self.node(depth.min(2), plain))
            }
            63..70 if soil.may_wait && soil.may_submit => {
                let fetch = if is_quiet {
                    self.dice.pick(&[Fetch::Join, Fetch::Await, Fetch::Poll])
                } else {
                    self.dice.pick(&[Fetch::Join, Fetch::Await, Fetch::Poll, Fetch::Cancel, Fetch::Drop])
                };
                // Nothing stops a detached task but its handle.
                let alone = Soil { is_stoppable: false, ..soil };
                Nest::Submit(self.node(depth, alone), fetch)
            }
            70..74 if soil.may_wait => {
                // An awaited map is stopped by who awaits it, who has to run for that.
                let is_stoppable = soil.is_stoppable && soil.siblings_wait;
                Nest::Await(self.nodes(depth, Soil { is_stoppable, ..soil }))
            }
            74..80 if soil.may_cross => {
                // Tasks of two executors that nest may hold all workers, each waiting for the other's, if both may call.
                let may_submit = soil.may_submit && soil.may_lock;
                Nest::Elsewhere(self.nodes(depth, Soil { may_submit, ..soil }))
            }
            80..81 if soil.may_cross => {
                let workers = self.dice.between(1, 2);
                Nest::Away(workers, self.nodes(depth, Soil { may_cross: false, ..soil }))
            }
            58..63 | 81..90 if soil.nests => self.hold(depth, plain),
            _ => Nest::Map(self.nodes(depth, soil)),
        }
    }

    /// A call that holds what no other than its descendants may meet: these wait for nothing but their children.
    fn hold(&mut self, depth: usize, soil: Soil) -> Nest {
        match self.dice.below(4) {
            0 => Nest::Entered(self.node(depth, soil)),
            1 => Nest::Once(self.node(depth, soil), self.dice.between(1, 6)),
            _ if soil.holds > 0 => {
                let lock = self.dice.below(soil.holds);
                Nest::Held(lock, self.node(depth, Soil { holds: lock, ..soil }))
            }
            _ => Nest::Map(self.nodes(depth, soil)),
        }
    }

    fn policy(&mut self, depth: usize, soil: Soil) -> Nest {
        let is_wild = soil.mood == Mood::Wild;
        let policy = Policy {
            token: (is_wild && self.dice.percent(40)).then(|| self.dice.below(TOKENS)),
            deadline: (is_wild && self.dice.percent(30)).then(|| self.dice.below(1500) as u64),
            limit: self.dice.percent(30).then(|| self.dice.between(1, 4)),
        };
        let soil = Soil { is_stoppable: soil.is_stoppable || policy.deadline.is_some(), ..soil };
        let nodes = self.nodes(depth, soil);
        let verb = match self.dice.below(7) {
            0 => Verb::Run,
            1 => Verb::TryRun,
            2 | 3 => Verb::Settled,
            // A race and a stream that breaks off leave tasks unrun.
            4 if soil.mood != Mood::Quiet => Verb::Race(self.dice.below(5)),
            kind => {
                let last = if soil.mood == Mood::Quiet { usize::MAX } else { self.dice.below(9) };
                [Verb::Completed(last), Verb::Ordered(last), Verb::Unordered(last)][kind % 3]
            }
        };
        Nest::Policy(policy, verb, nodes)
    }

    fn nodes(&mut self, depth: usize, soil: Soil) -> Nodes {
        let width = if self.dice.percent(5) { self.dice.below(40) } else { self.dice.below(6) };
        let mut nodes = Vec::new();
        while nodes.len() < width && self.budget > 0 {
            nodes.push(self.node(depth, soil));
        }
        nodes
    }
}
