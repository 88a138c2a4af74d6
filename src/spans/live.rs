//! The spans themselves.

use crate::batch::drop_quietly;
use crate::current;
use crate::path::PathStep;
use crate::record::{Origin, Record};
use crate::runtime::Worker;
use std::cell::Cell;
use std::fmt;
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use tracing::dispatcher::{self, Dispatch};
use tracing::level_filters::LevelFilter;
use tracing::span::{Id, Span};
use tracing::{debug_span, field};

/// A subscriber that names the same span as current that often, although it is exited each time, will name it for ever.
const MOST_EXITS: usize = 64;

/// Whether siblings have spans, and by what name.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shown {
    /// By the name of their map, or else that of their function, or else where the call is.
    As(Option<&'static str>),
    /// They stand for other tasks, which have theirs.
    Never,
}

impl Shown {
    pub(crate) const PLAINLY: Self = Self::As(None);
    pub(crate) const NEVER: Self = Self::Never;

    pub(crate) const fn by_name(name: Option<&'static str>) -> Self {
        Self::As(name)
    }
}

/// The span of a map, which the caller is in until this is dropped.
#[derive(Debug)]
pub(crate) struct MapSpan {
    /// In a box, so that a batch is not larger, and its beginning and end not slower, where nobody listens.
    context: Option<Box<Context>>,
}

/// What the tasks of a map run in.
#[derive(Debug)]
enum Context {
    /// Each in a child of the span of their map.
    Map(Entered),
    /// The subscriber does not want the span of the map: the tasks are in that of the caller, as its children would be.
    Caller(Span),
}

impl MapSpan {
    /// Begins a map, of that many tasks if it is known.
    #[inline]
    pub(crate) fn begin(origin: &Origin, len: Option<usize>) -> Self {
        Self { context: if is_off() { None } else { Context::begin(origin, len) } }
    }

    /// Enters the span of the task `idx`, until the result is dropped.
    #[inline]
    pub(crate) fn task(&self, origin: &Origin, idx: usize) -> InSpan {
        InSpan(self.context.as_ref().map(|context| context.begin_task(origin, idx)))
    }
}

impl Drop for MapSpan {
    #[inline]
    fn drop(&mut self) {
        if let Some(context) = self.context.take() {
            cold_drop(context);
        }
    }
}

impl Context {
    #[cold]
    #[inline(never)]
    fn begin(origin: &Origin, len: Option<usize>) -> Option<Box<Self>> {
        let Shown::As(name) = origin.shown() else { return None };
        let step = origin.step(name, 0);
        let level = current::record().map_or(0, Record::depth);
        let (file, line) = (step.location().file(), step.location().line());
        let span = debug_span!(target: "yieldtasks", "map", name = title(&step), file, line, len, level);
        if !span.is_disabled() {
            return Some(Box::new(Self::Map(Entered::enter(span))));
        }
        let caller = Span::current();
        (!caller.is_disabled()).then(|| Box::new(Self::Caller(caller)))
    }

    #[cold]
    #[inline(never)]
    fn begin_task(&self, origin: &Origin, idx: usize) -> Box<Entered> {
        Box::new(match self {
            Self::Map(map) => map.begin_task(origin, idx),
            Self::Caller(span) => Entered::enter(span.clone()),
        })
    }
}

/// The span of a detached task, made where the task is.
#[derive(Debug)]
pub(crate) struct DetachedSpan(Option<Span>);

impl DetachedSpan {
    #[inline]
    pub(crate) fn new(origin: &Origin, idx: usize) -> Self {
        Self(if is_off() { None } else { Self::begin(origin, idx) })
    }

    #[cold]
    #[inline(never)]
    fn begin(origin: &Origin, idx: usize) -> Option<Span> {
        let Shown::As(name) = origin.shown() else { return None };
        let step = origin.step(name, idx);
        let (file, line) = (step.location().file(), step.location().line());
        let span = debug_span!(target: "yieldtasks", "task", name = title(&step), file, line, index = idx);
        let span = if span.is_disabled() { Span::current() } else { span };
        (!span.is_disabled()).then_some(span)
    }

    /// Closes it without the task having run.
    pub(crate) fn discard(self) {
        drop(self);
    }

    /// Enters the span of the task, until the result is dropped.
    #[inline]
    pub(crate) fn enter(self) -> InSpan {
        InSpan(self.0.map(Entered::enter).map(Box::new))
    }
}

/// The current span, for another thread that goes on in place of the running task.
#[derive(Debug)]
pub(crate) struct Carried(Span);

impl Carried {
    pub(crate) fn here() -> Self {
        Self(if is_off() { Span::none() } else { Span::current() })
    }

    /// Enters it, until the result is dropped.
    pub(crate) fn enter(self) -> InSpan {
        InSpan((!self.0.is_disabled()).then(|| Box::new(Entered::enter(self.0))))
    }
}

/// The span, if any, that this thread is in until this is dropped.
#[derive(Debug)]
#[must_use = "the span is left when this is dropped"]
pub(crate) struct InSpan(Option<Box<Entered>>);

impl Drop for InSpan {
    #[inline]
    fn drop(&mut self) {
        if let Some(entered) = self.0.take() {
            cold_drop(entered);
        }
    }
}

/// Keeps what is seldom dropped out of the way of the usual.
#[cold]
#[inline(never)]
fn cold_drop<T>(value: T) {
    drop(value);
}

/// A span that this thread is in until this is dropped, and that the running fiber knows of.
#[derive(Debug)]
struct Entered {
    span: Span,
}

impl Entered {
    #[cold]
    fn enter(span: Span) -> Self {
        span.with_subscriber(|(id, subscriber)| {
            subscriber.enter(id);
            note(|spans| spans.push((subscriber.clone(), id.clone())));
        });
        Self { span }
    }

    fn begin_task(&self, origin: &Origin, idx: usize) -> Self {
        let Shown::As(name) = origin.shown() else { unreachable!("the map has a span") };
        let step = origin.step(name, idx);
        // The thread may have another subscriber than the one that knows the parent.
        let span = self.span.with_subscriber(|(_, subscriber)| {
            dispatcher::with_default(
                subscriber,
                || debug_span!(target: "yieldtasks", parent: &self.span, "task", name = title(&step), index = idx),
            )
        });
        let wanted = span.filter(|span| !span.is_disabled());
        Self::enter(wanted.unwrap_or_else(|| self.span.clone()))
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let span = mem::replace(&mut self.span, Span::none());
        let subscriber = span.with_subscriber(|(id, subscriber)| {
            note(|spans| drop(spans.pop()));
            subscriber.exit(id);
            subscriber.clone()
        });
        if let Some(subscriber) = subscriber {
            // A registry closes the parent by way of the thread's subscriber, which may be another one.
            dispatcher::with_default(&subscriber, || drop(span));
        }
    }
}

/// Tells the running fiber, if this is one.
fn note(change: impl FnOnce(&mut Vec<(Dispatch, Id)>)) {
    if let Some(fiber) = current::worker().and_then(Worker::running) {
        fiber.spans().change(change);
    }
}

/// What a fiber knows of the spans that it is in.
pub(crate) struct Spans {
    /// Those that this crate has entered, outermost first.
    own: Cell<Vec<(Dispatch, Id)>>,
    /// Those that were left at a switch, innermost first, if the subscriber could tell.
    left: Cell<Vec<Id>>,
    /// Whether the fiber was switched away from, and has not been in its spans again.
    away: Cell<bool>,
    /// Who knows the spans that were left.
    subscriber: Cell<Option<Dispatch>>,
}

impl fmt::Debug for Spans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spans").field("away", &self.away).finish_non_exhaustive()
    }
}

/// Exits the spans that the running fiber is in, before a switch away from it. Never unwinds.
#[inline]
pub(crate) fn leave(spans: &Spans) {
    if !is_off() {
        spans.leave();
    }
}

/// Enters the spans again that were left at the latest switch, unless that has been done. Never unwinds.
#[inline]
pub(crate) fn come_back(spans: &Spans) {
    if spans.away.get() {
        spans.come_back();
    }
}

impl Spans {
    pub(crate) const fn new() -> Self {
        Self {
            own: Cell::new(Vec::new()),
            left: Cell::new(Vec::new()),
            away: Cell::new(false),
            subscriber: Cell::new(None),
        }
    }

    fn change(&self, change: impl FnOnce(&mut Vec<(Dispatch, Id)>)) {
        let mut own = self.own.take();
        change(&mut own);
        self.own.set(own);
    }

    #[cold]
    #[inline(never)]
    fn leave(&self) {
        if self.away.replace(true) {
            return;
        }
        let subscriber = dispatcher::get_default(Dispatch::clone);
        quietly(|| {
            if !subscriber.current_span().is_known() {
                return self.change(|own| own.iter().rev().for_each(|(subscriber, id)| subscriber.exit(id)));
            }
            let mut left = self.left.take();
            let mut exits = 0;
            while let Some(id) = subscriber.current_span().id()
                && exits < MOST_EXITS
            {
                exits = if left.last() == Some(id) { exits + 1 } else { 0 };
                // Kept alive: a guard of the user's may be anywhere.
                left.push(subscriber.clone_span(id));
                subscriber.exit(id);
            }
            self.left.set(left);
        });
        self.subscriber.set(Some(subscriber));
    }

    #[cold]
    #[inline(never)]
    fn come_back(&self) {
        self.away.set(false);
        let Some(subscriber) = self.subscriber.take() else { return };
        quietly(|| {
            if !subscriber.current_span().is_known() {
                return self.change(|own| own.iter().for_each(|(subscriber, id)| subscriber.enter(id)));
            }
            let mut left = self.left.take();
            while let Some(id) = left.pop() {
                subscriber.enter(&id);
                subscriber.try_close(id);
            }
            self.left.set(left);
        });
    }
}

/// Calls a subscriber at a switch.
fn quietly(call: impl FnOnce()) {
    if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(|| current::outside(call))) {
        drop_quietly(payload);
    }
}

/// Whether nobody listens.
#[inline]
fn is_off() -> bool {
    LevelFilter::current() == LevelFilter::OFF
}

/// What siblings are called.
fn title(step: &PathStep) -> field::DisplayValue<Title<'_>> {
    field::display(Title(step))
}

struct Title<'a>(&'a PathStep);

impl fmt::Display for Title<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.name().or_else(|| self.0.function()) {
            Some(name) => f.write_str(name),
            None => write!(f, "{}:{}", self.0.location().file(), self.0.location().line()),
        }
    }
}
