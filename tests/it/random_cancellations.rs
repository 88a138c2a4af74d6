//! Random nests with random cancellations keep exact accounts, on every backend.

use crate::accounting::{Accounts, Value};
use crate::backends::{Candidate, candidates};
use crate::deadline::{doing, within_deadline};
use crate::panicking::{caught, expected};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;
use yieldtasks::{
    CancelToken, ExecutorExt, checkpoint, sleep, taskmap, try_yield_taskmap, yield_join, yield_now, yield_scope,
    yield_taskmap,
};

/// A program made of nested calls, some of which stop others.
#[derive(Clone, Debug)]
enum Nest {
    /// Reaches so many yield points.
    Leaf(u8),
    /// Runs until it is stopped.
    Endless,
    /// Is suspended until it is stopped.
    Asleep,
    Panic,
    /// Cancels one of the tokens.
    Cancel(usize),
    Map(Vec<Nest>),
    Join(Box<Nest>, Box<Nest>),
    /// The bits say which of the handles are joined.
    Scope(Vec<Nest>, u8),
    Policy(Policy, Verb, Vec<Nest>),
    /// Calls that fail with an error if the bit of their index is set.
    Fallible(Vec<Nest>, u8),
    /// Swallows whatever comes out, and goes on.
    Catch(Box<Nest>),
    /// Runs the first while it unwinds from whatever ends the second.
    Cleanup(Box<Nest>, Box<Nest>),
}

#[derive(Clone, Debug)]
struct Policy {
    token: Option<usize>,
    deadline: Option<u64>,
    limit: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
enum Verb {
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

const TOKENS: usize = 3;

/// What the tasks of a nest share.
struct Env<'a> {
    accounts: &'a Accounts,
    tokens: [CancelToken; TOKENS],
    /// What was found wrong: an assertion in a task would be one more panic of the nest.
    wrong: Mutex<Vec<String>>,
}

impl<'a> Env<'a> {
    fn check(&self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.wrong.lock().unwrap().push(what());
        }
    }

    /// Runs the tasks of a map and notes which of them returned.
    fn child<'n>(&self, returned: &[AtomicUsize], idx: usize, nest: &'n Nest, _item: Value<'a>) -> Value<'a> {
        let value = self.evaluate(nest);
        returned[idx].fetch_add(1, Ordering::AcqRel);
        value
    }

    fn items<'n>(&self, nests: &'n [Nest]) -> Vec<(usize, &'n Nest, Value<'a>)> {
        nests.iter().enumerate().map(|(idx, nest)| (idx, nest, self.accounts.value(idx))).collect()
    }

    fn evaluate(&self, nest: &Nest) -> Value<'a> {
        let _running = self.accounts.start();
        let _local = self.accounts.value(0);
        match nest {
            Nest::Leaf(steps) => {
                for step in 0..*steps {
                    if step % 2 == 0 { checkpoint() } else { yield_now() }
                }
            }
            Nest::Endless => loop {
                checkpoint();
                thread::yield_now();
            },
            Nest::Asleep => sleep(Duration::from_secs(3600)),
            Nest::Panic => expected(1),
            Nest::Cancel(token) => self.tokens[*token].cancel(),
            Nest::Map(nests) => {
                let returned = counters(nests.len());
                let task = |(idx, nest, item): (usize, &Nest, Value<'a>)| self.child(&returned, idx, nest, item);
                let results = yield_taskmap(task, self.items(nests));
                self.all_returned(&returned, results.len(), "a map");
            }
            Nest::Join(left, right) => {
                yield_join(|| self.evaluate(left), || self.evaluate(right));
            }
            Nest::Scope(nests, joined) => yield_scope(|s| {
                let spawn = |(idx, nest, item)| {
                    let task = move || {
                        let _item: Value<'a> = item;
                        self.evaluate(nest)
                    };
                    (idx, s.spawn(task))
                };
                let handles: Vec<_> = self.items(nests).into_iter().map(spawn).collect();
                for (idx, handle) in handles {
                    if joined >> (idx % 8) & 1 == 1 {
                        drop(handle.join());
                    }
                }
            }),
            Nest::Policy(policy, verb, nests) => self.with_policy(policy, *verb, nests),
            Nest::Fallible(nests, failing) => {
                let returned = counters(nests.len());
                let task = |(idx, nest, item): (usize, &Nest, Value<'a>)| {
                    let value = self.child(&returned, idx, nest, item);
                    if failing >> (idx % 8) & 1 == 1 { Err((idx, value)) } else { Ok(value) }
                };
                match try_yield_taskmap(task, self.items(nests)) {
                    Ok(results) => self.all_returned(&returned, results.len(), "fallible calls"),
                    Err((idx, _value)) => {
                        let failed = |&idx: &usize| failing >> (idx % 8) & 1 == 1 && count(&returned[idx]) == 1;
                        let first = (0..nests.len()).find(failed);
                        self.check(first == Some(idx), || format!("error of {idx} and not of {first:?}"));
                    }
                }
            }
            Nest::Catch(nest) => drop(caught(|| self.evaluate(nest))),
            Nest::Cleanup(cleanup, nest) => {
                let _cleanup = OnUnwind(|| drop(caught(|| self.evaluate(cleanup))));
                drop(self.evaluate(nest));
            }
        }
        self.accounts.value(1)
    }

    fn with_policy(&self, policy: &Policy, verb: Verb, nests: &[Nest]) {
        let returned = counters(nests.len());
        let task = |(idx, nest, item): (usize, &Nest, Value<'a>)| (idx, self.child(&returned, idx, nest, item));
        let mut map = taskmap(task, self.items(nests)).name("expected");
        if let Some(token) = policy.token {
            map = map.cancel_token(&self.tokens[token]);
        }
        if let Some(deadline) = policy.deadline {
            map = map.deadline(Duration::from_micros(deadline));
        }
        if let Some(limit) = policy.limit {
            map = map.max_in_flight(limit);
        }
        let read = |last: usize, ordered: bool| {
            let (mut seen, returned) = (Vec::new(), &returned);
            move |idx: usize, (own, _value): (usize, Value<'a>)| {
                self.check(idx == own && count(&returned[idx]) == 1, || format!("{idx} read for {own}"));
                self.check(!seen.contains(&idx), || format!("{idx} read twice"));
                self.check(!ordered || idx == seen.len(), || format!("{idx} read after {seen:?}"));
                seen.push(idx);
                if seen.len() > last { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            }
        };
        match verb {
            Verb::Run => self.all_returned(&returned, map.run().len(), "run"),
            Verb::TryRun => match map.try_run() {
                Ok(results) => self.all_returned(&returned, results.len(), "try_run"),
                Err(error) => self.check(!error.path().is_empty(), || format!("{error} from nowhere")),
            },
            Verb::Settled => {
                let outcomes = map.settled();
                self.check(outcomes.len() == nests.len(), || "not one outcome per task".to_owned());
                for (idx, outcome) in outcomes.iter().enumerate() {
                    let returned = count(&returned[idx]);
                    self.check(returned == usize::from(outcome.is_ok()), || format!("{idx} returned {returned} times"));
                }
            }
            Verb::Race(winner) => {
                if let Some((idx, (own, _value))) = map.race(|&(idx, _)| idx == winner) {
                    let won = idx == winner && own == winner && count(&returned[idx]) == 1;
                    self.check(won, || format!("{idx} won for {winner}"));
                }
            }
            Verb::Completed(last) => map.for_each_completed(read(last, false)),
            Verb::Ordered(last) => map.stream_ordered(read(last, true)),
            Verb::Unordered(last) => map.stream_unordered(read(last, false)),
        }
    }

    fn all_returned(&self, returned: &[AtomicUsize], results: usize, what: &str) {
        let all = results == returned.len() && returned.iter().all(|returned| count(returned) == 1);
        self.check(all, || format!("{results} results of {what} with {}", returned.len()));
    }
}

fn counters(len: usize) -> Vec<AtomicUsize> {
    (0..len).map(|_| AtomicUsize::new(0)).collect()
}

fn count(returned: &AtomicUsize) -> usize {
    returned.load(Ordering::Acquire)
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

fn policies() -> impl Strategy<Value = Policy> {
    let token = prop::option::weighted(0.4, 0..TOKENS);
    let deadline = prop::option::weighted(0.3, prop_oneof![Just(0_u64), 1..1000_u64]);
    let limit = prop::option::weighted(0.3, 1..4_usize);
    (token, deadline, limit).prop_map(|(token, deadline, limit)| Policy { token, deadline, limit })
}

fn verbs() -> impl Strategy<Value = Verb> {
    prop_oneof![
        Just(Verb::Run),
        Just(Verb::TryRun),
        Just(Verb::Settled),
        (0..5_usize).prop_map(Verb::Race),
        (0..9_usize).prop_map(Verb::Completed),
        (0..9_usize).prop_map(Verb::Ordered),
        (0..9_usize).prop_map(Verb::Unordered),
    ]
}

/// Nests that end by themselves, since nothing stops what runs while its task unwinds.
fn nests_that_end() -> impl Strategy<Value = Nest> {
    let leaf = prop_oneof![4 => (0..5_u8).prop_map(Nest::Leaf), 1 => (0..TOKENS).prop_map(Nest::Cancel)];
    leaf.prop_recursive(2, 8, 3, |inner| prop::collection::vec(inner, 0..3).prop_map(Nest::Map))
}

fn nests() -> impl Strategy<Value = Nest> {
    let leaf = prop_oneof![
        12 => (0..10_u8).prop_map(Nest::Leaf),
        2 => Just(Nest::Endless),
        2 => Just(Nest::Asleep),
        1 => Just(Nest::Panic),
        3 => (0..TOKENS).prop_map(Nest::Cancel),
    ];
    leaf.prop_recursive(5, 50, 5, |inner| {
        let boxed = || inner.clone().prop_map(Box::new);
        let several = || prop::collection::vec(inner.clone(), 0..5);
        prop_oneof![
            3 => several().prop_map(Nest::Map),
            2 => (boxed(), boxed()).prop_map(|(left, right)| Nest::Join(left, right)),
            2 => (several(), any::<u8>()).prop_map(|(nests, joined)| Nest::Scope(nests, joined)),
            6 => (policies(), verbs(), several()).prop_map(|(policy, verb, nests)| Nest::Policy(policy, verb, nests)),
            1 => (several(), any::<u8>()).prop_map(|(nests, failing)| Nest::Fallible(nests, failing)),
            1 => boxed().prop_map(Nest::Catch),
            1 => (nests_that_end().prop_map(Box::new), boxed())
                .prop_map(|(cleanup, nest)| Nest::Cleanup(cleanup, nest)),
        ]
    })
}

/// Runs the nest on one backend and goes through the accounts.
fn keeps_accounts(nest: &Nest, candidate: &Candidate) -> Result<(), TestCaseError> {
    let accounts = Accounts::default();
    let tokens = std::array::from_fn(|_| CancelToken::new());
    let env = Env { accounts: &accounts, tokens, wrong: Mutex::default() };
    doing(&format!("on {}: {nest:?}", candidate.name));
    let root = |_item| env.evaluate(nest);
    // Whatever has no end of its own is stopped at last.
    let map = candidate.executor.taskmap(root, accounts.values(1)).cancel_token(&env.tokens[0]);
    let outcomes = map.deadline(Duration::from_millis(3)).settled();
    prop_assert_eq!(outcomes.len(), 1);
    drop(outcomes);
    let wrong = env.wrong.into_inner().unwrap();
    prop_assert!(wrong.is_empty(), "{:?} on {}", wrong, candidate.name);
    accounts.close();
    Ok(())
}

const CASES: u32 = if cfg!(debug_assertions) { 60 } else { 200 };

#[test]
fn random_nests_with_random_cancellations_keep_exact_accounts_on_every_backend() {
    within_deadline(|| {
        let candidates: Vec<_> = candidates().collect();
        let config = Config { cases: CASES, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
        let outcome = TestRunner::new(config)
            .run(&nests(), |nest| candidates.iter().try_for_each(|candidate| keeps_accounts(&nest, candidate)));
        if let Err(failure) = outcome {
            panic!("{failure}");
        }
    });
}
