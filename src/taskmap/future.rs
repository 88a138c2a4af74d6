//! A map as a future.

use super::policy::{Place, submit_at};
use super::{Here, TaskMap};
use crate::handle::TaskHandle;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// The results of a [`TaskMap`], some day: what `taskmap(f, items).await` awaits.
///
/// The map starts when the future is first polled, on the executor of the map. Dropping the future cancels the map and returns
/// at once: its tasks end by themselves, on the executor.
#[must_use = "futures do nothing unless polled"]
pub struct TaskMapFuture<P, R> {
    place: P,
    start: Option<Start<P, R>>,
    handle: Option<TaskHandle<Vec<R>>>,
}

type Start<P, R> = Box<dyn FnOnce(&P) -> TaskHandle<Vec<R>> + Send>;

impl<T, R, F, I, P> IntoFuture for TaskMap<F, I, P>
where
    I: IntoIterator<Item = T>,
    T: Send + 'static,
    R: Send + 'static,
    F: Fn(T) -> R + Send + Sync + 'static,
    P: Place + Unpin,
{
    type Output = Vec<R>;
    type IntoFuture = TaskMapFuture<P, R>;

    /// Collects the input; nothing starts before the future is polled.
    fn into_future(self) -> Self::IntoFuture {
        let Self { function, items, place, policy } = self;
        let (origin, items) = (policy.origin::<F>(), items.into_iter().collect::<Vec<_>>());
        let start = move |place: &P| {
            let map = TaskMap { function, items, place: Here, policy };
            submit_at(place, move || map.run(), origin)
        };
        TaskMapFuture { place, start: Some(Box::new(start)), handle: None }
    }
}

impl<R, P: Unpin> Future for TaskMapFuture<P, R> {
    type Output = Vec<R>;

    /// # Panics
    ///
    /// As [`TaskMap::run`], and if the executor has been shut down.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(start) = self.start.take() {
            self.handle = Some(start(&self.place));
        }
        let handle = self.handle.as_mut().expect("a future is not polled after it has given its output");
        let outcome = ready!(Pin::new(handle).poll(context));
        self.handle = None;
        Poll::Ready(outcome.unwrap_or_else(|error| error.raise()))
    }
}

impl<P, R> Drop for TaskMapFuture<P, R> {
    fn drop(&mut self) {
        if let Some(handle) = &self.handle {
            handle.cancel();
        }
    }
}

impl<P, R> fmt::Debug for TaskMapFuture<P, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskMapFuture").field("started", &self.handle.is_some()).finish_non_exhaustive()
    }
}
