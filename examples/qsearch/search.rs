//! The nest, written as the talk writes it: three parallel maps with a sequential loop in between.
//!
//! Every map is a plain call that comes back with the results in order. Nothing here knows what runs the tasks.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::ops::ControlFlow;
use std::sync::atomic::{self, AtomicUsize};
use std::time::{Duration, Instant};

use yieldtasks::{Executor, ExecutorExt, taskmap, yield_taskmap};

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
    /// Which of them are optimised.
    pub(crate) effort: Effort,
    /// Keys all starting points.
    pub(crate) seed: u64,
    /// When a leaf stops.
    pub(crate) rules: Rules,
    /// Candidates with more layers than this are not tried.
    pub(crate) max_layers: usize,
    /// The search gives up after it has expanded this many nodes.
    pub(crate) max_nodes: usize,
}

/// Which of a candidate's starting points are optimised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    /// All; the nearest end point counts.
    All,
    /// Those up to the first, in their order, that solves the target; that one counts.
    UntilSolved,
}

#[cfg(test)]
impl Settings {
    /// The defaults of the command line.
    pub(crate) fn for_tests() -> Self {
        Self { starts: 16, effort: Effort::All, seed: 0, rules: Rules::QUICK, max_layers: 30, max_nodes: 1000 }
    }
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
    /// Leaf optimisations in these rounds whose end points were looked at: one per candidate and starting point, unless a
    /// start solved the target and those after it were not needed. The root's own come before the first round.
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
    /// The root of the search for this target, or a round, is done; the synthesis is as good as it is yet.
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
pub(crate) fn synthesize(target: &Target, settings: &Settings, observer: &dyn Observer) -> Synthesis {
    let began = Instant::now();
    let root = Structure::root(target.qubits());
    let Evaluation { optimum, .. } = evaluate_candidate(target, &root, settings);
    let mut queue = BinaryHeap::from([Node::new(root.clone(), optimum.distance, 0)]);
    let mut sequence = 0;
    let mut best = Synthesis {
        structure: root,
        parameters: optimum.parameters,
        distance: optimum.distance,
        expanded: 0,
        leaves: 0,
        elapsed: began.elapsed(),
    };
    observer.round_done(target, &best);
    while !best.is_solved() && best.expanded < settings.max_nodes {
        let Some(node) = queue.pop() else { break };
        let candidates = successors(&node.structure, settings);
        let results = yield_taskmap(|candidate| evaluate_candidate(target, candidate, settings), &candidates);
        best.expanded += 1;
        for (candidate, Evaluation { optimum, leaves }) in candidates.into_iter().zip(results) {
            best.leaves += leaves;
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

/// What became of a candidate.
struct Evaluation {
    /// The best end point, the first of equals.
    optimum: Optimum,
    /// How many end points were looked at.
    leaves: usize,
}

impl Evaluation {
    fn of(optima: impl IntoIterator<Item = Optimum>) -> Self {
        let mut leaves = 0;
        let counted = optima.into_iter().inspect(|_| leaves += 1);
        let nearest = counted.min_by(|a, b| a.distance.total_cmp(&b.distance));
        Self { optimum: nearest.expect("there is at least one start"), leaves }
    }
}

/// Optimises a candidate from several starting points and keeps the best end point, the first of equals.
fn evaluate_candidate(target: &Target, candidate: &Structure, settings: &Settings) -> Evaluation {
    let leaf = |start| optimise_from(target, candidate, start, settings);
    Evaluation::of(match settings.effort {
        Effort::All => yield_taskmap(leaf, 0..settings.starts),
        Effort::UntilSolved => until_solved(leaf, settings.starts),
    })
}

/// Runs the starts in parallel up to the first, in their order, that solves the target, and stops those after it.
///
/// This is a race in which the lowest number goes before the best time, so that the outcome does not depend on the timing. A
/// start that solves the target keeps those with higher numbers from starting; when all before it have ended, those that run
/// are cancelled.
fn until_solved(leaf: impl Fn(usize) -> Optimum + Sync, starts: usize) -> Vec<Optimum> {
    let solving = AtomicUsize::new(usize::MAX);
    let contend = |start| {
        // ORDERING: Relaxed, here and below. It saves work and hands nothing over.
        if start > solving.load(atomic::Ordering::Relaxed) {
            return None;
        }
        let optimum = leaf(start);
        if optimum.distance < SOLVED {
            solving.fetch_min(start, atomic::Ordering::Relaxed);
        }
        Some(optimum)
    };
    let mut optima = Vec::with_capacity(starts);
    taskmap(contend, 0..starts).max_in_flight(starts).stream_ordered(|_, optimum| {
        optima.extend(optimum);
        let is_solved = optima.last().is_some_and(|optimum: &Optimum| optimum.distance < SOLVED);
        if is_solved { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    optima
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check_vectors;
    use yieldtasks::{FiberExecutor, FlatExecutor, SerialExecutor, ThreadPerTaskExecutor};

    impl Synthesis {
        pub(crate) fn unsolved_root(target: &Target) -> Self {
            let structure = Structure::root(target.qubits());
            let parameters = vec![0.5; structure.parameters()];
            Self { structure, parameters, distance: 1.0, expanded: 0, leaves: 0, elapsed: Duration::ZERO }
        }
    }

    fn targets(names: &[&str]) -> Vec<Target> {
        names.iter().map(|name| check_vectors::target(name)).collect()
    }

    fn on_serial(targets: &[Target], settings: &Settings) -> Vec<Synthesis> {
        synthesize_all(&SerialExecutor::new(), targets, settings, &Silent)
    }

    #[test]
    fn quick_targets_need_the_cnots_that_are_known() {
        let targets = targets(&["qft2", "hhl"]);
        let settings = Settings { starts: 8, ..Settings::for_tests() };
        for (target, synthesis) in targets.iter().zip(on_serial(&targets, &settings)) {
            assert!(synthesis.is_solved(), "{} is not solved", target.name());
            assert_eq!(Some(synthesis.structure.layers()), target.expected_cnots(), "{}", target.name());
        }
    }

    #[test]
    fn every_backend_and_number_of_workers_gives_the_same_results() {
        let targets = targets(&["qft2", "hhl", "qft2"]);
        for seed in [1, 2] {
            let settings = Settings { starts: 2, seed, max_nodes: 2, ..Settings::for_tests() };
            let expected = on_serial(&targets, &settings);
            assert!(expected[0].same_result(&expected[2]));
            let mut executors: Vec<Box<dyn Executor>> = vec![Box::new(ThreadPerTaskExecutor::new())];
            for workers in [1, 2, 4] {
                let fibers = FiberExecutor::builder().workers(workers).build().expect("workers start");
                executors.push(Box::new(fibers));
            }
            for level in 0..3 {
                let flat = FlatExecutor::new(2).expect("workers start");
                executors.push(Box::new(flat.level(level)));
            }
            for executor in &executors {
                let found = synthesize_all(&**executor, &targets, &settings, &Silent);
                assert!(expected.iter().zip(&found).all(|(expected, found)| expected.same_result(found)));
            }
        }
    }

    #[test]
    fn a_race_takes_the_same_way_with_fewer_leaves_on_every_backend() {
        let targets = targets(&["qft2"]);
        let all = Settings { starts: 8, ..Settings::for_tests() };
        let race = Settings { effort: Effort::UntilSolved, ..all.clone() };
        let without = on_serial(&targets, &all);
        let expected = on_serial(&targets, &race);
        for (without, with) in without.iter().zip(&expected) {
            assert!(with.is_solved());
            assert_eq!(with.structure.layers(), without.structure.layers());
            assert_eq!(with.expanded, without.expanded);
            assert!(with.leaves < without.leaves, "{} and {}", with.leaves, without.leaves);
        }
        let mut executors: Vec<Box<dyn Executor>> = vec![Box::new(ThreadPerTaskExecutor::new())];
        for workers in [1, 2, 4] {
            executors.push(Box::new(FiberExecutor::builder().workers(workers).build().expect("workers start")));
            executors.push(Box::new(FlatExecutor::new(workers).expect("workers start").level(2)));
        }
        for executor in &executors {
            let found = synthesize_all(&**executor, &targets, &race, &Silent);
            assert!(expected.iter().zip(&found).all(|(expected, found)| expected.same_result(found)));
        }
    }

    #[test]
    fn a_race_that_nobody_wins_ends_where_all_starts_do() {
        let targets = targets(&["toffoli"]);
        let all = Settings { starts: 3, max_nodes: 1, ..Settings::for_tests() };
        let race = Settings { effort: Effort::UntilSolved, ..all.clone() };
        let expected = on_serial(&targets, &all);
        let fibers = FiberExecutor::builder().workers(2).build().expect("workers start");
        for found in [on_serial(&targets, &race), synthesize_all(&fibers, &targets, &race, &Silent)] {
            assert!(expected[0].same_result(&found[0]));
        }
    }

    #[test]
    fn a_race_is_won_by_the_lowest_number_whoever_is_first() {
        let end = |start: usize, distance| Optimum { parameters: vec![start as f64], distance };
        // With two workers the second start ends before the first, which waits for it.
        let second_ended = atomic::AtomicBool::new(false);
        let leaf = |start| {
            if start == 0 {
                while !second_ended.load(atomic::Ordering::Acquire) {
                    yieldtasks::yield_now();
                }
            }
            second_ended.fetch_or(start == 1, atomic::Ordering::AcqRel);
            end(start, 0.0)
        };
        for workers in [1, 2] {
            let fibers = FiberExecutor::builder().workers(workers).build().expect("workers start");
            assert_eq!(fibers.run(|| until_solved(leaf, 6)), [end(0, 0.0)]);
        }
    }

    #[test]
    fn another_seed_takes_another_way() {
        let targets = targets(&["qft2"]);
        let [one, two] = [1, 2].map(|seed| on_serial(&targets, &Settings { seed, ..Settings::for_tests() }).remove(0));
        assert!(one.is_solved() && two.is_solved());
        assert_ne!(one.parameters, two.parameters);
    }

    #[test]
    fn a_search_that_finds_nothing_ends_at_its_bounds() {
        let targets = targets(&["toffoli"]);
        let few_layers = Settings { starts: 1, max_layers: 2, ..Settings::for_tests() };
        let synthesis = on_serial(&targets, &few_layers).remove(0);
        assert!(!synthesis.is_solved());
        // The root, its two successors, and their four, which have no successors within the bound.
        assert_eq!((synthesis.expanded, synthesis.leaves), (7, 6));
        let few_nodes = Settings { starts: 1, max_nodes: 3, ..Settings::for_tests() };
        assert_eq!(on_serial(&targets, &few_nodes)[0].expanded, 3);
    }

    #[test]
    fn unitaries_without_entanglement_need_no_cnot() {
        for qubits in 2..=4 {
            let target = Target::random_product(qubits, 3);
            let synthesis = on_serial(&[target], &Settings { max_nodes: 1, ..Settings::for_tests() }).remove(0);
            assert!(synthesis.is_solved());
            assert_eq!((synthesis.structure.layers(), synthesis.expanded), (0, 0));
        }
    }

    #[test]
    fn the_queue_gives_the_smallest_estimate_and_then_the_oldest_node() {
        let node = |edges: &[usize], distance, sequence| Node::new(Structure::with_edges(3, edges), distance, sequence);
        let mut queue = BinaryHeap::from([
            node(&[0], 0.5, 0),
            node(&[0, 1], 0.25, 1),
            node(&[1, 0], 0.25, 2),
            node(&[], 0.5, 3),
            node(&[0, 1, 0], 0.125, 4),
        ]);
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).map(|node| node.sequence).collect();
        assert_eq!(order, [4, 1, 2, 3, 0]);
    }
}
