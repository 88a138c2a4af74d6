//! What fibers are made of: the coroutines of corosensei, or, with the cfg `yieldtasks_threads` and under Miri, their twin.

#[cfg(not(any(yieldtasks_threads, miri)))]
pub(super) use corosensei::{Coroutine, CoroutineResult, Yielder};
#[cfg(any(yieldtasks_threads, miri))]
pub(super) use twin::{Coroutine, CoroutineResult, Yielder};

#[cfg(any(yieldtasks_threads, miri))]
mod twin;
