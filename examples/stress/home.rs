//! The executors of an episode, and what may be asked of them.

use crate::dice::Dice;
use std::sync::{Arc, Weak};
use std::time::Duration;
use yieldtasks::{Backend, Executor, FiberExecutor, Interleave, Pinning};

/// Settings of an executor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Home {
    Fibers {
        workers: usize,
        stack: usize,
        most: Option<usize>,
        persist: bool,
        is_pinned: bool,
        interleave: Interleave,
        watchdog: Option<Duration>,
    },
    Backend(Backend, usize),
}

/// An executor.
pub(crate) struct Built {
    pub(crate) executor: Arc<dyn Executor>,
    /// The same again, if it runs fibers.
    pub(crate) fibers: Weak<FiberExecutor>,
}

impl Home {
    /// Settings of an executor of fibers that nests with that chance, in percent.
    pub(crate) fn draw(dice: &mut Dice, nested: usize) -> Self {
        let most = dice.percent(30).then(|| dice.between(1, 12));
        Self::Fibers {
            workers: dice.pick(&[1, 2, 2, 3, 4]),
            // Children that run inline use the stack of their parent.
            stack: if most.is_some() { 1 << 20 } else { dice.pick(&[SMALL_STACK, 256 << 10, 1 << 20, 2 << 20]) },
            most,
            persist: dice.percent(85),
            is_pinned: dice.percent(50),
            interleave: if dice.percent(nested) { Interleave::Nested } else { Interleave::Free },
            // The shortest of these finds a stall in every nap.
            watchdog: dice.percent(25).then(|| Duration::from_micros(dice.pick(&[1, 300, 2000, 20_000]))),
        }
    }

    pub(crate) fn draw_baseline(dice: &mut Dice) -> Self {
        let backend = dice.pick(&[Backend::Flat, Backend::Serial, Backend::ThreadPerTask]);
        Self::Backend(backend, dice.between(1, 3))
    }

    pub(crate) fn build(self) -> Built {
        match self {
            Self::Fibers { workers, stack, most, persist, is_pinned, interleave, watchdog } => {
                let (pinning, name) = if is_pinned { (Pinning::Cores, "stays") } else { (Pinning::None, "roams") };
                let mut builder = FiberExecutor::builder().workers(workers).stack_size(stack).persist(persist);
                builder = builder.pinning(pinning).interleave(interleave).thread_name(name);
                if let Some(most) = most {
                    builder = builder.max_fibers(most);
                }
                if let Some(period) = watchdog {
                    builder = builder.watchdog(period);
                }
                let executor = Arc::new(builder.build().expect("the settings are fine"));
                Built { fibers: Arc::downgrade(&executor), executor }
            }
            Self::Backend(backend, workers) => {
                let executor = backend.build(workers).expect("the settings are fine");
                Built { executor: executor.into(), fibers: Weak::new() }
            }
        }
    }

    /// Whether a task may wait for what a sibling does.
    pub(crate) fn gives_each_task_a_fiber(self) -> bool {
        matches!(self, Self::Fibers { most: None, .. }) && !self.nests()
    }

    pub(crate) fn runs_fibers(self) -> bool {
        matches!(self, Self::Fibers { .. })
    }

    pub(crate) fn nests(self) -> bool {
        matches!(self, Self::Fibers { interleave: Interleave::Nested, .. })
    }
}

/// Bytes in which a task of a program fits, whatever it calls, if its children have fibers of their own.
const SMALL_STACK: usize = if cfg!(debug_assertions) { 128 << 10 } else { 64 << 10 };

impl Built {
    /// What does not look like rest, when no task is left: of an executor of fibers.
    pub(crate) fn unrest(&self) -> Option<String> {
        let fibers = self.fibers.upgrade()?;
        let stats = fibers.stats();
        if stats.live_fibers() > 0 {
            return Some(format!("no task is left, but:\n{stats}"));
        }
        let dump = (!cfg!(yieldtasks_threads)).then(|| fibers.dump())?;
        let is_at_rest = dump.is_empty() && dump.to_string().starts_with("0 live tasks");
        (!is_at_rest).then(|| format!("no task is left, but: {dump}"))
    }
}
