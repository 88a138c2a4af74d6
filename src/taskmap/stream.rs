//! Results as they come: the parent goes on while its tasks run.

use super::TaskMap;
use super::outcomes::{Failure, Outcome, attempt};
use super::policy::{Place, Policy, size_at};
use crate::block_on::block_on;
use crate::control::{Control, Stopped, stop_if_told};
use crate::error::TaskError;
use crate::record::{Label, Origin};
use crate::scope::{Scope, scope_here, scope_on};
use parking_lot::Mutex;
use std::any::type_name;
use std::collections::{BTreeMap, VecDeque};
use std::future;
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
    /// [`TaskError`] if the map is cancelled or late.
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
        let stream = Stream {
            function: &function,
            label: policy.label::<F>(),
            control: &control,
            order,
            queues: Mutex::new(Queues { unstarted: VecDeque::new(), unread: BTreeMap::new(), came: 0, reader: None }),
        };
        let stream = &stream;
        let outcome = match place.executor() {
            None => scope_here(limits, |scope| stream.read(scope, &policy, items.into_iter(), room, g)),
            Some(executor) => {
                scope_on(executor, limits, |scope| stream.read(scope, &policy, items.into_iter(), room, g))
            }
        };
        match outcome {
            Ok(()) => {}
            Err((_, Failure::Panicked(payload, path))) => TaskError::unwound(payload, path).raise(),
            Err((idx, Failure::Stopped(why))) => TaskError::stopped(why, policy.path_of::<F>(idx)).raise(),
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
    /// Outcomes that the parent has not read: by index, or by the number of outcomes that came before.
    unread: BTreeMap<usize, (usize, Outcome<R>)>,
    /// How many outcomes have come.
    came: usize,
    /// The parent, while it waits.
    reader: Option<Waker>,
}

impl<F, T, R> Stream<'_, F, T, R>
where
    T: Send,
    R: Send,
    F: Fn(T) -> R + Sync,
{
    /// Feeds the tasks and reads their results, until all are read, or something ends it before: the failure of a task, or
    /// of the first task without a result if the map was stopped.
    fn read<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        policy: &Policy,
        mut items: impl Iterator<Item = T>,
        room: usize,
        mut g: impl FnMut(usize, R) -> ControlFlow<()>,
    ) -> Result<(), (usize, Failure)> {
        // The indices of tasks that were spawned and not read, in their order, and of the next one.
        let mut outstanding = BTreeMap::new();
        let mut next = 0;
        let mut exhausted = false;
        loop {
            // One result and one new task in turn: results do not wait for the input, nor workers for `g`.
            let first = outstanding.keys().next().copied();
            if let Some((idx, outcome)) = self.take_unread(first) {
                outstanding.remove(&idx);
                match outcome {
                    Ok(result) => {
                        if g(idx, result).is_break() {
                            self.control.stop(Stopped::Cancelled);
                            return Ok(());
                        }
                    }
                    Err(failure) => {
                        self.control.stop(Stopped::Cancelled);
                        return Err((idx, failure));
                    }
                }
            } else if exhausted || outstanding.len() >= room {
                let Some(first) = first else { return Ok(()) };
                if let Err(why) = self.wait(first) {
                    return Err((first, Failure::Stopped(why)));
                }
                continue;
            }
            if !exhausted && outstanding.len() < room {
                if let Some(why) = self.control.stopped() {
                    return Err((first.unwrap_or(next), Failure::Stopped(why)));
                }
                match items.next() {
                    None => exhausted = true,
                    Some(item) => {
                        self.queues.lock().unstarted.push_back((next, item));
                        outstanding.insert(next, ());
                        next += 1;
                        let _ = scope.spawn_from(Origin::new(policy.site, type_name::<F>), || self.run_next());
                    }
                }
            }
        }
    }

    /// Runs the oldest item that has not started. Runs in a task.
    fn run_next(&self) {
        let next = self.queues.lock().unstarted.pop_front();
        let Some((idx, item)) = next else { unreachable!("there is an item for every task") };
        let outcome = attempt(self.control, &self.label, idx, || (self.function)(item));
        let reader = {
            let mut queues = self.queues.lock();
            let key = match self.order {
                Order::AsInTheInput => idx,
                Order::AsTheyCome => queues.came,
            };
            queues.came += 1;
            queues.unread.insert(key, (idx, outcome));
            queues.reader.take()
        };
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// The outcome to read next, if it is there; `first` is the lowest index that has not been read.
    fn take_unread(&self, first: Option<usize>) -> Option<(usize, Outcome<R>)> {
        let mut queues = self.queues.lock();
        let entry = queues.unread.first_entry()?;
        let is_next = self.order == Order::AsTheyCome || Some(*entry.key()) == first || entry.get().1.is_err();
        is_next.then(|| entry.remove())
    }

    /// Waits until there is something to read.
    ///
    /// # Errors
    ///
    /// Why the map was stopped, if it was.
    fn wait(&self, first: usize) -> Result<(), Stopped> {
        let control = self.control.share();
        let mut listening = None;
        block_on(future::poll_fn(|context: &mut Context<'_>| {
            if self.is_readable_or_waits(first, context.waker()) {
                return Poll::Ready(Ok(()));
            }
            if listening.is_none() {
                match control.wake_when_stopped(context.waker().clone()) {
                    Ok(place) => listening = Some(place),
                    Err(why) => return Poll::Ready(Err(why)),
                }
            }
            control.stopped().map_or(Poll::Pending, |why| Poll::Ready(Err(why)))
        }))
    }

    fn is_readable_or_waits(&self, first: usize, waker: &Waker) -> bool {
        let mut queues = self.queues.lock();
        let order = self.order;
        let is_next = |(&key, (_, outcome)): (&usize, &(usize, Outcome<R>))| {
            order == Order::AsTheyCome || key == first || outcome.is_err()
        };
        let readable = queues.unread.first_key_value().is_some_and(is_next);
        queues.reader = (!readable).then(|| waker.clone());
        readable
    }
}
