//! From spans to slices.

use super::timeline::{Pen, Point, Timeline};
use serde_json::Value;
use std::fmt;
use std::sync::Arc;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

/// Draws spans as slices, and events as marks: see [`trace::layer`](super::layer).
pub struct TimelineLayer {
    timeline: Arc<Timeline>,
}

/// What is known of a span. Title and category are JSON; so are the arguments, without the braces.
struct Slice {
    title: String,
    category: String,
    arguments: String,
    /// Where the span was first entered.
    began: Option<Point>,
    /// When it was last entered.
    entered: u64,
    /// Where it was last left, or just before.
    left: Option<Point>,
}

impl Slice {
    fn new(metadata: &Metadata<'_>, fields: Fields) -> Self {
        let (title, category) = (json_of(&fields.title(metadata)), json_of(metadata.target()));
        Self { title, category, arguments: fields.arguments, began: None, entered: 0, left: None }
    }
}

impl TimelineLayer {
    pub(super) fn new(timeline: Arc<Timeline>) -> Self {
        Self { timeline }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for TimelineLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && self.timeline.is_running()
        {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(Slice::new(attributes.metadata(), fields));
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        // Formatting is the program's code, so no lock is held.
        let mut fields = Fields::default();
        values.record(&mut fields);
        if let Some(span) = context.span(id)
            && let Some(slice) = span.extensions_mut().get_mut::<Slice>()
        {
            slice.add(&fields);
        }
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        self.timeline.with_row(|pen| {
            let caller = span.parent().and_then(|parent| parent.extensions().get::<Slice>()?.began);
            if let Some(slice) = span.extensions_mut().get_mut::<Slice>() {
                slice.begin(pen, caller);
            }
        });
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        self.timeline.with_row(|pen| {
            if let Some(slice) = span.extensions_mut().get_mut::<Slice>() {
                slice.end(pen);
            }
        });
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if self.timeline.is_running() {
            let mut fields = Fields::default();
            event.record(&mut fields);
            let mark = Slice::new(event.metadata(), fields);
            self.timeline.with_row(|pen| pen.mark(&mark.title, &mark.category, &mark.arguments));
        }
    }
}

impl Slice {
    /// Begins a slice of a span whose parent was first entered at `caller`.
    fn begin(&mut self, pen: &mut Pen<'_>, caller: Option<Point>) {
        pen.begin(&self.title, &self.category, &self.arguments);
        match (self.left, self.began, caller) {
            (Some(left), ..) => pen.arrow("goes on", left),
            (None, None, Some(caller)) if caller.row != pen.now().row => pen.arrow("begins", caller),
            _ => {}
        }
        self.began = self.began.or(Some(pen.now()));
        self.entered = pen.now().at;
    }

    /// Adds arguments to the slices to come.
    fn add(&mut self, fields: &Fields) {
        if !self.arguments.is_empty() && !fields.arguments.is_empty() {
            self.arguments.push(',');
        }
        self.arguments += &fields.arguments;
    }

    /// Ends a slice.
    fn end(&mut self, pen: &mut Pen<'_>) {
        let Point { at, row } = pen.now();
        // An arrow from the very end would lie outside.
        self.left = Some(Point { at: self.entered.max(at.saturating_sub(1)), row });
        pen.end();
    }
}

/// The fields of a span or event, as they are recorded.
#[derive(Default)]
struct Fields {
    /// `"key":value`, separated by commas.
    arguments: String,
    /// The message of an event.
    message: Option<String>,
    name: Option<String>,
    index: Option<u64>,
    len: Option<u64>,
}

impl Fields {
    /// What a slice or mark is called: `evaluate[3]` for a task, `map evaluate (16)` for a map of so many, the message of an
    /// event, and else the name of the span.
    fn title(&self, metadata: &Metadata<'_>) -> String {
        let is_ours = metadata.is_span() && metadata.target() == "yieldtasks";
        let name = self.name.as_deref().filter(|_| is_ours).map(short);
        match (name, self.index, self.len) {
            (Some(name), Some(index), _) => format!("{name}[{index}]"),
            (Some(name), None, Some(len)) => format!("map {name} ({len})"),
            (Some(name), None, None) => format!("map {name}"),
            (None, ..) => self.message.as_deref().unwrap_or(metadata.name()).to_owned(),
        }
    }

    fn put(&mut self, field: &Field, value: &str) {
        if !self.arguments.is_empty() {
            self.arguments.push(',');
        }
        self.arguments += &json_of(field.name());
        self.arguments.push(':');
        self.arguments += value;
    }

    fn put_text(&mut self, field: &Field, text: String) {
        self.put(field, &json_of(&text));
        match field.name() {
            "message" => self.message = Some(text),
            "name" => self.name = Some(text),
            _ => {}
        }
    }
}

/// A text as JSON.
fn json_of(text: &str) -> String {
    serde_json::to_string(text).expect("every text can be written as JSON")
}

/// A name, or the place of a call without its folder.
fn short(name: &str) -> &str {
    if name.contains(".rs:") { name.rsplit('/').next().unwrap_or(name) } else { name }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put_text(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put_text(field, value.to_owned());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, if value { "true" } else { "false" });
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, &value.to_string());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, &value.to_string());
        match field.name() {
            "index" => self.index = Some(value),
            "len" => self.len = Some(value),
            _ => {}
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, &Value::from(value).to_string());
    }
}

impl fmt::Debug for TimelineLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimelineLayer").finish_non_exhaustive()
    }
}
