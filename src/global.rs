//! The process-wide default executor.

use crate::executor::FiberExecutor;
use std::sync::OnceLock;

/// The process-wide executor that the `yield_*` functions use outside any task; started on first use with the default
/// settings of [`FiberExecutor::builder`].
///
/// # Panics
///
/// Panics if it cannot be started: see [`BuildError`](crate::BuildError). Programs that want to handle that build an
/// executor of their own.
pub fn global() -> &'static FiberExecutor {
    static GLOBAL: OnceLock<FiberExecutor> = OnceLock::new();
    GLOBAL.get_or_init(|| match FiberExecutor::new() {
        Ok(executor) => executor,
        Err(error) => panic!("the global executor could not be started: {error}"),
    })
}
