//! An episode: executors are built, threads outside call them with random programs, and the executors end.

use crate::accounts::Accounts;
use crate::dice::Dice;
use crate::grow::{Grower, Mood, Soil};
use crate::holds::Holds;
use crate::home::{Built, Home};
use crate::locks::Locks;
use crate::nest::{Fate, Fetch, HOLDS, Node};
use crate::observe::Observer;
use crate::run::{Env, Expected, caught};
use crate::watch::Lane;
use std::any::Any;
use std::fmt;
use std::iter;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;
use yieldtasks::{Backend, CancelToken, Executor, ExecutorExt, Interleave, block_on, taskmap, yield_taskmap};

/// What is known of an episode before it runs.
#[derive(Debug)]
pub(crate) struct Plan {
    mood: Mood,
    home: Home,
    other: Option<Home>,
    /// Whether programs run on the default executor, too, which lives as long as the process.
    uses_global: bool,
    callers: usize,
    programs: usize,
    nodes: usize,
    depth: usize,
    is_observed: bool,
    end: End,
}

/// How the executors end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    ShutDown,
    Drop,
    /// Shut down while threads call them.
    Early,
}

/// How much an episode did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Deeds {
    pub(crate) programs: u64,
    pub(crate) tasks: u64,
}

impl Plan {
    pub(crate) fn draw(dice: &mut Dice) -> Self {
        let mood = dice.pick(&[Mood::Quiet, Mood::Panicky, Mood::Wild, Mood::Wild]);
        let home = if dice.percent(85) { Home::draw(dice, 35) } else { Home::draw_baseline(dice) };
        let other = dice.percent(40).then(|| Home::draw(dice, if home.nests() { 75 } else { 10 }));
        let is_small = matches!(home, Home::Backend(Backend::ThreadPerTask, _));
        Self {
            mood,
            home,
            other,
            uses_global: home.runs_fibers() && dice.percent(if home.nests() { 10 } else { 40 }),
            callers: dice.pick(&[1, 1, 2, 3, 4]),
            programs: if is_small { 3 } else { dice.pick(&[1, 3, 10, 30]) },
            nodes: if is_small { 40 } else { dice.pick(&[5, 20, 60, 60, 200]) },
            depth: dice.pick(&[2, 4, 6, 10]),
            is_observed: dice.percent(35),
            end: dice.pick(&[End::ShutDown, End::ShutDown, End::ShutDown, End::Drop, End::Drop, End::Early]),
        }
    }
}

impl Plan {
    fn executors(&self) -> impl Iterator<Item = Home> {
        [Some(self.home), self.other].into_iter().flatten()
    }

    /// Whether every task runs where a task that waits meets its descendants only.
    fn nests(&self) -> bool {
        self.executors().all(Home::nests) && !self.uses_global
    }
}

/// Runs the episode of that seed. Errors say what was found wrong.
pub(crate) fn run(seed: u64, lane: &Lane) -> Result<Deeds, String> {
    let mut dice = Dice::new(seed);
    let plan = Plan::draw(&mut dice);
    *lane.doing.lock() = format!("seed {seed}: {plan:?}");
    let (home, other) = (plan.home.build(), plan.other.map(Home::build));
    let executors = || iter::once(&home).chain(&other);
    *lane.executors.lock() = executors().map(|built| Weak::clone(&built.fibers)).collect();
    let observer = plan
        .is_observed
        .then(|| Observer::start(executors().map(|built| Weak::clone(&built.fibers)), Dice::new(dice.bits())));
    let env = Arc::new(Env {
        accounts: Arc::new(Accounts::default()),
        tokens: std::array::from_fn(|_| CancelToken::new()),
        home: Arc::downgrade(&home.executor),
        other: other.as_ref().map(|other| Arc::downgrade(&other.executor)),
        siblings_wait: plan.executors().all(Home::gives_each_task_a_fiber),
        may_find_closed: plan.end != End::ShutDown,
        progress: Arc::clone(&lane.progress),
        calls: Arc::clone(&lane.calls),
        locks: Locks::default(),
        holds: Holds::default(),
        interleave: if plan.nests() { Interleave::Nested } else { Interleave::Free },
        wrong: Default::default(),
    });
    let programs = AtomicU64::new(0);
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for _ in 0..plan.callers {
            let caller = Caller { env: &env, home: &*home.executor, plan: &plan, programs: &programs };
            let dice = Dice::new(dice.bits());
            threads.push(scope.spawn(move || caller.call(dice)));
        }
        if plan.end == End::Early {
            let patience = dice.below(3000) as u64;
            let (first, second) = if dice.percent(50) { (Some(&home), other.as_ref()) } else { (other.as_ref(), None) };
            threads.push(scope.spawn(move || {
                thread::sleep(Duration::from_micros(patience));
                [first, second].into_iter().flatten().for_each(|executor| executor.executor.shutdown());
            }));
        }
        // Joined one by one: ThreadSanitizer does not see how a scope waits.
        threads.into_iter().for_each(|thread| thread.join().expect("callers catch what panics"));
    });
    if plan.end == End::ShutDown || plan.other.is_some() {
        // Detached tasks that nobody waits for may still start others. And the task of one executor that dropped the other would
        // wait for the tasks there, which may wait for this one.
        while Arc::strong_count(&env) > 1 {
            thread::sleep(Duration::from_micros(50));
        }
    }
    if plan.end == End::ShutDown {
        // A worker notes a little later that the fiber of the last task is free.
        while executors().any(|built| built.unrest().is_some()) {
            thread::sleep(Duration::from_micros(50));
        }
    }
    let mut wrong = Vec::new();
    if plan.end != End::Drop {
        // In this order: tasks of the one may call the other.
        executors().for_each(|built| built.executor.shutdown());
        wrong.extend(executors().filter_map(Built::unrest));
    }
    drop(home);
    drop(other);
    // A detached task may still hold what it was given if it was the one to drop its executor, or runs on the default one.
    while Arc::strong_count(&env) > 1 {
        if plan.end != End::Drop && !plan.uses_global {
            return Err(format!("something is left of {plan:?} after the shutdown: {:?}", env.accounts));
        }
        thread::yield_now();
    }
    wrong.extend(observer.into_iter().flat_map(Observer::end));
    let env = Arc::into_inner(env).expect("there is one reference");
    wrong.extend(env.wrong.into_inner());
    wrong.extend(env.accounts.imbalance(plan.mood == Mood::Quiet && plan.end != End::Early));
    if !(env.locks.are_balanced() && env.holds.are_balanced()) {
        wrong.push("a lock was held by two, or is still held".to_owned());
    }
    let deeds = Deeds { programs: programs.into_inner(), tasks: env.accounts.started() };
    if wrong.is_empty() { Ok(deeds) } else { Err(format!("{plan:?}: {}", wrong.join("\n"))) }
}

/// A thread that is none of an executor's own.
struct Caller<'a> {
    env: &'a Arc<Env>,
    home: &'a dyn Executor,
    plan: &'a Plan,
    programs: &'a AtomicU64,
}

impl Caller<'_> {
    fn call(self, mut dice: Dice) {
        for _ in 0..self.plan.programs {
            let is_limited = self.plan.mood == Mood::Wild && dice.percent(50);
            let soil = Soil {
                mood: self.plan.mood,
                is_stoppable: is_limited,
                siblings_wait: self.env.siblings_wait,
                may_lock: !self.plan.executors().any(Home::nests),
                may_submit: true,
                nests: self.plan.nests(),
                holds: HOLDS,
                may_cross: self.plan.other.is_some() && self.plan.home.runs_fibers(),
                may_wait: true,
            };
            let node = Grower { dice: &mut dice, budget: self.plan.nodes }.node(self.plan.depth, soil);
            let outcome =
                caught(
                    || {
                        if is_limited { self.within_time(&mut dice, &node) } else { self.by_itself(&mut dice, &node) }
                    },
                );
            if let Err(payload) = outcome {
                let may_panic = node.fate != Fate::Returns || self.env.may_find_closed;
                self.env.check(may_panic, || format!("a panic that says {:?} of {node:?}", Words(&*payload)));
            }
            self.programs.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A program with parts that do not end by themselves.
    fn within_time(&self, dice: &mut Dice, node: &Arc<Node>) {
        let task = |(item, node)| self.env.child(item, node);
        let map = self.home.taskmap(task, self.env.items(std::slice::from_ref(node)));
        let map = map.deadline(Duration::from_micros(dice.below(8000) as u64)).cancel_token(&self.env.tokens[0]);
        map.settled().into_iter().for_each(|outcome| self.env.judge(outcome, node, true));
    }

    fn by_itself(&self, dice: &mut Dice, node: &Arc<Node>) {
        let env = self.env;
        let expect = |results: &[u64]| {
            let is_right = !results.is_empty() && results.iter().all(|&result| result == node.worth);
            env.check(is_right && node.fate != Fate::Panics, || format!("{results:?} of {node:?}"));
        };
        let nodes = [Arc::clone(node), Arc::clone(node)];
        match dice.below(10) {
            0..3 => expect(&[self.home.run(|| env.evaluate(node))]),
            3..5 => expect(&self.home.map(|(item, node)| env.child(item, node), env.items(&nodes))),
            5 => {
                let shared = Arc::clone(env);
                let items: Vec<_> = nodes.into_iter().map(|node| (env.accounts.item(), node)).collect();
                let map = self.home.taskmap(move |(item, node)| shared.child(item, &node), items);
                expect(&block_on(map.into_future()));
            }
            6 if self.plan.uses_global => {
                expect(&yield_taskmap(|(item, node)| env.child(item, node), env.items(&nodes)));
            }
            7 if self.plan.uses_global => {
                let outcomes = taskmap(|(item, node)| env.child(item, node), env.items(&nodes)).settled();
                outcomes.into_iter().for_each(|outcome| env.judge(outcome, node, false));
            }
            _ => {
                let may_drop = self.plan.mood != Mood::Quiet;
                let handles: Vec<_> = (0..dice.between(1, 5)).map(|_| env.submit_to(self.home, node)).collect();
                for handle in handles {
                    let ways = [Fetch::Join, Fetch::Await, Fetch::Poll, Fetch::Cancel, Fetch::Drop];
                    env.fetch(handle, node, dice.pick(if may_drop { &ways } else { &ways[..3] }));
                }
            }
        }
    }
}

/// What a panic says.
pub(crate) struct Words<'a>(pub(crate) &'a (dyn Any + Send));

impl fmt::Debug for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.downcast_ref::<&str>().copied();
        let text = text.or_else(|| self.0.downcast_ref::<String>().map(String::as_str));
        let other = if self.0.is::<Expected>() { "what was expected" } else { "nothing" };
        f.write_str(text.unwrap_or(other))
    }
}
