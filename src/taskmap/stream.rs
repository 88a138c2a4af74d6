//! Results as they come: the parent goes on while its tasks run.

use super::TaskMap;
use super::outcomes::{Failure, Outcome, attempt};
use super::policy::{Place, size_at};
use crate::block_on::{Subject, wait_for};
use crate::control::{Control, Stopped, stop_if_told};
use crate::record::{Label, Origin};
use crate::scope::{Scope, scope_here, scope_on};
use crate::spans::{MapSpan, Shown};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future;
use std::mem::{self, ManuallyDrop};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

impl<T, R, F, I, P> TaskMap<F, I, P>
where
    I: IntoIterator<Item = T>,
    T: Send,
    R: Send,
    F: Fn(T) -> R + Sync,
    P: Place,
{
    /// Calls `g` on the caller's own stack with the index and the result of each task, in completion order, as the results
    /// come. [`ControlFlow::Break`] cancels the other tasks; their results are dropped.
    ///
    /// # Panics
    ///
    /// A panic of `g` or of a task cancels the other tasks, and goes on when all have ended. Panics with the message of the
    /// [`TaskError`](crate::TaskError) if the map is cancelled or late.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::ops::ControlFlow;
    /// use yieldtasks::taskmap;
    ///
    /// let mut sum = 0;
    /// taskmap(|x| x * x, 0..5).for_each_completed(|_, square| {
    ///     sum += square;
    ///     ControlFlow::Continue(())
    /// });
    /// assert_eq!(sum, 30);
    /// ```
    pub fn for_each_completed(self, g: impl FnMut(usize, R) -> ControlFlow<()>) {
        let room = self.policy.max_in_flight.unwrap_or(usize::MAX);
        self.stream(Order::AsTheyCome, room, g);
    }

    /// Calls `g` on the caller's own stack with the index and the result of each task, in input order.
    ///
    /// The input is pulled as tasks start, so it may be infinite: at most as many as are allowed
    /// [in flight](Self::max_in_flight) have started and not been read by `g`. [`ControlFlow::Break`] cancels them.
    ///
    /// # Panics
    ///
    /// As [`for_each_completed`](Self::for_each_completed). A panic of the input iterator is treated as one of `g`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::ops::ControlFlow;
    /// use yieldtasks::taskmap;
    ///
    /// let mut squares = Vec::new();
    /// taskmap(|x: u64| x * x, 0..).max_in_flight(4).stream_ordered(|_, square| {
    ///     squares.push(square);
    ///     if squares.len() < 5 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    /// });
    /// assert_eq!(squares, [0, 1, 4, 9, 16]);
    /// ```
    pub fn stream_ordered(self, g: impl FnMut(usize, R) -> ControlFlow<()>) {
        let room = self.room();
        self.stream(Order::AsInTheInput, room, g);
    }

    /// As [`stream_ordered`](Self::stream_ordered), in completion order.
    ///
    /// # Panics
    ///
    /// As [`stream_ordered`](Self::stream_ordered).
    pub fn stream_unordered(self, g: impl FnMut(usize, R) -> ControlFlow<()>) {
        let room = self.room();
        self.stream(Order::AsTheyCome, room, g);
    }

    fn room(&self) -> usize {
        self.policy.max_in_flight.unwrap_or_else(|| 2 * size_at(&self.place))
    }

    fn stream(self, order: Order, room: usize, g: impl FnMut(usize, R) -> ControlFlow<()>) {
        stop_if_told();
        let Self { function, items, place, policy } = self;
        let limits = policy.limits();
        let control = Arc::clone(limits.control());
        let origin = policy.origin::<F>();
        let span = MapSpan::begin(&origin, None);
        let stream = Stream {
            origin,
            span: &span,
            function: &function,
            label: policy.label::<F>(),
            control: &control,
            order,
            queues: Mutex::new(Queues::default()),
        };
        let stream = &stream;
        let read = match place.executor() {
            None => scope_here(limits, |scope| stream.read(scope, items.into_iter(), room, g)),
            Some(executor) => scope_on(executor, limits, |scope| stream.read(scope, items.into_iter(), room, g)),
        };
        let failures = mem::take(&mut stream.queues.lock().failures);
        let to_report = failures.into_iter().min_by_key(|(idx, failure)| (failure.rank(), *idx));
        if let (Read::Failure, Some((idx, failure))) = (read, to_report) {
            failure.into_error::<F>(&policy, idx).raise();
        }
    }
}

/// In which order results are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    AsInTheInput,
    AsTheyCome,
}

/// What the parent, which reads, and the tasks share.
struct Stream<'a, F, T, R> {
    origin: Origin,
    span: &'a MapSpan,
    function: &'a F,
    label: Label,
    control: &'a Control,
    order: Order,
    queues: Mutex<Queues<T, R>>,
}

struct Queues<T, R> {
    /// Items whose tasks have been spawned, oldest first. Tasks take them from here, so they start in input order, whatever
    /// the order in which an executor starts what it is given.
    unstarted: VecDeque<(usize, T)>,
    /// Results that the parent has not read: by index, or by the number of results that came before.
    unread: BTreeMap<usize, (usize, R)>,
    /// How many results have come.
    came: usize,
    /// Failures, with the indices of their tasks.
    failures: Vec<(usize, Failure)>,
    /// The parent, while it waits.
    reader: Option<Waker>,
}

impl<F, T, R> Stream<'_, F, T, R>
where
    T: Send,
    R: Send,
    F: Fn(T) -> R + Sync,
{
    /// Feeds the tasks and reads their results, until all are read, or something ends it before.
    fn read<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        mut items: impl Iterator<Item = T>,
        room: usize,
        mut g: impl FnMut(usize, R) -> ControlFlow<()>,
    ) -> Read {
        // The indices of tasks that were spawned and not read.
        let mut outstanding = BTreeSet::new();
        let mut exhausted = false;
        for next in 0.. {
            // One result and one new task in turn: results do not wait for the input, nor workers for `g`.
            loop {
                let is_full = exhausted || outstanding.len() >= room;
                match self.next_result(outstanding.first().copied(), is_full) {
                    Next::Result(idx, result) => {
                        outstanding.remove(&idx);
                        if g(idx, result).is_break() {
                            self.control.stop(Stopped::Cancelled);
                            return Read::Enough;
                        }
                        if !exhausted {
                            break;
                        }
                    }
                    Next::Nothing if exhausted => return Read::All,
                    Next::Nothing => break,
                    Next::Failure => return Read::Failure,
                }
            }
            match items.next() {
                None => exhausted = true,
                Some(item) => {
                    self.queues.lock().unstarted.push_back((next, item));
                    outstanding.insert(next);
                    let turn = Turn { stream: self };
                    let _ = scope.spawn_from(self.origin.show(Shown::NEVER), move || turn.run());
                }
            }
        }
        unreachable!("there are not so many items")
    }

    /// The result to read next; `first` is the lowest index of those that are outstanding. Waits for it if there is nothing
    /// else to do.
    fn next_result(&self, first: Option<usize>, wait: bool) -> Next<R> {
        match first {
            None if self.queues.lock().failures.is_empty() => Next::Nothing,
            None => Next::Failure,
            Some(first) if wait => {
                wait_for(future::poll_fn(|context| self.poll_result(first, context)), Subject::Children)
            }
            Some(first) => self.queues.lock().take_result(self.order, first),
        }
    }

    fn poll_result(&self, first: usize, context: &Context<'_>) -> Poll<Next<R>> {
        let mut queues = self.queues.lock();
        match queues.take_result(self.order, first) {
            Next::Nothing => {
                queues.reader = Some(context.waker().clone());
                Poll::Pending
            }
            next => Poll::Ready(next),
        }
    }
}

impl<T, R> Queues<T, R> {
    fn take_result(&mut self, order: Order, first: usize) -> Next<R> {
        if !self.failures.is_empty() {
            return Next::Failure;
        }
        match self.unread.first_entry() {
            Some(entry) if order == Order::AsTheyCome || *entry.key() == first => {
                let (idx, result) = entry.remove();
                Next::Result(idx, result)
            }
            _ => Next::Nothing,
        }
    }
}

impl<T, R> Default for Queues<T, R> {
    fn default() -> Self {
        Self { unstarted: VecDeque::new(), unread: BTreeMap::new(), came: 0, failures: Vec::new(), reader: None }
    }
}

/// What there is to read.
enum Next<R> {
    Result(usize, R),
    Nothing,
    Failure,
}

/// How the reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Read {
    All,
    /// `g` said so.
    Enough,
    Failure,
}

impl<F, T, R> Stream<'_, F, T, R> {
    fn take_unstarted(&self) -> Option<(usize, T)> {
        self.queues.lock().unstarted.pop_front()
    }

    /// Leaves an outcome for the parent. A failure stops the others.
    fn put(&self, idx: usize, outcome: Outcome<R>) {
        if outcome.is_err() {
            self.control.stop(Stopped::Cancelled);
        }
        let reader = {
            let mut queues = self.queues.lock();
            match outcome {
                Ok(result) => {
                    let key = match self.order {
                        Order::AsInTheInput => idx,
                        Order::AsTheyCome => queues.came,
                    };
                    queues.came += 1;
                    queues.unread.insert(key, (idx, result));
                }
                Err(failure) => queues.failures.push((idx, failure)),
            }
            queues.reader.take()
        };
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

/// The right, and the duty, of a task to end the oldest item that has not started.
struct Turn<'a, F, T, R> {
    stream: &'a Stream<'a, F, T, R>,
}

impl<F, T, R> Turn<'_, F, T, R>
where
    T: Send,
    R: Send,
    F: Fn(T) -> R + Sync,
{
    /// Runs the item. Runs in a task.
    fn run(self) {
        let stream = ManuallyDrop::new(self).stream;
        if let Some((idx, item)) = stream.take_unstarted() {
            let _span = stream.span.task(&stream.origin, idx);
            let outcome = attempt(stream.control, &stream.label, idx, || (stream.function)(item));
            stream.put(idx, outcome);
        }
    }
}

impl<F, T, R> Drop for Turn<'_, F, T, R> {
    /// The task was dropped without having run: the parent is told, so that it does not wait for it.
    fn drop(&mut self) {
        if let Some((idx, item)) = self.stream.take_unstarted() {
            let failure = self.stream.control.stopped().map_or(Failure::Dropped, Failure::Stopped);
            self.stream.put(idx, Err(failure));
            drop(item);
        }
    }
}
