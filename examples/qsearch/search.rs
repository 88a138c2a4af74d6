//! The nest, written as the talk writes it: three parallel maps with a sequential loop in between.
//!
//! Every map is a plain call that comes back with the results in order. Nothing here knows what runs the tasks.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use yieldtasks::{Executor, ExecutorExt, yield_taskmap};

use crate::optimise::{Optimum, Rules, optimise};
use crate::starts::starting_point;
use crate::structure::Structure;
use crate::target::Target;

/// A circuit nearer to its target than this solves it.
pub(crate) const SOLVED: f64 = 1e-10;

/// How many layers a unit of distance weighs in the order of the search.
const DISTANCE_WEIGHT: f64 = 10.0;

/// What steers the search beside the target.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Starting points per candidate, at least one.
    pub(crate) starts: usize,
    /// Keys all starting points.
    pub(crate) seed: u64,
    /// When a leaf stops.
    pub(crate) rules: Rules,
    /// Candidates with more layers than this are not tried.
    pub(crate) max_layers: usize,
    /// The search gives up after it has expanded this many nodes.
    pub(crate) max_nodes: usize,
}

/// The best circuit found for a target, and what it took.
#[derive(Debug, Clone)]
pub(crate) struct Synthesis {
    /// Where the circuit's CNOTs go.
    pub(crate) structure: Structure,
    /// The circuit's angles in radians.
    pub(crate) parameters: Vec<f64>,
    /// Distance of the circuit from the target.
    pub(crate) distance: f64,
    /// Nodes whose successors were evaluated: rounds of the sequential loop.
    pub(crate) expanded: usize,
    /// Leaf optimisations of candidates; the root's own is not among them.
    pub(crate) leaves: usize,
    /// Time from the start of the synthesis to its end, that of other tasks in between included.
    pub(crate) elapsed: Duration,
}

impl Synthesis {
    /// Whether the circuit reproduces the target.
    pub(crate) fn is_solved(&self) -> bool {
        self.distance < SOLVED
    }

    /// Whether another synthesis came to the same end by the same way, to the last bit. Time does not count.
    pub(crate) fn same_result(&self, other: &Self) -> bool {
        let bits = |synthesis: &Self| -> Vec<u64> {
            let distance = [synthesis.distance];
            let numbers = synthesis.parameters.iter().chain(&distance);
            numbers.map(|number| number.to_bits()).collect()
        };
        self.structure == other.structure
            && self.expanded == other.expanded
            && self.leaves == other.leaves
            && bits(self) == bits(other)
    }
}

/// Hears how syntheses come along. Called from inside tasks, so it must be quick.
pub(crate) trait Observer: Sync {
    /// A round of the search for this target is done; the synthesis is as good as it is yet.
    fn round_done(&self, _target: &Target, _synthesis: &Synthesis) {}
    /// The search for this target has ended.
    fn synthesis_done(&self, _target: &Target, _synthesis: &Synthesis) {}
}

/// An observer that does not care.
pub(crate) struct Silent;

impl Observer for Silent {}

/// Synthesises all targets, in parallel at every level; the results are in the order of the targets.
pub(crate) fn synthesize_all(
    executor: &dyn Executor,
    targets: &[Target],
    settings: &Settings,
    observer: &dyn Observer,
) -> Vec<Synthesis> {
    executor.map(|target| synthesize(target, settings, observer), targets)
}

/// Searches the tree of structures for the circuit with the fewest layers: A* by distance and depth.
fn synthesize(target: &Target, settings: &Settings, observer: &dyn Observer) -> Synthesis {
    let began = Instant::now();
    let root = Structure::root(target.qubits());
    let optimum = optimise_from(target, &root, 0, settings);
    let mut queue = BinaryHeap::from([Node::new(root.clone(), optimum.distance, 0)]);
    let mut sequence = 0;
    let mut best = Synthesis {
        structure: root,
        parameters: optimum.parameters,
        distance: optimum.distance,
        expanded: 0,
        leaves: 0,
        elapsed: Duration::ZERO,
    };
    while !best.is_solved() && best.expanded < settings.max_nodes {
        let Some(node) = queue.pop() else { break };
        let candidates = successors(&node.structure, settings);
        let results = yield_taskmap(|candidate| evaluate_candidate(target, candidate, settings), &candidates);
        best.expanded += 1;
        best.leaves += candidates.len() * settings.starts;
        for (candidate, optimum) in candidates.into_iter().zip(results) {
            sequence += 1;
            queue.push(Node::new(candidate.clone(), optimum.distance, sequence));
            best.improve(candidate, optimum);
        }
        best.elapsed = began.elapsed();
        observer.round_done(target, &best);
    }
    best.elapsed = began.elapsed();
    observer.synthesis_done(target, &best);
    best
}

/// Optimises a candidate from several starting points and keeps the best end point, the first of equals.
fn evaluate_candidate(target: &Target, candidate: &Structure, settings: &Settings) -> Optimum {
    let optima = yield_taskmap(|start| optimise_from(target, candidate, start, settings), 0..settings.starts);
    optima.into_iter().min_by(|a, b| a.distance.total_cmp(&b.distance)).expect("there is at least one start")
}

/// The leaf of the nest: one optimisation from one starting point.
fn optimise_from(target: &Target, structure: &Structure, start: usize, settings: &Settings) -> Optimum {
    let point = starting_point(settings.seed, target, structure, start);
    optimise(structure, target, point, &settings.rules)
}

fn successors(structure: &Structure, settings: &Settings) -> Vec<Structure> {
    if structure.layers() < settings.max_layers { structure.successors() } else { Vec::new() }
}

impl Synthesis {
    /// Takes the candidate if it is nearer, or solves the target with fewer layers.
    fn improve(&mut self, structure: Structure, optimum: Optimum) {
        let nearer = optimum.distance < self.distance;
        let shorter = optimum.distance < SOLVED && structure.layers() < self.structure.layers();
        if nearer || shorter {
            self.structure = structure;
            self.parameters = optimum.parameters;
            self.distance = optimum.distance;
        }
    }
}

/// An entry of the queue of nodes to expand. The *greatest* one is the next.
#[derive(Debug)]
struct Node {
    structure: Structure,
    distance: f64,
    sequence: usize,
}

impl Node {
    fn new(structure: Structure, distance: f64, sequence: usize) -> Self {
        Self { structure, distance, sequence }
    }

    fn estimate(&self) -> f64 {
        DISTANCE_WEIGHT * self.distance + self.structure.layers() as f64
    }
}

impl Ord for Node {
    fn cmp(&self, other: &Self) -> Ordering {
        let ascending = self
            .estimate()
            .total_cmp(&other.estimate())
            .then_with(|| self.structure.layers().cmp(&other.structure.layers()))
            .then_with(|| self.distance.total_cmp(&other.distance))
            .then_with(|| self.sequence.cmp(&other.sequence));
        ascending.reverse()
    }
}

impl PartialOrd for Node {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Node {}
