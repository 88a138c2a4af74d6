//! Cancelling by hand.

use super::{Control, Limits, Stopped};
use std::fmt;
use std::sync::Arc;

/// Cancels the maps that it was given to, by [`TaskMap::cancel_token`](crate::TaskMap::cancel_token), and all that runs
/// below them.
///
/// A clone cancels the same maps. Cancelling is final and idempotent; a map that is given a cancelled token starts nothing.
///
/// # Examples
///
/// ```
/// use yieldtasks::{CancelToken, ErrorKind, taskmap};
///
/// let token = CancelToken::new();
/// token.cancel();
/// let error = taskmap(|x| x + 1, 0..3).cancel_token(&token).try_run().unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Cancelled);
/// ```
#[derive(Clone)]
pub struct CancelToken {
    limits: Arc<Limits>,
}

impl CancelToken {
    /// A token that is not cancelled.
    pub fn new() -> Self {
        Self { limits: Arc::new(Limits::below([], None)) }
    }

    /// A token that is cancelled when this one is, or by itself, which leaves this one as it is.
    #[must_use = "the child is another token, which cancels nothing yet"]
    pub fn child(&self) -> Self {
        // Below all that this one is below, too: this one may be dropped while its child lives.
        let above = self.limits.above().chain([self.limits.control()]);
        Self { limits: Arc::new(Limits::below(above.map(Arc::clone), None)) }
    }

    /// Cancels: tasks that have not started never start, suspended and running ones unwind at their yield points. Returns
    /// at once; the maps return when all their tasks have ended.
    pub fn cancel(&self) {
        self.control().stop(Stopped::Cancelled);
    }

    /// Whether it was cancelled, itself or by the token that it is a child of.
    pub fn is_cancelled(&self) -> bool {
        self.control().stopped().is_some()
    }

    pub(crate) fn control(&self) -> &Arc<Control> {
        self.limits.control()
    }
}

impl Default for CancelToken {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelToken").field("is_cancelled", &self.is_cancelled()).finish()
    }
}
