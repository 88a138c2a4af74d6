//! Calls that hand their tasks to an executor one by one.

use super::Executor;
use crate::handle::{Belonging, DetachedTask};
use crate::runtime::{Runtime, RuntimeFeed};
use std::any::Any;
use std::fmt;

/// A call that an executor has in hand, which is fed task by task. The executor counts it out when the feed is dropped.
pub struct Feed {
    belonging: Belonging,
    /// Where tasks go; `None` for [`Executor::spawn`].
    runtime: Option<RuntimeFeed>,
    /// What is given back at the end, after the above.
    _held: Option<Box<dyn Any + Send + Sync>>,
}

impl Feed {
    /// Tasks go through [`Executor::spawn`]. Whether an outermost call is in hand is not known then.
    pub(super) fn spawning(level: usize) -> Self {
        let belonging = if level == 0 { Belonging::ToNothing } else { Belonging::ToCallInHand };
        Self { belonging, runtime: None, _held: None }
    }

    /// As [`spawning`](Self::spawning), for a call in hand, which is held meanwhile.
    pub(super) fn in_hand(call: impl Send + Sync + 'static) -> Self {
        Self { belonging: Belonging::ToCallInHand, runtime: None, _held: Some(Box::new(call)) }
    }

    pub(crate) fn runtime(feed: RuntimeFeed) -> Self {
        Self { belonging: Belonging::ToCallInHand, runtime: Some(feed), _held: None }
    }

    /// For a runtime that was started for the call; `call` is held until it has ended.
    pub(super) fn own_runtime(runtime: Runtime, call: impl Send + Sync + 'static) -> Option<Self> {
        let feed = runtime.open()?;
        Some(Self {
            belonging: Belonging::ToCallInHand,
            runtime: Some(feed),
            _held: Some(Box::new((EndsWithCall(runtime), call))),
        })
    }

    /// What the tasks belong to.
    pub(crate) fn belonging(&self) -> Belonging {
        self.belonging
    }

    /// Starts a task of the call, which is in hand of `executor`.
    pub(crate) fn spawn(&self, executor: &dyn Executor, task: DetachedTask) {
        match &self.runtime {
            Some(feed) => feed.spawn(task),
            None => executor.spawn(task),
        }
    }
}

struct EndsWithCall(Runtime);

impl Drop for EndsWithCall {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").finish_non_exhaustive()
    }
}
