//! Random nests give what a plain recursion gives, on every backend.

use crate::backends::{Candidate, candidates};
use crate::deadline::within_deadline;
use crate::panicking::{caught, expected, number_of};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use yieldtasks::{ExecutorExt, yield_join, yield_now, yield_starmap, yield_taskmap, yield_taskwrap};

/// A program made of nested calls. Its value depends on the order of results, not on the order of running.
#[derive(Clone, Debug)]
enum Nest {
    Leaf(u8),
    /// Panics with its number, see [`number`].
    Panic,
    Now(Box<Nest>),
    Wrap(Box<Nest>),
    Join(Box<Nest>, Box<Nest>),
    Map(Vec<Nest>),
    /// The same maps, one after another, with what came before as input to what comes after.
    Loop(Vec<Vec<Nest>>),
    Starmap(Vec<(Nest, Nest)>),
    /// Has a value whether or not what is inside panics.
    Catch(Box<Nest>),
}

fn mix(a: u64, b: u64) -> u64 {
    (a.rotate_left(9) ^ b).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// What panics carry: from the depth and the position on the path, so that many panics of a nest differ.
fn number(path: u64) -> usize {
    usize::try_from(path % 100_000).unwrap()
}

/// Counts how often each leaf was run, by its number; collisions only make the count larger for both sides alike.
struct Runs(Vec<AtomicUsize>);

impl Runs {
    fn new() -> Self {
        Self((0..100_000).map(|_| AtomicUsize::new(0)).collect())
    }

    fn note(&self, path: u64) {
        self.0[number(path)].fetch_add(1, Ordering::Relaxed);
    }

    fn take(&self) -> Vec<(usize, usize)> {
        let runs = self.0.iter().enumerate().map(|(number, runs)| (number, runs.swap(0, Ordering::Relaxed)));
        runs.filter(|&(_, runs)| runs > 0).collect()
    }
}

/// The nest as blocking code.
fn evaluate(nest: &Nest, path: u64, runs: &Runs) -> u64 {
    let child = |(idx, nest): (usize, &Nest)| evaluate(nest, mix(path, idx as u64), runs);
    let alone = |nest: &Nest| child((0, nest));
    match nest {
        Nest::Leaf(value) => {
            runs.note(path);
            u64::from(*value)
        }
        Nest::Panic => {
            runs.note(path);
            expected(number(path))
        }
        Nest::Now(nest) => {
            yield_now();
            alone(nest)
        }
        Nest::Wrap(nest) => mix(1, yield_taskwrap(|| alone(nest))),
        Nest::Join(left, right) => {
            let (left, right) = yield_join(|| child((0, left)), || child((1, right)));
            mix(left, right)
        }
        Nest::Map(nests) => yield_taskmap(child, nests.iter().enumerate()).into_iter().fold(2, mix),
        Nest::Loop(maps) => maps.iter().enumerate().fold(3, |before, (round, nests)| {
            let items = nests.iter().enumerate().map(|(idx, nest)| (idx + 10 * round, nest));
            yield_taskmap(child, items).into_iter().fold(before, mix)
        }),
        Nest::Starmap(pairs) => {
            let both = |idx: usize, left: &Nest, right: &Nest| mix(child((2 * idx, left)), child((2 * idx + 1, right)));
            let items = pairs.iter().enumerate().map(|(idx, (left, right))| (idx, left, right));
            yield_starmap(both, items).into_iter().fold(4, mix)
        }
        Nest::Catch(nest) => caught(|| alone(nest)).unwrap_or(5),
    }
}

/// What a plain recursion finds: the value, or else the panic of serial order; all panics that may arrive; whether
/// anything panics, caught or not.
struct Reference {
    outcome: Result<u64, usize>,
    possible: BTreeSet<usize>,
    panics: bool,
}

fn reference(nest: &Nest, path: u64) -> Reference {
    let child = |(idx, nest): (usize, &Nest)| reference(nest, mix(path, idx as u64));
    let several = |start: u64, children: Vec<Reference>| {
        let panics = children.iter().any(|child| child.panics);
        let possible = children.iter().flat_map(|child| child.possible.clone()).collect();
        let outcome = children.iter().try_fold(start, |before, child| Ok(mix(before, child.outcome?)));
        Reference { outcome, possible, panics }
    };
    match nest {
        Nest::Leaf(value) => Reference { outcome: Ok(u64::from(*value)), possible: BTreeSet::new(), panics: false },
        Nest::Panic => Reference { outcome: Err(number(path)), possible: BTreeSet::from([number(path)]), panics: true },
        Nest::Now(nest) => child((0, nest)),
        Nest::Wrap(nest) => several(1, vec![child((0, nest))]),
        Nest::Join(left, right) => {
            let (left, right) = (child((0, left)), child((1, right)));
            let outcome = left.outcome.and_then(|left| Ok(mix(left, right.outcome?)));
            let possible = &left.possible | &right.possible;
            Reference { outcome, possible, panics: left.panics || right.panics }
        }
        Nest::Map(nests) => several(2, nests.iter().enumerate().map(child).collect()),
        Nest::Loop(maps) => {
            let mut all = Reference { outcome: Ok(3), possible: BTreeSet::new(), panics: false };
            for (round, nests) in maps.iter().enumerate() {
                let items = nests.iter().enumerate().map(|(idx, nest)| child((idx + 10 * round, nest)));
                let Ok(before) = all.outcome else { break };
                let round = several(before, items.collect());
                all = Reference { panics: all.panics || round.panics, ..round };
            }
            all
        }
        Nest::Starmap(pairs) => {
            let pair = |(idx, (left, right)): (usize, &(Nest, Nest))| {
                let (left, right) = (child((2 * idx, left)), child((2 * idx + 1, right)));
                // The two run one after the other in one task.
                let outcome = left.outcome.and_then(|left| Ok(mix(left, right.outcome?)));
                let possible = if left.outcome.is_ok() { right.possible } else { left.possible };
                Reference { outcome, possible, panics: left.panics || right.panics }
            };
            several(4, pairs.iter().enumerate().map(pair).collect())
        }
        Nest::Catch(nest) => {
            let inside = child((0, nest));
            let value = inside.outcome.unwrap_or(5);
            Reference { outcome: Ok(value), possible: BTreeSet::new(), panics: inside.panics }
        }
    }
}

fn nests(panics: bool) -> impl Strategy<Value = Nest> {
    let panic_weight = u32::from(panics);
    let leaf = prop_oneof![12 => any::<u8>().prop_map(Nest::Leaf), panic_weight => Just(Nest::Panic)];
    leaf.prop_recursive(6, 60, 5, |inner| {
        let boxed = || inner.clone().prop_map(Box::new);
        let several = prop::collection::vec(inner.clone(), 0..6);
        prop_oneof![
            1 => boxed().prop_map(Nest::Now),
            1 => boxed().prop_map(Nest::Wrap),
            2 => (boxed(), boxed()).prop_map(|(left, right)| Nest::Join(left, right)),
            3 => several.clone().prop_map(Nest::Map),
            2 => prop::collection::vec(several, 1..4).prop_map(Nest::Loop),
            1 => prop::collection::vec((inner.clone(), inner.clone()), 0..4).prop_map(Nest::Starmap),
            1 => boxed().prop_map(Nest::Catch),
        ]
    })
}

/// Runs the nest on one backend and compares.
fn agrees(nest: &Nest, reference: &Reference, candidate: &Candidate, runs: &Runs) -> Result<(), TestCaseError> {
    let outcome = caught(|| candidate.executor.run(|| evaluate(nest, 1, runs))).map_err(number_of);
    let name = &candidate.name;
    match (&outcome, &reference.outcome) {
        (Ok(value), Ok(expected)) => prop_assert_eq!(value, expected, "on {}", name),
        (Err(number), Err(first)) => {
            prop_assert!(reference.possible.contains(number), "panic {} on {}", number, name);
            prop_assert!(number == first || !name.starts_with("serial"), "panic {} on {}", number, name);
        }
        _ => prop_assert!(false, "{:?} instead of {:?} on {}", outcome, reference.outcome, name),
    }
    Ok(())
}

fn compare(cases: u32, panics: bool) {
    let candidates: Vec<_> = candidates().collect();
    let (runs, serial_runs) = (Runs::new(), Runs::new());
    let serial = yieldtasks::SerialExecutor::new();
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 300, ..Config::default() };
    let outcome = TestRunner::new(config).run(&nests(panics), |nest| {
        let reference = reference(&nest, 1);
        let _ = caught(|| serial.run(|| evaluate(&nest, 1, &serial_runs)));
        let in_order = serial_runs.take();
        for candidate in &candidates {
            agrees(&nest, &reference, candidate, &runs)?;
            let here = runs.take();
            prop_assert!(reference.panics || here == in_order, "leaves run on {}: {:?}", candidate.name, here);
        }
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

const CASES: u32 = if cfg!(debug_assertions) { 40 } else { 150 };

#[test]
fn random_nests_agree_with_a_plain_recursion_on_every_backend() {
    within_deadline(|| compare(CASES, false));
}

#[test]
fn random_nests_with_panics_agree_with_a_plain_recursion_on_every_backend() {
    within_deadline(|| compare(CASES, true));
}
