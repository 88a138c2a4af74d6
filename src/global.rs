//! The process-wide default executor.

use crate::executor::FiberExecutor;
use crate::process::Process;
use std::sync::OnceLock;

/// The executor of one process, and of its child after a fork, and so on.
struct Global {
    executor: OnceLock<FiberExecutor>,
    /// Never freed: the executor of a parent must not be dropped in the child, where tasks may still refer to it.
    child: OnceLock<&'static Global>,
}

impl Global {
    const fn new() -> Self {
        Self { executor: OnceLock::new(), child: OnceLock::new() }
    }
}

/// The process-wide executor that the `yield_*` functions use outside any task; started on first use with the default
/// settings of [`FiberExecutor::builder`]. The child of a process that forks gets one of its own.
///
/// # Panics
///
/// Panics if it cannot be started: see [`BuildError`](crate::BuildError). Programs that want to handle that build an
/// executor of their own.
pub fn global() -> &'static FiberExecutor {
    static FIRST: Global = Global::new();
    let mut global = &FIRST;
    for _ in 0..Process::current().generation() {
        global = global.child.get_or_init(|| Box::leak(Box::new(Global::new())));
    }
    global.executor.get_or_init(|| match FiberExecutor::new() {
        Ok(executor) => executor,
        Err(error) => panic!("the global executor could not be started: {error}"),
    })
}
