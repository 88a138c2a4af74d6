//! Who looks at executors while they run and end, and listens to what they warn of.

use crate::dice::Dice;
use std::fmt::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Metadata, Subscriber, span, subscriber};
use yieldtasks::{Dump, Executor, FiberExecutor, Stats, TaskState};

/// A thread that looks.
pub(crate) struct Observer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<String>>,
}

/// An executor that is looked at.
struct Observed {
    executor: Weak<FiberExecutor>,
    last: Stats,
}

impl Observer {
    pub(crate) fn start(executors: impl Iterator<Item = Weak<FiberExecutor>>, mut dice: Dice) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut executors: Vec<_> = executors.map(|executor| Observed { executor, last: Stats::default() }).collect();
        let observe = {
            let stop = Arc::clone(&stop);
            move || {
                let mut wrong = Vec::new();
                while !stop.load(Ordering::Relaxed) && !executors.is_empty() && wrong.is_empty() {
                    let idx = dice.below(executors.len());
                    // The executor ends here if this is the last to have it.
                    wrong.extend(executors[idx].look(&mut dice));
                    match dice.below(4) {
                        0 => thread::yield_now(),
                        _ => thread::sleep(Duration::from_micros(dice.below(1500) as u64)),
                    }
                }
                wrong
            }
        };
        let thread = thread::Builder::new().name("observer".to_owned()).spawn(observe);
        Self { stop, thread: thread.expect("there is a thread for the observer") }
    }

    /// What was found wrong.
    pub(crate) fn end(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("an observer does not panic")
    }
}

impl Observed {
    fn look(&mut self, dice: &mut Dice) -> Option<String> {
        let executor = self.executor.upgrade()?;
        // The twins of fibers run on other threads than the one that a dump stops.
        if !cfg!(yieldtasks_threads) && dice.percent(40) {
            let dump = executor.dump();
            return (!is_well_formed(&dump)).then(|| format!("not well formed: {dump}"));
        }
        let stats = executor.stats();
        // Not the switches, some of which a look in between may count twice, and the next one once.
        // Workers for a call have their figures for themselves.
        let last = if executor.persist() { std::mem::take(&mut self.last) } else { Stats::default() };
        let follows = last.workers.len() <= stats.workers.len()
            && last
                .workers
                .iter()
                .zip(&stats.workers)
                .all(|(last, next)| last.tasks <= next.tasks && last.peak_fibers <= next.peak_fibers);
        let is_possible = stats.workers.iter().all(|worker| worker.live_fibers <= worker.peak_fibers);
        let text = stats.to_string();
        let is_right = follows && is_possible && text.lines().count() == stats.workers.len() + 4;
        self.last = stats;
        (!is_right).then(|| format!("{text}\nafter\n{last}"))
    }
}

fn is_well_formed(dump: &Dump) -> bool {
    let is_well_formed = dump.tasks().all(|task| {
        let is_below = task.depth() == task.parent().map_or(0, |parent| parent.depth() + 1);
        let waits_for_some = match task.state() {
            TaskState::Suspended { tasks: Some(tasks), .. } => tasks.left <= tasks.total,
            _ => true,
        };
        is_below && waits_for_some
    });
    is_well_formed && dump.to_string().starts_with(&format!("{} live tasks on ", dump.len()))
}

/// Has what the library warns of put together, and forgotten.
pub(crate) fn listen() {
    subscriber::set_global_default(Listener).expect("there is no other subscriber");
}

/// How often the library has warned of something.
pub(crate) fn warnings() -> u64 {
    WARNINGS.load(Ordering::Relaxed)
}

static WARNINGS: AtomicU64 = AtomicU64::new(0);

struct Listener;

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= LevelFilter::WARN
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::WARN)
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Text(String::new()));
        WARNINGS.fetch_add(1, Ordering::Relaxed);
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, _: &Field, value: &dyn fmt::Debug) {
        write!(self.0, "{value:?}").expect("a string takes any text");
    }
}
